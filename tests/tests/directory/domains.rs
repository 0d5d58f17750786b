//! Domains and aliases: mail follows them at once.

use super::{refused, text};
use blackbox::server::Server;
use blackbox::tools::maildir;
use blackbox::wire::Wire;
use serde_json::json;

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
    let mails = |place: &str| maildir(&folder.path().join(place).join("bo")).len();
    let deliver = |place: &str| format!("maildir:{}/{place}/{{local}}", folder.path().display());

    let domain = |server: &Server, words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        server.done(&[&["domain"], &words[..]].concat())
    };

    refuses(&server, 554);
    let one = deliver("one");
    domain(&server, &format!("add New.test --deliver {one} --recipients any"));
    mail(&server);
    assert_eq!(mails("one"), 1);
    let two = deliver("two");
    domain(&server, &format!("set new.test --deliver {two}"));
    mail(&server);
    assert_eq!((mails("one"), mails("two")), (1, 1));

    let mut server = server;
    server.kill();
    let server = server.restart();
    mail(&server);
    assert_eq!(mails("two"), 2, "it is kept");
    domain(&server, "set new.test --recipients known");
    refuses(&server, 550);
    // Neither may be set without the other.
    domain(
        &server,
        "set new.test --deliver smtp:127.0.0.1:9 --recipients verify",
    );
    domain(&server, "set new.test --deliver capture --recipients any");
    let shown = &server.json(&["domain", "list"])[0];
    assert_eq!(
        (&shown["deliver"], &shown["recipients"]),
        (&json!("capture"), &json!("any"))
    );

    server.done(&["alias", "add", "@new.test", "c@else.test"]);
    let (status, said) = refused(&server, &["domain", "remove", "new.test"]);
    assert!(
        status == 64 && said.contains("alias @new.test"),
        "{status} {said}"
    );
    domain(&server, "remove new.test --force");
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
fn aliases_work_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::with(&format!(
        "[[domains]]\nname = \"x.test\"\ndeliver = \"maildir:{}/{{local}}\"\n[[accounts]]\nname = \"ann@x.test\"\n",
        folder.path().display()
    ));
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<>", 250);
    wire.expect("RCPT TO:<sales@x.test>", 550);
    server.done(&["alias", "add", "sales@x.test", "ann@x.test"]);
    // A mail sees the directory as it was when it began.
    wire.expect("RCPT TO:<sales@x.test>", 550);
    wire.expect("RSET", 250);
    wire.mail("", &["sales@x.test"], "Subject: x\r\n\r\nx\r\n");
    server.wait_empty();
    assert_eq!(maildir(&folder.path().join("ann")).len(), 1);
    assert_eq!(server.json(&["alias", "list"])[0]["to"], json!(["ann@x.test"]));
    server.done(&[
        "alias",
        "set",
        "sales@x.test",
        "nobody-here@else.test",
        "ann@x.test",
    ]);
    assert_eq!(
        server.json(&["alias", "list"])[0]["to"],
        json!(["nobody-here@else.test", "ann@x.test"])
    );
    server.done(&["alias", "remove", "sales@x.test"]);
    wire.expect("MAIL FROM:<>", 250);
    wire.expect("RCPT TO:<sales@x.test>", 550);
}
