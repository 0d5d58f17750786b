//! Next hops that misbehave: each recipient's fate is right, and nobody else waits.

mod replies;
mod starttls;

use blackbox::server::{Server, Setup};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::wire::Wire;
use blackbox::{ports, wait_for};

const FAST: &str = "[delivery]\nretry_initial = 1\nretry_max = 2\nfinal_timeout = 2\nidle_timeout = 1\n";

fn relay_to(sink: &Sink) -> Server {
    Setup::new(format!("{}{FAST}", sink.relay_config())).start()
}

fn send(server: &Server, to: &[&str]) {
    let reply = Wire::hello(server.smtp).mail("a@x.test", to, "Subject: test\r\n\r\ntext\r\n");
    assert_eq!(reply.code, 250, "{reply:?}");
}

fn command(moment: &Moment, verb: &str) -> bool {
    matches!(moment, Moment::Command(line) if line.to_ascii_uppercase().starts_with(verb))
}

#[test]
fn a_vanished_next_hop_comes_back() {
    let address = ports::free_port();
    let server = Setup::new(format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{address}\"\n{FAST}"
    ))
    .start();
    send(&server, &["b@y.test"]);
    let deferred = server.wait_event("delivery", |line| line["status"] == "deferred");
    assert!(
        deferred["text"]
            .as_str()
            .expect("text")
            .to_lowercase()
            .contains("refused"),
        "{deferred}"
    );
    assert_eq!(server.metric("smtp_queue_depth"), 1.0);
    let sink = Sink::on(&address.to_string(), &["PIPELINING"], |_, _| Act::Default);
    // An operator does not wait for the back-off.
    server.done(&["queue", "retry", "--all"]);
    sink.wait(1);
    server.wait_empty();
}

#[test]
fn every_recipient_has_its_own_outcome() {
    let sink = Sink::scripted(|_, moment| match moment {
        Moment::Command(line) if line.contains("later@") => Act::Say("450 4.2.1 busy mailbox".into()),
        Moment::Command(line) if line.contains("never@") => Act::Say("550 5.1.1 no such user".into()),
        _ => Act::Default,
    });
    let server = relay_to(&sink);
    Wire::hello(server.smtp).mail(
        "",
        &["good@y.test", "later@y.test", "never@y.test", "also@y.test"],
        "text\r\n",
    );
    let status = |to: &str| {
        let line = server.wait_event("delivery", |line| line["to"] == to);
        (
            line["status"].as_str().expect("status").to_string(),
            line["dsn"].as_str().expect("dsn").to_string(),
        )
    };
    assert_eq!(status("good@y.test"), ("sent".into(), "2.0.0".into()));
    assert_eq!(status("also@y.test"), ("sent".into(), "2.0.0".into()));
    assert_eq!(status("later@y.test"), ("deferred".into(), "4.2.1".into()));
    assert_eq!(status("never@y.test"), ("bounced".into(), "5.1.1".into()));
    let first = &sink.wait(1)[0];
    assert_eq!(first.to, ["<good@y.test>", "<also@y.test>"]);
    let listed = server.queue(&["list"]);
    assert_eq!(listed.len(), 1);
    let shown = server.queue(&["show", listed[0]["id"].as_str().expect("id")]);
    let states: Vec<_> = shown[0]["recipients"]
        .as_array()
        .expect("recipients")
        .iter()
        .map(|r| r["state"].clone())
        .collect();
    assert_eq!(states[0], "delivered");
    assert_eq!(states[2], "bounced");
    assert!(states[1] == "deferred" || states[1] == "leased", "{states:?}");
}

#[test]
fn connections_are_reused_and_closed_when_idle() {
    let sink = Sink::start();
    let server = relay_to(&sink);
    let mut wire = Wire::hello(server.smtp);
    for _ in 0..30 {
        assert_eq!(wire.mail("a@x.test", &["b@y.test"], "text\r\n").code, 250);
    }
    sink.wait(30);
    assert!(
        sink.connections() < 15,
        "{} connections for 30 messages",
        sink.connections()
    );
    wait_for("idle connections to be closed", || sink.open() == 0);
}

#[test]
fn a_next_hop_without_pipelining_or_ehlo() {
    let sink = Sink::scripted(|_, moment| match moment {
        moment if command(moment, "EHLO") => Act::Say("502 what?".into()),
        _ => Act::Default,
    });
    let server = relay_to(&sink);
    send(&server, &["b@y.test", "c@y.test"]);
    let message = &sink.wait(1)[0];
    assert_eq!(message.from, "<a@x.test>");
    assert_eq!(message.to.len(), 2);
}

#[test]
fn what_the_next_hop_cannot_take_is_bounced() {
    let sink = Sink::offering(&["PIPELINING", "SIZE 20000"]);
    let server = relay_to(&sink);
    let mut wire = Wire::hello(server.smtp);
    let bounced = |dsn: &str| {
        let line = server.wait_event("delivery", |line| {
            line["status"] == "bounced" && line["dsn"] == dsn
        });
        assert_eq!(line["to"], "b@y.test");
    };
    wire.expect("MAIL FROM:<> BODY=8BITMIME", 250);
    wire.expect("RCPT TO:<b@y.test>", 250);
    wire.expect("DATA", 354);
    wire.send("Subject: eight bits\r\n\r\n\u{fc}\r\n");
    wire.expect(".", 250);
    bounced("5.6.3");
    wire.mail(
        "",
        &["b@y.test"],
        &"0123456789012345678901234567890123456789\r\n".repeat(1000),
    );
    bounced("5.3.4");
    wire.expect("MAIL FROM:<> SMTPUTF8", 250);
    wire.expect("RCPT TO:<j\u{f6}rg@y.test>", 250);
    wire.expect("DATA", 354);
    wire.send("Subject: ascii\r\n\r\n");
    wire.expect(".", 250);
    server.wait_event("delivery", |line| {
        line["status"] == "bounced" && line["dsn"] == "5.6.7"
    });
    server.wait_empty();
    assert_eq!(sink.count(), 0);
}

#[test]
fn parameters_are_passed_on() {
    let sink = Sink::start();
    let server = relay_to(&sink);
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<a@x.test> BODY=8BITMIME RET=HDRS ENVID=QQ314159", 250);
    wire.expect(
        "RCPT TO:<b@y.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2Bx@y.test",
        250,
    );
    wire.expect("DATA", 354);
    wire.send("Subject: \u{fc}\r\n\r\n");
    wire.expect(".", 250);
    let message = &sink.wait(1)[0];
    for part in [
        "<a@x.test>",
        " BODY=8BITMIME",
        " RET=HDRS",
        " ENVID=QQ314159",
        " SIZE=",
    ] {
        assert!(message.from.contains(part), "{part}: {}", message.from);
    }
    assert_eq!(
        message.to[0],
        "<b@y.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2Bx@y.test"
    );
}

#[test]
fn a_dead_destination_holds_up_nobody() {
    let hanging = Sink::scripted(|_, _| Act::Hang);
    let good = Sink::start();
    let dead = ports::free_port();
    let server = Setup::new(format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\n{FAST}\
         [[routes]]\nmatch = \"good.test\"\nto = \"{}\"\n\
         [[routes]]\nmatch = \"hanging.test\"\nto = \"{}\"\n\
         [[routes]]\nmatch = \"*\"\nto = \"smtp://{dead}\"\n",
        good.url(),
        hanging.url()
    ))
    .start();
    let mut wire = Wire::hello(server.smtp);
    for number in 0..300 {
        let (dead, hanging) = (format!("b@dead{number}.test"), "b@hanging.test".to_string());
        assert_eq!(wire.mail("a@x.test", &[&dead], "text\r\n").code, 250);
        assert_eq!(wire.mail("a@x.test", &[&hanging], "text\r\n").code, 250);
    }
    for _ in 0..20 {
        assert_eq!(wire.mail("a@x.test", &["b@good.test"], "text\r\n").code, 250);
    }
    good.wait(20);
    assert!(
        hanging.connections() < 25,
        "{} connections to a hop that hangs",
        hanging.connections()
    );
}

#[test]
fn a_retried_message_waits_longer_each_time_and_expires() {
    let sink = Sink::scripted(|_, moment| match moment {
        Moment::Command(line) if line.contains("RCPT TO:<b@y.test>") => Act::Say("450 4.2.0 later".into()),
        _ => Act::Default,
    });
    let server = Setup::new(format!(
        "{}[delivery]\nretry_initial = 1\nretry_max = 2\nexpire_after = 6\ndelay_notice_after = 2\n",
        sink.relay_config()
    ))
    .start();
    send(&server, &["b@y.test"]);
    // The sender is told that it is late, then that it failed.
    let messages = sink.wait(2);
    let delayed = &messages[0];
    assert!(delayed.from.starts_with("<>"), "{delayed:?}");
    assert!(delayed.to[0].starts_with("<a@x.test>"));
    assert!(
        delayed.text().contains("Action: delayed\r\n"),
        "{}",
        delayed.text()
    );
    assert!(
        delayed.text().contains("Will-Retry-Until: "),
        "{}",
        delayed.text()
    );
    let failed = &messages[1];
    assert!(failed.text().contains("Action: failed\r\n"), "{}", failed.text());
    server.wait_event("delivery", |line| line["status"] == "expired");
    server.wait_empty();
    let attempts = server
        .events("delivery")
        .iter()
        .filter(|l| l["to"] == "b@y.test" && l["status"] == "deferred")
        .count();
    assert!((2..=7).contains(&attempts), "{attempts} attempts in 6 seconds");
    assert_eq!(sink.count(), 2, "one notice of each kind");
}
