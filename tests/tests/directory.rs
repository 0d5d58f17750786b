//! Accounts, domains, aliases and keys at run time, by the commands an operator uses.

mod accounts;
mod domains;
mod keys;

use blackbox::ports::free_port;
use blackbox::server::{PASSWORD, Server, binary};
use blackbox::tools;
use serde_json::Value;
use std::process::{Command, Output};

/// The exit code of a command that is refused, and what it said.
fn refused(server: &Server, args: &[&str]) -> (i32, String) {
    let output = server.command(args);
    let (out, err) = texts(&output);
    assert!(!output.status.success(), "{args:?}: {out}{err}");
    (output.status.code().expect("exit code"), out + &err)
}

fn texts(output: &Output) -> (String, String) {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Whether swaks can log in and send.
fn logs_in(server: &Server, user: &str, password: &str, from: &str) -> bool {
    let mut swaks = tools::swaks(server.submission(), user, password);
    swaks.args(["--from", from, "--to", "b@y.test"]);
    swaks.output().expect("swaks").status.success()
}

#[test]
fn what_is_declared_or_wrong_is_refused_in_words() {
    let server =
        Server::with("[[domains]]\nname = \"x.test\"\ndeliver = \"capture\"\n[[accounts]]\nname = \"ann\"\n");
    for (args, code, word) in [
        (
            &["account", "remove", "ann"][..],
            64,
            "declared in the configuration (accounts[0])",
        ),
        (
            &["domain", "set", "x.test", "--recipients", "any"],
            64,
            "declared in the configuration",
        ),
        (
            &["domain", "add", "y.test", "--deliver", "nowhere"],
            78,
            "expected maildir:",
        ),
        (
            &["alias", "add", "a@elsewhere.test", "b@x.test"],
            78,
            "elsewhere.test",
        ),
        (
            &["account", "add", "bo", "--sender", "a*@x.test"],
            78,
            "no pattern",
        ),
        (&["account", "show", "nobody"], 64, "there is no account nobody"),
        (&["account", "set", "ann"], 64, "nothing to set"),
        (&["dkim", "check", "x.test"], 64, "has no DKIM key"),
    ] {
        let (status, said) = refused(&server, args);
        assert!(status == code && said.contains(word), "{args:?}: {status} {said}");
    }
    let output = Command::new(binary())
        .args(["domain", "list", "--url", &format!("http://{}", server.http)])
        .env_clear()
        .env("SMTP_ADMIN_PASSWORD", "wrong")
        .output()
        .expect("run");
    assert_eq!(output.status.code(), Some(78), "{}", texts(&output).1);
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().expect("text")
}

#[test]
fn a_server_that_is_away_is_unavailable() {
    let nowhere = free_port();
    let output = Command::new(binary())
        .args(["account", "list", "--url", &format!("http://{nowhere}")])
        .env_clear()
        .env("SMTP_ADMIN_PASSWORD", PASSWORD)
        .output()
        .expect("run");
    assert_eq!(output.status.code(), Some(69), "{}", texts(&output).1);
}
