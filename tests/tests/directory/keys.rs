//! DKIM keys: made, published, looked up, rotated.

use super::{refused, text, texts};
use blackbox::dkim::{Key, Verifiers};
use blackbox::dns::{Dns, Lie};
use blackbox::server::{Server, binary};
use blackbox::sink::Sink;
use blackbox::wait_for;
use blackbox::wire::Wire;
use std::process::Command;

/// DNS answers may be kept for a moment.
fn wait_published(server: &Server) {
    wait_for("the records to be found", || {
        server.command(&["dkim", "check", "x.test"]).status.success()
    });
}

#[test]
fn keys_are_made_published_checked_and_rotated() {
    let (dns, sink) = (Dns::start(), Sink::start());
    let server = Server::with(&format!("{}{}", sink.relay_config(), dns.config()));
    let zone = server.done(&["dkim", "new", "x.test"]);
    assert!(zone.contains("._domainkey.x.test. IN TXT"), "{zone}");
    assert!(!zone.contains("PRIVATE"));
    let keys = server.json(&["dkim", "list"]);
    assert_eq!(keys.len(), 2, "{keys:?}");
    let (status, said) = refused(&server, &["dkim", "check", "x.test"]);
    assert!(status == 78 && said.contains("publish it"), "{status} {said}");
    for key in &keys {
        dns.txt(text(key, "record_name"), text(key, "record_value"));
    }
    wait_published(&server);

    Wire::hello(server.smtp).mail(
        "a@x.test",
        &["b@y.test"],
        "From: a@x.test\r\nSubject: x\r\n\r\nx\r\n",
    );
    let message = sink.wait(1).pop().expect("a message");
    let mut verifiers = Verifiers::default();
    for key in &keys {
        verifiers.publish(text(key, "record_name"), text(key, "record_value"));
    }
    let judged = verifiers.judge(&message.content);
    assert_eq!(judged.len(), 3, "{judged:?}");
    assert!(judged.iter().all(|line| line.ends_with("pass")), "{judged:?}");

    server.done(&["dkim", "rotate", "x.test", "--overlap", "3600"]);
    let states: Vec<String> = server
        .json(&["dkim", "list"])
        .iter()
        .map(|key| text(key, "state").to_owned())
        .collect();
    assert_eq!(
        states.iter().filter(|state| *state == "retiring").count(),
        2,
        "{states:?}"
    );
    assert_eq!(
        states.iter().filter(|state| *state == "published").count(),
        2,
        "{states:?}"
    );
    server.done(&["dkim", "check", "x.test"]);
    server.done(&["dkim", "remove", "x.test", text(&keys[0], "selector")]);
    assert_eq!(server.json(&["dkim", "list"]).len(), 3);
}

#[test]
fn check_looks_declared_keys_up() {
    let (dns, folder) = (Dns::start(), tempfile::tempdir().expect("a folder"));
    let key = Key::new(folder.path(), "ED25519");
    let config = folder.path().join("config.toml");
    let keys = format!(
        "[[dkim_keys]]\ndomain = \"x.test\"\nselector = \"s\"\nkey_file = \"{}\"\n",
        key.pem.display()
    );
    std::fs::write(&config, format!("{}{keys}", dns.config())).expect("write");
    let check = || {
        let output = Command::new(binary())
            .args(["check", "--config", config.to_str().expect("path")])
            .env_clear()
            .current_dir(folder.path())
            .output()
            .expect("run");
        let (out, err) = texts(&output);
        assert!(
            output.status.success(),
            "DNS is no fault of the configuration: {out}{err}"
        );
        err
    };
    assert!(check().contains("s._domainkey.x.test: no record is published"));
    dns.txt(
        "s._domainkey.x.test",
        "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    );
    let said = check();
    assert!(said.contains("another key"), "{said}");
    dns.remove("s._domainkey.x.test");
    dns.txt("s._domainkey.x.test", &key.record);
    assert_eq!(check(), "", "it matches");
    dns.lie("s._domainkey.x.test", Lie::ServFail);
    assert!(check().contains("not known whether the key is published"));
    // Nobody answers: it says so, and ends.
    dns.lie("s._domainkey.x.test", Lie::Silent);
    let said = check();
    assert!(
        said.contains("did not answer") || said.contains("not known"),
        "{said}"
    );
}
