//! Accounts, domains, aliases and keys at run time, by the commands an operator uses.

use blackbox::dns::{Dns, Lie};
use blackbox::server::{PASSWORD, Server, binary};
use blackbox::sink::Sink;
use blackbox::tools;
use blackbox::wire::Wire;
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// What a command printed, when it went well.
fn done(server: &Server, args: &[&str]) -> String {
    let output = server.command(args);
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{args:?}: {out}{err}");
    out
}

/// Its exit code and what it said, when it did not.
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

/// Runs a command with a line on its standard input.
fn with_input(server: &Server, args: &[&str], input: &str) {
    let mut child = Command::new(binary())
        .args(args)
        .env_clear()
        .env("SMTP_ADMIN_URL", format!("http://{}", server.http))
        .env("SMTP_ADMIN_PASSWORD", PASSWORD)
        .stdin(Stdio::piped())
        .spawn()
        .expect("start");
    let mut stdin = child.stdin.take().expect("stdin");
    writeln!(stdin, "{input}").expect("input");
    drop(stdin);
    assert!(child.wait().expect("wait").success(), "{args:?}");
}

#[test]
fn an_applications_secret_logs_in_through_kill_and_until_it_is_removed() {
    let sink = Sink::start();
    let server = Server::with(&sink.relay_config());
    let add = [
        "account", "add", "billing", "--app", "--sender", "*@x.test", "--quota", "100/hour",
    ];
    let secret = done(&server, &add).trim().to_owned();
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
    done(&server, &["account", "disable", "billing"]);
    assert!(!logs_in(&server, "billing", &secret, "a@x.test"), "disabled");
    done(&server, &["account", "enable", "billing"]);
    assert!(logs_in(&server, "billing", &secret, "a@x.test"));
    done(&server, &["account", "remove", "billing"]);
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
    let second = done(&server, &["account", "app", "add", "ann", "the printer"]);
    let second = second.trim();
    assert!(logs_in(&server, "ann", first, "a@x.test") && logs_in(&server, "ann", second, "a@x.test"));
    let (_, said) = refused(&server, &["account", "app", "remove", "ann", "the scanner"]);
    assert!(said.contains("the scanner"), "{said}");
    done(&server, &["account", "app", "remove", "ann", "the printer"]);
    assert!(!logs_in(&server, "ann", second, "a@x.test"), "removed");
    assert!(logs_in(&server, "ann", first, "a@x.test"), "the other stays");

    let set = |args: &[&str]| done(&server, &[&["account", "set", "ann"], args].concat());
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
    let shown = done(&server, &["account", "show", "ann"]);
    assert!(
        !shown.contains(first) && shown.contains("senders     b@x.test"),
        "{shown}"
    );
}

#[test]
fn a_domain_made_at_run_time_takes_and_delivers_mail_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::with("");
    let mail = |server: &Server| {
        Wire::hello(server.smtp).mail("a@y.test", &["bo@new.test"], "Subject: x\r\n\r\nx\r\n");
        server.wait_empty();
    };
    let refuses = |server: &Server, code: u16| {
        let mut wire = Wire::hello(server.smtp);
        wire.expect("MAIL FROM:<a@y.test>", 250);
        wire.expect("RCPT TO:<bo@new.test>", code);
    };
    let mails = |place: &str| blackbox::tools::maildir(&folder.path().join(place).join("bo")).len();
    let deliver = |place: &str| format!("maildir:{}/{place}/{{local}}", folder.path().display());

    refuses(&server, 554);
    done(
        &server,
        &[
            "domain",
            "add",
            "New.test",
            "--deliver",
            &deliver("one"),
            "--recipients",
            "any",
        ],
    );
    mail(&server);
    assert_eq!(mails("one"), 1);
    done(
        &server,
        &["domain", "set", "new.test", "--deliver", &deliver("two")],
    );
    mail(&server);
    assert_eq!((mails("one"), mails("two")), (1, 1));

    let mut server = server;
    server.kill();
    let server = server.restart();
    mail(&server);
    assert_eq!(mails("two"), 2, "it is kept");
    done(&server, &["domain", "set", "new.test", "--recipients", "known"]);
    refuses(&server, 550);
    // Neither may be set without the other.
    done(
        &server,
        &[
            "domain",
            "set",
            "new.test",
            "--deliver",
            "smtp:127.0.0.1:9",
            "--recipients",
            "verify",
        ],
    );
    done(
        &server,
        &[
            "domain",
            "set",
            "new.test",
            "--deliver",
            "capture",
            "--recipients",
            "any",
        ],
    );
    let shown = &server.json(&["domain", "list"])[0];
    assert_eq!(
        (&shown["deliver"], &shown["recipients"]),
        (&json!("capture"), &json!("any"))
    );

    done(&server, &["alias", "add", "@new.test", "c@else.test"]);
    let (status, said) = refused(&server, &["domain", "remove", "new.test"]);
    assert!(
        status == 64 && said.contains("alias @new.test"),
        "{status} {said}"
    );
    done(&server, &["domain", "remove", "new.test", "--force"]);
    refuses(&server, 554);
    server.wait_event("admin_action", |event| event["action"] == "domain.remove");
    let actions: Vec<String> = server
        .events("admin_action")
        .iter()
        .map(|event| format!("{} {}", text(event, "action"), text(event, "target")))
        .collect();
    assert_eq!(
        actions,
        [
            "domain.set new.test",
            "domain.set new.test",
            "domain.set new.test",
            "alias.add @new.test",
            "domain.remove new.test"
        ]
    );
}

#[test]
fn a_password_is_set_changed_and_taken_away() {
    let sink = Sink::start();
    let server = Server::with(&sink.relay_config());
    done(&server, &["account", "add", "ann", "--sender", "*"]);
    with_input(
        &server,
        &["account", "password", "ann", "--password-file", "-"],
        "First of all 1",
    );
    assert!(logs_in(&server, "ann", "First of all 1", "a@x.test"));
    with_input(
        &server,
        &["account", "password", "ann", "--password-file", "-"],
        "Second to none 2",
    );
    assert!(!logs_in(&server, "ann", "First of all 1", "a@x.test"));
    assert!(logs_in(&server, "ann", "Second to none 2", "a@x.test"));
    done(&server, &["account", "password", "ann", "--none"]);
    assert!(!logs_in(&server, "ann", "Second to none 2", "a@x.test"));
}

#[test]
fn aliases_work_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::with(&format!(
        "[[domains]]\nname = \"x.test\"\ndeliver = \"maildir:{}/{{local}}\"\n[[accounts]]\nname = \"ann@x.test\"\n",
        folder.path().display()
    ));
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<>", 250);
    wire.expect("RCPT TO:<sales@x.test>", 550);
    done(&server, &["alias", "add", "sales@x.test", "ann@x.test"]);
    // A mail sees the directory as it was when it began.
    wire.expect("RCPT TO:<sales@x.test>", 550);
    wire.expect("RSET", 250);
    wire.mail("", &["sales@x.test"], "Subject: x\r\n\r\nx\r\n");
    server.wait_empty();
    assert_eq!(blackbox::tools::maildir(&folder.path().join("ann")).len(), 1);
    assert_eq!(server.json(&["alias", "list"])[0]["to"], json!(["ann@x.test"]));
    done(
        &server,
        &[
            "alias",
            "set",
            "sales@x.test",
            "nobody-here@else.test",
            "ann@x.test",
        ],
    );
    assert_eq!(
        server.json(&["alias", "list"])[0]["to"],
        json!(["nobody-here@else.test", "ann@x.test"])
    );
    done(&server, &["alias", "remove", "sales@x.test"]);
    wire.expect("MAIL FROM:<>", 250);
    wire.expect("RCPT TO:<sales@x.test>", 550);
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

#[test]
fn keys_are_made_published_checked_and_rotated() {
    let (dns, sink) = (Dns::start(), Sink::start());
    let server = Server::with(&format!("{}{}", sink.relay_config(), dns.config()));
    let zone = done(&server, &["dkim", "new", "x.test"]);
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
    let mut verifiers = blackbox::dkim::Verifiers::default();
    for key in &keys {
        verifiers.publish(text(key, "record_name"), text(key, "record_value"));
    }
    let judged = verifiers.judge(&message.content);
    assert_eq!(judged.len(), 3, "{judged:?}");
    assert!(judged.iter().all(|line| line.ends_with("pass")), "{judged:?}");

    done(&server, &["dkim", "rotate", "x.test", "--overlap", "3600"]);
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
    done(&server, &["dkim", "check", "x.test"]);
    done(&server, &["dkim", "remove", "x.test", text(&keys[0], "selector")]);
    assert_eq!(server.json(&["dkim", "list"]).len(), 3);
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().expect("text")
}

/// DNS answers may be kept for a moment.
fn wait_published(server: &Server) {
    blackbox::wait_for_secs("the records to be found", 30, || {
        server.command(&["dkim", "check", "x.test"]).status.success()
    });
}

#[test]
fn check_looks_declared_keys_up() {
    let (dns, folder) = (Dns::start(), tempfile::tempdir().expect("a folder"));
    let key = blackbox::dkim::Key::new(folder.path(), "ED25519");
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

#[test]
fn a_server_that_is_away_is_unavailable() {
    let nowhere = blackbox::ports::free_port();
    let output = Command::new(binary())
        .args(["account", "list", "--url", &format!("http://{nowhere}")])
        .env_clear()
        .env("SMTP_ADMIN_PASSWORD", PASSWORD)
        .output()
        .expect("run");
    assert_eq!(output.status.code(), Some(69), "{}", texts(&output).1);
}
