//! Accounts: their secrets and passwords, and what they may.

use super::{logs_in, refused, text};
use blackbox::server::Server;
use blackbox::sink::Sink;
use blackbox::tools::pipe;
use serde_json::json;

/// Sets a password, which is said on standard input.
fn set_password(server: &Server, name: &str, password: &str) {
    let mut set = server.prepared(&["account", "password", name, "--password-file", "-"]);
    pipe(&mut set, &format!("{password}\n"));
}

#[test]
fn an_applications_secret_logs_in_through_kill_and_until_it_is_removed() {
    let sink = Sink::start();
    let server = Server::with(&sink.relay_config());
    let add = [
        "account", "add", "billing", "--app", "--sender", "*@x.test", "--quota", "100/hour",
    ];
    let secret = server.done(&add).trim().to_owned();
    assert!(
        secret.len() > 20 && !secret.contains(' '),
        "the secret alone: {secret:?}"
    );
    assert!(logs_in(&server, "billing", &secret, "a@x.test"));
    assert!(
        !logs_in(&server, "billing", &secret, "a@other.test"),
        "not its sender"
    );

    let mut server = server;
    server.kill();
    let server = server.restart();
    assert!(logs_in(&server, "billing", &secret, "a@x.test"), "it is kept");
    let shown = &server.json(&["account", "show", "billing"])[0];
    assert_eq!(
        (&shown["quota"], &shown["senders"]),
        (&json!(["100/hour"]), &json!(["*@x.test"]))
    );
    server.done(&["account", "disable", "billing"]);
    assert!(!logs_in(&server, "billing", &secret, "a@x.test"), "disabled");
    server.done(&["account", "enable", "billing"]);
    assert!(logs_in(&server, "billing", &secret, "a@x.test"));
    server.done(&["account", "remove", "billing"]);
    assert!(!logs_in(&server, "billing", &secret, "a@x.test"), "removed");
    server.wait_event("admin_action", |event| event["action"] == "account.remove");
    let everything: String = server.log().iter().map(ToString::to_string).collect();
    assert!(!everything.contains(&secret));
}

#[test]
fn an_account_has_several_secrets_and_what_it_may_is_changed() {
    let sink = Sink::start();
    let server = Server::with(&sink.relay_config());
    let made = &server.json(&["account", "add", "ann", "--app", "--sender", "a@x.test"])[0];
    assert_eq!(made["name"], "ann");
    let first = text(made, "secret");
    let second = server.done(&["account", "app", "add", "ann", "the printer"]);
    let second = second.trim();
    assert!(logs_in(&server, "ann", first, "a@x.test") && logs_in(&server, "ann", second, "a@x.test"));
    let (_, said) = refused(&server, &["account", "app", "remove", "ann", "the scanner"]);
    assert!(said.contains("the scanner"), "{said}");
    server.done(&["account", "app", "remove", "ann", "the printer"]);
    assert!(!logs_in(&server, "ann", second, "a@x.test"), "removed");
    assert!(logs_in(&server, "ann", first, "a@x.test"), "the other stays");

    let set = |args: &[&str]| server.done(&[&["account", "set", "ann"], args].concat());
    set(&["--sender", "b@x.test", "--quota", "1/day"]);
    assert!(
        !logs_in(&server, "ann", first, "a@x.test"),
        "what it had is replaced"
    );
    assert!(logs_in(&server, "ann", first, "b@x.test"));
    assert!(!logs_in(&server, "ann", first, "b@x.test"), "over the quota");
    set(&["--quota", ""]);
    assert!(logs_in(&server, "ann", first, "b@x.test"), "no quota any more");

    let server = server.restart();
    assert!(logs_in(&server, "ann", first, "b@x.test"));
    assert!(!logs_in(&server, "ann", second, "b@x.test"));
    let shown = server.done(&["account", "show", "ann"]);
    assert!(
        !shown.contains(first) && shown.contains("senders     b@x.test"),
        "{shown}"
    );
}

#[test]
fn a_password_is_set_changed_and_taken_away() {
    let sink = Sink::start();
    let server = Server::with(&sink.relay_config());
    server.done(&["account", "add", "ann", "--sender", "*"]);
    set_password(&server, "ann", "First of all 1");
    assert!(logs_in(&server, "ann", "First of all 1", "a@x.test"));
    set_password(&server, "ann", "Second to none 2");
    assert!(!logs_in(&server, "ann", "First of all 1", "a@x.test"));
    assert!(logs_in(&server, "ann", "Second to none 2", "a@x.test"));
    server.done(&["account", "password", "ann", "--none"]);
    assert!(!logs_in(&server, "ann", "Second to none 2", "a@x.test"));
}
