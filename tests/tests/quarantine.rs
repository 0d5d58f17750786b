//! What cannot be read is kept, told of, and goes on when it is mended.

use blackbox::server::{Server, Setup, files};
use blackbox::sink::Sink;
use blackbox::tools::run;
use blackbox::wait_for;
use blackbox::wire::{Wire, queue_id};
use std::path::{Path, PathBuf};
use std::process::Command;

const QUICKLY: &str = "[delivery]\nretry_initial = 1\nretry_max = 1\n";

/// A configuration whose next hop is away: mail stays.
fn nowhere() -> String {
    let hop = blackbox::ports::free_port();
    format!("[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{hop}\"\n{QUICKLY}")
}

fn somewhere(sink: &Sink) -> String {
    sink.relay_config() + QUICKLY
}

/// Too large for the database. Gives its id.
fn send_large(server: &Server) -> String {
    let lines = format!("{}\r\n", "x".repeat(70)).repeat(6_000);
    let mut wire = Wire::hello(server.smtp);
    queue_id(&wire.mail(
        "a@x.test",
        &["b@y.test"],
        &format!("Subject: large\r\n\r\n{lines}"),
    ))
}

/// Where the body of a message is.
fn body(data: &Path, id: &str) -> PathBuf {
    data.join("bodies").join(&id[24..]).join(id)
}

#[test]
fn what_cannot_be_read_is_quarantined_and_the_rest_goes_on() {
    let nowhere = blackbox::ports::free_port();
    let hop = format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{nowhere}\"\n[delivery]\nretry_initial = 1\nretry_max = 1\n"
    );
    let mut server = Setup::new(hop).start();
    let mut wire = Wire::hello(server.smtp);
    let large = format!("{}\r\n", "x".repeat(70)).repeat(6_000);
    assert_eq!(
        wire.mail(
            "a@x.test",
            &["b@y.test"],
            &format!("Subject: damaged\r\n\r\n{large}")
        )
        .code,
        250
    );
    assert_eq!(
        wire.mail("a@x.test", &["b@y.test"], "Subject: sound\r\n\r\n")
            .code,
        250
    );
    server.kill();
    // The file of the large one is lost.
    let bodies = server.data().join("bodies");
    assert_eq!(files(&bodies), 1);
    run(Command::new("/usr/bin/find")
        .arg(&bodies)
        .args(["-type", "f", "!", "-name", "owner", "-delete"]));
    let sink = Sink::start();
    server.write_config(&format!(
        "{}[delivery]\nretry_initial = 1\nretry_max = 1\n",
        sink.relay_config()
    ));
    let server = server.restart();
    let messages = sink.wait(1);
    assert_eq!(messages[0].field("Subject").as_deref(), Some("sound"));
    wait_for("the quarantine", || {
        server.metric("smtp_quarantined_total") == 1.0
    });
    assert_eq!(server.metric("smtp_queue_recipients{state=\"quarantined\"}"), 1.0);
    let listed = server.queue(&["list", "--state", "quarantined"]);
    assert_eq!(listed.len(), 1, "{listed:?}");
}

#[test]
fn a_damaged_body_is_mended_by_hand_and_released() {
    let mut server = Server::with(&nowhere());
    let id = send_large(&server);
    server.kill();
    let path = body(&server.data(), &id);
    let whole = std::fs::read(&path).expect("the body");
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("damage");
    let sink = Sink::start();
    server.write_config(&somewhere(&sink));
    let server = server.restart();
    server.wait_event("quarantined", |line| line["id"] == id.as_str());
    // Not mended: read again, and kept with the reason.
    let refused = &server.queue(&["release", &id])[0];
    assert_eq!(
        (&refused["touched"], &refused["still_quarantined"]),
        (&0.into(), &1.into())
    );
    let reason = refused["unreadable"][0]["reason"].as_str().expect("reason");
    assert!(reason.contains(path.to_str().expect("path")), "{reason}");
    let table = server.command(&["queue", "release", &id]);
    assert!(
        String::from_utf8_lossy(&table.stderr).contains(reason),
        "{table:?}"
    );
    let shown = &server.queue(&["show", &id])[0]["recipients"][0];
    assert_eq!(
        (&shown["state"], &shown["last_result"]),
        (&"quarantined".into(), &reason.into())
    );
    // Mended: counted first, then released and delivered as it was.
    std::fs::write(&path, &whole).expect("mend");
    let counted = &server.queue(&["release", "--state", "quarantined", "--dry-run"])[0];
    assert_eq!(counted["touched"], 1, "{counted}");
    assert_eq!(server.metric("smtp_queue_recipients{state=\"quarantined\"}"), 1.0);
    assert_eq!(sink.count(), 0);
    let released = &server.queue(&["release", "--state", "quarantined"])[0];
    assert_eq!(
        (&released["touched"], &released["still_quarantined"]),
        (&1.into(), &0.into())
    );
    assert!(sink.wait(1)[0].content == whole, "the message as it was taken");
    server.wait_empty();
    wait_for("the audit's lines", || server.events("admin_action").len() >= 3);
    let audit: Vec<_> = server
        .events("admin_action")
        .iter()
        .map(|line| line["touched"].clone())
        .collect();
    assert_eq!(audit, [0, 0, 1], "dry runs change nothing");
    assert!(
        server
            .events("admin_action")
            .iter()
            .all(|line| line["action"] == "queue.release")
    );
}

#[test]
fn beside_another_database_nothing_is_deleted_and_all_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path();
    let mut server = Setup::new(nowhere()).data(data).start();
    let id = send_large(&server);
    assert!(server.events("database_replaced").is_empty());
    assert!(server.stop().success());
    // storage.path is wrong for once: a new database beside the bodies of the old one.
    let wrong = data.join("other.db");
    let wrong = Setup::new("")
        .data(data)
        .env("SMTP_DB_PATH", wrong.to_str().expect("path"));
    let mut server = wrong.start();
    let line = server.wait_event("database_replaced", |_| true);
    assert_eq!((&line["level"], &line["set_aside"]), (&"warn".into(), &1.into()));
    assert_eq!(
        line["database"].as_str().expect("path"),
        data.join("other.db").to_str().expect("path")
    );
    server.wait_event("quarantined", |line| line["id"] == id.as_str());
    assert!(data.join("quarantine").join(&id).exists());
    assert!(server.stop().success());
    // Put right.
    let sink = Sink::start();
    let server = Setup::new(somewhere(&sink)).data(data).start();
    let line = server.wait_event("database_replaced", |_| true);
    assert_eq!((&line["set_aside"], &line["taken_back"]), (&0.into(), &1.into()));
    assert_eq!(sink.wait(1)[0].field("Subject").as_deref(), Some("large"));
    server.wait_empty();
    assert_eq!(server.metric("smtp_quarantined_total"), 0.0);
}
