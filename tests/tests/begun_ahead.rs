//! MAIL, RCPT and DATA of the next message leave together with the end of the one before (`delivery.message_pipelining`, RFC 2920 3.1): a
//! message costs one round trip, and nothing is lost, doubled or late by it.

use blackbox::dns::Dns;
use blackbox::dovecot::{Dovecot, USER};
use blackbox::hop::{Client, Hop, Tap};
use blackbox::postfix::Postfix;
use blackbox::server::{Server, Setup};
use blackbox::sink::Sink;
use blackbox::tools::maildir;
use blackbox::wire::Wire;
use blackbox::{wait_for, wait_for_secs};
use nix::sys::signal::Signal;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

const PIPELINING: &[&str] = &["PIPELINING", "SIZE 100000000", "8BITMIME"];

/// Everything goes to one next hop over so many connections.
fn config(hop: SocketAddr, connections: usize, more: &str) -> String {
    format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{hop}\"\n[delivery]\nmax_connections_per_destination = {connections}\n{more}"
    )
}

/// A message to each of these.
fn send(server: &Server, to: &[&str]) {
    let mut wire = Wire::hello(server.smtp);
    for to in to {
        assert_eq!(wire.mail("a@x.test", &[to], "text\r\n").code, 250);
    }
}

/// A server with messages for `1@y.test`, `2@y.test`… that are all queued before its next hop, of one connection, says a word.
fn waiting(hop: &Hop, messages: usize, more: &str) -> (Server, Client) {
    let server = Server::with(&config(hop.address(), 1, more));
    let client = send_numbered(&server, hop, messages);
    (server, client)
}

fn send_numbered(server: &Server, hop: &Hop, messages: usize) -> Client {
    let to: Vec<String> = (1..=messages).map(|number| format!("{number}@y.test")).collect();
    send(server, &to.iter().map(String::as_str).collect::<Vec<_>>());
    hop.accept()
}

/// The next one is there before this one is answered; the last one is answered by itself.
fn take_all_begun_ahead(client: &mut Client, messages: usize) {
    assert_eq!(client.envelope(), "1@y.test");
    client.go_ahead();
    for number in 2..=messages {
        client.content();
        assert_eq!(client.envelope(), format!("{number}@y.test"));
        client.say("250 taken");
        client.go_ahead();
    }
    client.content();
    client.say("250 taken");
}

/// Nothing of the next one comes before this one is answered.
fn take_all_one_by_one(client: &mut Client, numbers: RangeInclusive<usize>) {
    for number in numbers {
        assert_eq!(client.envelope(), format!("{number}@y.test"));
        client.go_ahead();
        client.content();
        assert!(client.is_silent());
        client.say("250 taken");
    }
}

#[test]
fn the_next_message_does_not_wait_for_the_reply() {
    let hop = Hop::listen();
    let (mut server, mut client) = waiting(&hop, 5, "");
    client.greet(PIPELINING);
    take_all_begun_ahead(&mut client, 5);
    assert_eq!(client.line(), "QUIT");
    server.wait_empty();
    let sent = server.events("delivery");
    assert_eq!(sent.len(), 5);
    assert!(sent.iter().all(|event| event["status"] == "sent"), "{sent:?}");

    // Reloaded: not any more.
    server.write_config(&config(hop.address(), 1, "message_pipelining = \"never\"\n"));
    server.signal(Signal::SIGHUP);
    wait_for("the reload", || server.metric("smtp_config_generation") > 1.0);
    let mut client = send_numbered(&server, &hop, 3);
    client.greet(PIPELINING);
    take_all_one_by_one(&mut client, 1..=3);
    server.wait_empty();
}

#[test]
fn nor_where_the_next_hop_does_not_offer_it() {
    let hop = Hop::listen();
    let (server, mut client) = waiting(&hop, 3, "");
    client.greet(&[]);
    for number in 1..=3 {
        assert_eq!(client.line(), "MAIL FROM:<a@x.test>");
        client.say("250 ok");
        assert_eq!(client.line(), format!("RCPT TO:<{number}@y.test>"));
        client.say("250 ok");
        assert_eq!(client.line(), "DATA");
        client.say("354 go");
        client.content();
        assert!(client.is_silent());
        client.say("250 taken");
    }
    server.wait_empty();
}

/// Servers of the whole world are asked only where somebody wants that.
#[test]
fn servers_that_an_mx_names_are_spared_by_default() {
    for (always, setting) in [(false, ""), (true, "message_pipelining = \"always\"\n")] {
        let (dns, hop) = (Dns::start(), Hop::listen());
        dns.mx("y.test", 10, "mx.y.test");
        dns.a("mx.y.test", "127.0.0.1");
        let config = format!(
            "[relay]\nnetworks = [\"127.0.0.0/8\"]\n[delivery]\nport = {}\nmax_connections_per_destination = 1\n{setting}{}",
            hop.address().port(),
            dns.config()
        );
        let server = Server::with(&config);
        let mut client = send_numbered(&server, &hop, 3);
        client.greet(PIPELINING);
        match always {
            true => take_all_begun_ahead(&mut client, 3),
            false => take_all_one_by_one(&mut client, 1..=3),
        }
        server.wait_empty();
    }
}

/// Replies of two messages in one piece, one of which is refused at each of its steps.
#[test]
fn each_message_has_its_own_replies() {
    let hop = Hop::listen();
    let (server, mut client) = waiting(&hop, 5, "");
    client.greet(PIPELINING);
    client.envelope();
    client.go_ahead();
    client.content();
    client.envelope();
    client.say("554 5.7.1 the first is refused\r\n250 ok\r\n550 5.1.1 the second has no mailbox\r\n554 no recipients");
    let next = client.line();
    assert_eq!(next, "RSET");
    assert_eq!(client.envelope(), "3@y.test");
    client.say("250 reset");
    client.go_ahead();
    client.content();
    assert_eq!(client.envelope(), "4@y.test");
    client.say("250 taken\r\n452 4.3.1 the fourth is put off\r\n503 what?\r\n503 what?");
    assert_eq!(client.envelope(), "5@y.test");
    client.go_ahead();
    client.content();
    client.say("250 taken");
    wait_for("all to be settled", || server.events("delivery").len() >= 5);
    let result = |to: &str| {
        let events = server.events("delivery");
        let of = events.iter().find(|event| event["to"] == *to);
        let of = of.unwrap_or_else(|| panic!("{to}: {events:?}"));
        (
            of["status"].as_str().expect("status").to_owned(),
            of["text"].to_string(),
        )
    };
    for (to, status, text) in [
        ("1@y.test", "bounced", "the first"),
        ("2@y.test", "bounced", "the second"),
        ("3@y.test", "sent", "taken"),
        ("4@y.test", "deferred", "the fourth"),
        ("5@y.test", "sent", "taken"),
    ] {
        let (found, response) = result(to);
        assert_eq!(found, status, "{to}");
        assert!(response.contains(text), "{to}: {response}");
    }
}

/// What an operator suspends meanwhile is not begun, and the books are right afterwards.
#[test]
fn what_is_suspended_meanwhile_is_not_begun() {
    let hop = Hop::listen();
    let server = Server::with(&config(hop.address(), 1, "idle_timeout = 60\n"));
    send(&server, &["1@y.test", "2@z.test", "3@y.test", "4@y.test"]);
    let mut client = hop.accept();
    server.done(&["queue", "suspend", "--domain", "z.test"]);
    client.greet(PIPELINING);
    assert_eq!(client.envelope(), "1@y.test");
    client.go_ahead();
    client.content();
    assert!(client.is_silent());
    client.say("250 taken");
    assert_eq!(client.envelope(), "3@y.test");
    client.go_ahead();
    client.content();
    assert_eq!(client.envelope(), "4@y.test");
    client.say("250 taken");
    client.go_ahead();
    client.content();
    client.say("250 taken");
    wait_for("three to be sent", || server.events("delivery").len() == 3);
    wait_for("nothing to be on its way", || {
        let next_hop = server.json(&["destinations"]).remove(0);
        next_hop["sending"] == 0 && next_hop["waiting"] == 0
    });
    server.done(&["queue", "resume", "--domain", "z.test"]);
    assert_eq!(client.envelope(), "2@z.test");
    client.go_ahead();
    client.content();
    client.say("250 taken");
    server.wait_empty();
}

/// The message behind one whose reply does not come goes over another connection.
#[test]
fn a_message_does_not_wait_long_for_anothers_reply() {
    let hop = Hop::listen();
    let server = Server::with(&config(hop.address(), 2, "idle_timeout = 60\n"));
    send(&server, &["1@y.test", "2@y.test", "3@y.test"]);
    let (mut slow, mut other) = (hop.accept(), hop.accept());
    slow.greet(PIPELINING);
    slow.envelope();
    slow.go_ahead();
    slow.content();
    // Whatever is left waits for nobody else: the other connection has had no greeting.
    let waits = slow.envelope();
    let asked = Instant::now();
    other.greet(PIPELINING);
    other.envelope();
    other.go_ahead();
    other.content();
    other.say("250 taken");
    assert_eq!(other.envelope(), waits, "while the reply to the first is awaited");
    other.go_ahead();
    other.content();
    other.say("250 taken");
    wait_for("both to be sent", || server.events("delivery").len() == 2);
    assert!(
        asked.elapsed() < Duration::from_secs(60),
        "not when the reply is given up"
    );
    // What comes now is the first one's reply. The connection is in the middle of a transaction that nobody goes on with.
    slow.say("250 taken at last\r\n250 ok\r\n250 ok\r\n354 go");
    assert!(slow.is_closed());
    server.wait_empty();
    assert!(
        server
            .events("delivery")
            .iter()
            .all(|event| event["status"] == "sent")
    );
}

/// It has not been sent: it is another server's, or this one's after the restart, at once.
#[test]
fn a_server_that_stops_gives_back_what_it_has_begun() {
    let hop = Hop::listen();
    let (mut server, mut client) = waiting(&hop, 3, "");
    client.greet(PIPELINING);
    client.envelope();
    client.go_ahead();
    client.content();
    assert_eq!(client.envelope(), "2@y.test");
    server.signal(Signal::SIGTERM);
    wait_for("it to stop", || !server.events("stopping").is_empty());
    // The drain begins a moment after that is said.
    std::thread::sleep(Duration::from_secs(3));
    assert!(client.is_silent());
    client.say("250 taken\r\n250 ok\r\n250 ok\r\n354 go");
    assert!(client.is_closed());
    assert!(server.exited(30).success());
    let server = server.restart();
    let mut client = hop.accept();
    client.greet(PIPELINING);
    let mut rest = Vec::new();
    for _ in 0..2 {
        // Their contents are in the store, so each is read when its turn comes.
        rest.push(client.envelope());
        client.go_ahead();
        client.content();
        client.say("250 taken");
    }
    rest.sort();
    assert_eq!(rest, ["2@y.test", "3@y.test"]);
    server.wait_empty();
}

/// The one before may have been taken; the one that was begun was not.
#[test]
fn a_connection_that_breaks_leaves_only_one_in_doubt() {
    let hop = Hop::listen();
    let (server, mut client) = waiting(&hop, 2, "");
    client.greet(PIPELINING);
    client.envelope();
    client.go_ahead();
    client.content();
    client.envelope();
    drop(client);
    let mut client = hop.accept();
    client.greet(PIPELINING);
    assert_eq!(client.envelope(), "2@y.test");
    client.go_ahead();
    client.content();
    client.say("250 taken");
    wait_for("both results", || server.events("delivery").len() == 2);
    let events = server.events("delivery");
    let of = |to: &str| events.iter().find(|event| event["to"] == *to).expect(to).clone();
    assert_eq!(of("2@y.test")["status"], "sent");
    assert_eq!(of("1@y.test")["status"], "deferred");
    assert!(of("1@y.test")["text"].to_string().contains("more than once"));
}

/// A server that cannot bear it loses nothing, and is spared from then on.
#[test]
fn a_server_that_hangs_up_on_it_is_not_asked_again() {
    let hop = Hop::listen();
    let (server, mut client) = waiting(&hop, 5, "");
    client.greet(PIPELINING);
    client.envelope();
    client.go_ahead();
    client.content();
    client.envelope();
    client.say("250 taken");
    drop(client);
    let mut client = hop.accept();
    client.greet(PIPELINING);
    take_all_one_by_one(&mut client, 2..=5);
    server.wait_empty();
    assert!(
        server
            .events("delivery")
            .iter()
            .all(|event| event["status"] == "sent")
    );
}

/// One that gets to see only a part of what stands behind the dot refuses nobody for good.
#[test]
fn a_server_that_loses_a_part_of_it_makes_nothing_bounce() {
    let hop = Hop::listen();
    let (server, mut client) = waiting(&hop, 2, "");
    client.greet(PIPELINING);
    client.envelope();
    client.go_ahead();
    client.content();
    client.envelope();
    client.say("250 taken\r\n500 what?\r\n503 what?\r\n503 what?");
    let mut client = hop.accept();
    client.greet(PIPELINING);
    assert_eq!(client.envelope(), "2@y.test");
    client.go_ahead();
    client.content();
    client.say("250 taken");
    server.wait_empty();
    assert!(
        server
            .events("delivery")
            .iter()
            .all(|event| event["status"] == "sent")
    );
}

/// A break before the reply leaves the first in doubt; the others are not begun behind one another any more.
#[test]
fn a_server_that_breaks_before_its_reply_is_not_asked_again() {
    let hop = Hop::listen();
    let (server, mut client) = waiting(&hop, 4, "");
    client.greet(PIPELINING);
    client.envelope();
    client.go_ahead();
    client.content();
    client.envelope();
    drop(client);
    let mut client = hop.accept();
    client.greet(PIPELINING);
    take_all_one_by_one(&mut client, 2..=4);
    wait_for("all results", || server.events("delivery").len() == 4);
}

/// Fifty messages over one connection to a real server, which are begun ahead, and arrive once each.
#[test]
fn postfix_bears_it() {
    let sink = Sink::start();
    let postfix = Postfix::start(&format!(
        "relayhost = [127.0.0.1]:{}\nsmtpd_data_restrictions = reject_unauth_pipelining\n",
        sink.address.port()
    ));
    let server_of = postfix.url();
    let address: SocketAddr = server_of
        .strip_prefix("smtp://")
        .expect("a URL")
        .parse()
        .expect("an address");
    let tap = Tap::before(address);
    let server = Server::with(&config(tap.address, 1, ""));
    let to: Vec<String> = (0..50).map(|number| format!("{number}@y.test")).collect();
    send(&server, &to.iter().map(String::as_str).collect::<Vec<_>>());
    tap.open();
    server.wait_empty();
    sink.wait(50);
    let mut got: Vec<String> = sink
        .messages()
        .iter()
        .map(|message| message.to[0].clone())
        .collect();
    got.sort();
    got.dedup();
    assert_eq!((sink.messages().len(), got.len()), (50, 50));
    assert!(
        tap.ends_with_a_beginning() >= 10,
        "{}",
        tap.ends_with_a_beginning()
    );
}

#[test]
fn dovecot_bears_it_by_lmtp() {
    let dovecot = Dovecot::start("plain");
    let tap = Tap::before(dovecot.lmtp);
    let server = Setup::new(config(tap.address, 1, "").replace("smtp://", "lmtp://")).start();
    send(&server, &[USER; 50]);
    tap.open();
    server.wait_empty();
    let mailbox = dovecot.mailbox("ann");
    wait_for_secs("the mailbox", 30, || maildir(&mailbox).len() == 50);
    assert!(
        tap.ends_with_a_beginning() >= 10,
        "{}",
        tap.ends_with_a_beginning()
    );
}
