//! What operators do to mail that waits, by command: hold, release, give up, suspend, resume; and the trail of it.

use blackbox::ports::free_port;
use blackbox::server::{Server, Setup};
use blackbox::sink::Sink;
use blackbox::wait_for;
use blackbox::wire::{Wire, queue_id};
use serde_json::{Value, json};

const SLOW: &str = "[delivery]\nretry_initial = 300\n";

fn send(server: &Server, to: &[&str]) -> String {
    let reply = Wire::hello(server.smtp).mail("a@x.test", to, "Subject: test\r\n\r\ntext\r\n");
    assert_eq!(reply.code, 250, "{reply:?}");
    queue_id(&reply)
}

/// A server whose next hop is away, with two messages that wait.
fn stuck() -> (Server, String, String) {
    let config = format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{}\"\n{SLOW}",
        free_port()
    );
    let server = Server::with(&config);
    let (first, second) = (
        send(&server, &["b@one.test", "c@two.test"]),
        send(&server, &["b@two.test"]),
    );
    wait_for("both to be deferred", || server.events("delivery").len() >= 3);
    wait_for("it to be written", || {
        let deferred = server.queue(&["list", "--state", "deferred"]);
        deferred.len() == 2
    });
    (server, first, second)
}

/// One line of JSON that a command prints.
fn said(server: &Server, args: &[&str]) -> Value {
    let mut lines = server.queue(args);
    assert_eq!(lines.len(), 1, "{args:?}: {lines:?}");
    lines.remove(0)
}

fn states(server: &Server, id: &str) -> Vec<String> {
    let message = said(server, &["show", id]);
    let recipients = message["recipients"].as_array().expect("recipients");
    let state = |recipient: &Value| recipient["state"].as_str().expect("state").to_owned();
    recipients.iter().map(state).collect()
}

#[test]
fn what_is_held_stays_until_it_is_released() {
    let (mut server, first, second) = stuck();
    let dry = said(&server, &["hold", "--domain", "two.test", "--dry-run"]);
    assert_eq!((&dry["touched"], &dry["dry_run"]), (&json!(2), &json!(true)));
    assert_eq!(
        states(&server, &second),
        ["deferred"],
        "a dry run changes nothing"
    );
    assert_eq!(said(&server, &["hold", "--domain", "two.test"])["touched"], 2);
    assert_eq!(states(&server, &first), ["deferred", "held"]);
    // Neither a retry, nor a restart, nor a next hop that is back moves it.
    assert!(server.stop().success());
    let sink = Sink::start();
    server.write_config(&format!("{}{SLOW}", sink.relay_config()));
    let server = server.restart();
    said(&server, &["retry", "--all"]);
    let to = sink.wait(1)[0].to.clone();
    assert_eq!(to, ["<b@one.test>"]);
    wait_for("the result", || states(&server, &first) == ["delivered", "held"]);
    assert_eq!(states(&server, &second), ["held"]);
    assert_eq!(said(&server, &["release", &second])["touched"], 1);
    assert_eq!(sink.wait(2)[1].to, ["<b@two.test>"]);
    said(&server, &["release", "--state", "held"]);
    sink.wait(3);
    server.wait_empty();
}

#[test]
fn what_is_given_up_goes_back_to_its_sender_with_the_operators_words() {
    let (mut server, first, second) = stuck();
    let bounced = said(
        &server,
        &[
            "bounce",
            "--domain",
            "two.test",
            "--text",
            "nobody is there any more",
        ],
    );
    assert_eq!(bounced["touched"], 2);
    let line = server.wait_event("delivery", |line| line["status"] == "bounced");
    assert_eq!(
        (&line["dsn"], &line["text"]),
        (&json!("5.7.1"), &json!("nobody is there any more"))
    );
    wait_for("the second to be gone", || {
        !server.command(&["queue", "show", &second]).status.success()
    });
    assert_eq!(
        states(&server, &first),
        ["deferred", "bounced"],
        "others wait as before"
    );
    // The reports are mail like any other.
    assert!(server.stop().success());
    let sink = Sink::start();
    server.write_config(&format!("{}{SLOW}", sink.relay_config()));
    let server = server.restart();
    said(&server, &["retry", "--all"]);
    let reports: Vec<_> = sink
        .wait(3)
        .into_iter()
        .filter(|it| it.from.starts_with("<>"))
        .collect();
    assert_eq!(reports.len(), 2);
    for report in reports {
        assert!(report.to[0].starts_with("<a@x.test>"), "{:?}", report.to);
        assert!(
            report.text().contains("nobody is there any more"),
            "{}",
            report.text()
        );
        assert!(
            report.text().contains("two.test")
                && !report.text().contains("Final-Recipient: rfc822;b@one.test")
        );
    }
    let control = server.command(&["queue", "bounce", "--all", "--text", "two\nlines"]);
    assert_eq!(control.status.code(), Some(64), "{control:?}");
}

#[test]
fn a_suspended_domain_waits_and_the_others_go() {
    let sink = Sink::start();
    let server = Server::with(&format!("{}{SLOW}", sink.relay_config()));
    let suspended = said(
        &server,
        &[
            "suspend",
            "--domain",
            "Moved.test",
            "--reason",
            "their server is moved",
            "--for",
            "2h",
        ],
    );
    assert_eq!(
        (&suspended["name"], &suspended["who"]),
        (&json!("moved.test"), &json!("admin"))
    );
    let id = send(&server, &["b@moved.test"]);
    let mixed = send(&server, &["c@moved.test", "c@here.test"]);
    assert_eq!(sink.wait(1)[0].to, ["<c@here.test>"]);
    let recipient = |id: &str| said(&server, &["show", id])["recipients"][0].clone();
    wait_for("the other half to be parked", || {
        recipient(&mixed)["suspended"] == true
    });
    for id in [&id, &mixed] {
        let recipient = recipient(id);
        assert_eq!(
            (
                &recipient["state"],
                &recipient["attempts"],
                &recipient["suspended"]
            ),
            (&json!("queued"), &json!(0), &json!(true))
        );
    }
    assert_eq!(server.metric("smtp_queue_depth"), 2.0);
    // It holds across a restart.
    let mut server = server;
    assert!(server.stop().success());
    let server = server.restart();
    assert_eq!(server.queue(&["suspensions"]).len(), 1);
    send(&server, &["d@here.test"]);
    sink.wait(2);
    assert_eq!(sink.count(), 2, "what is suspended is not tried");
    assert_eq!(said(&server, &["resume", "--domain", "moved.test"])["touched"], 2);
    sink.wait(4);
    server.wait_empty();
    assert!(server.queue(&["suspensions"]).is_empty());
    let again = server.command(&["queue", "resume", "--domain", "moved.test"]);
    assert_eq!(again.status.code(), Some(64));
}

#[test]
fn an_account_and_a_sender_can_be_suspended() {
    let sink = Sink::start();
    let config = format!(
        "{}{SLOW}[[accounts]]\nname = \"shop\"\npassword = \"Correct horse 5\"\nsenders = [\"*@x.test\"]\n",
        sink.relay_config()
    );
    let server = Setup::new(config).start();
    said(
        &server,
        &["suspend", "--account", "shop", "--reason", "it sends too much"],
    );
    said(&server, &["suspend", "--sender", "@elsewhere.test"]);
    let mut tls = blackbox::tls::Tls::open(server.submission(), true, &[]);
    // \0shop\0Correct horse 5
    tls.expect("AUTH PLAIN AHNob3AAQ29ycmVjdCBob3JzZSA1", "235 ");
    tls.expect("MAIL FROM:<a@x.test>", "250 ");
    tls.expect("RCPT TO:<b@y.test>", "250 ");
    tls.expect("DATA", "354 ");
    tls.expect("From: a@x.test\nSubject: of an account\n\ntext\n.", "250 ");
    let mut wire = Wire::hello(server.smtp);
    assert_eq!(
        wire.mail(
            "Ann@Elsewhere.test",
            &["b@y.test"],
            "Subject: of a sender\r\n\r\n"
        )
        .code,
        250
    );
    assert_eq!(
        wire.mail("a@x.test", &["b@y.test"], "Subject: of nobody\r\n\r\n")
            .code,
        250
    );
    assert_eq!(sink.wait(1)[0].field("Subject").as_deref(), Some("of nobody"));
    let waiting = server.queue(&["list", "--account", "shop"]);
    assert_eq!((waiting.len(), &waiting[0]["account"]), (1, &json!("shop")));
    said(&server, &["resume", "--sender", "@ELSEWHERE.test"]);
    assert_eq!(sink.wait(2)[1].field("Subject").as_deref(), Some("of a sender"));
    said(&server, &["resume", "--account", "shop"]);
    assert_eq!(sink.wait(3)[2].field("Subject").as_deref(), Some("of an account"));
}

#[test]
fn mail_is_found_by_what_is_known_of_it() {
    let (server, first, second) = stuck();
    let ids = |args: &[&str]| -> Vec<String> {
        let mut all = vec!["list"];
        all.extend(args);
        let id = |line: Value| line["id"].as_str().expect("id").to_owned();
        server.queue(&all).into_iter().map(id).collect()
    };
    let both = [first.clone(), second.clone()];
    assert_eq!(ids(&["--reason", "CONNECT to"]), both);
    assert_eq!(ids(&["--reason", "no such text"]), [""; 0]);
    assert_eq!(ids(&["--recipient", "C@two.test"]), std::slice::from_ref(&first));
    assert_eq!(ids(&["--newer-than", "1h", "--domain", "two.test"]), both);
    assert_eq!(ids(&["--older-than", "1h"]), [""; 0]);
    assert_eq!(ids(&["--account", "nobody"]), [""; 0]);
    let wrong = server.command(&["queue", "list", "--older-than", "2w"]);
    assert_eq!(wrong.status.code(), Some(64));
}

#[test]
fn every_change_leaves_a_trail() {
    let (mut server, first, _) = stuck();
    said(&server, &["retry", &first]);
    said(&server, &["suspend", "--domain", "two.test", "--reason", "moved"]);
    server.done(&["domain", "add", "made.test", "--deliver", "capture"]);
    assert!(server.stop().success());
    let server = server.restart();
    let trail = server.json(&["audit"]);
    let actions: Vec<&str> = trail
        .iter()
        .map(|one| one["action"].as_str().expect("action"))
        .collect();
    assert_eq!(
        actions,
        ["domain.add", "queue.suspend", "queue.retry"],
        "newest first"
    );
    for one in &trail {
        assert_eq!(
            (&one["who"], &one["peer"]),
            (&json!("admin"), &json!("127.0.0.1"))
        );
    }
    assert_eq!(trail[1]["after"]["reason"], "moved");
    assert_eq!(trail[2]["target"], format!("ids={first}"));
    // Looking leaves none.
    server.queue(&["list"]);
    assert_eq!(server.json(&["audit", "--limit", "1"]).len(), 1);
}

#[test]
fn a_next_hop_can_be_suspended() {
    let (one, other) = (Sink::start(), Sink::start());
    let config = format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\n[[routes]]\nmatch = \"one.test\"\nto = \"{}\"\n[[routes]]\nmatch = \"*\"\nto = \"{}\"\n",
        one.url(),
        other.url()
    );
    let mut server = Server::with(&config);
    let name = one.address.to_string();
    let suspended = said(
        &server,
        &["suspend", "--destination", &name, "--reason", "overloaded"],
    );
    assert_eq!(
        (&suspended["kind"], &suspended["name"]),
        (&json!("destination"), &json!(name))
    );
    // One message for both, one for the suspended one only.
    let both =
        queue_id(&Wire::hello(server.smtp).mail("a@x.test", &["b@one.test", "b@two.test"], "text\r\n"));
    let alone = queue_id(&Wire::hello(server.smtp).mail("a@x.test", &["c@One.test"], "text\r\n"));
    other.wait(1);
    wait_for("the other to be delivered", || {
        states(&server, &both) == ["queued", "delivered"]
    });
    assert_eq!(states(&server, &alone), ["queued"]);
    assert!(server.stop().success());
    let server = server.restart();
    wait_for("the server to know", || server.queue(&["suspensions"]).len() == 1);
    for id in [&both, &alone] {
        assert_eq!(said(&server, &["show", id])["recipients"][0]["suspended"], true);
    }
    assert_eq!(one.count(), 0);
    let resumed = said(&server, &["resume", "--destination", &name]);
    assert_eq!(resumed["touched"], 2);
    one.wait(2);
    server.wait_empty();
}
