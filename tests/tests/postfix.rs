//! Postfix relays into the server and takes from it; awkward mail survives both ways, octet for octet.

use blackbox::postfix::Postfix;
use blackbox::server::Server;
use blackbox::sink::Sink;
use blackbox::tools::maildir;
use blackbox::wire::Wire;
use blackbox::{wait_for, wait_for_secs};
use std::collections::BTreeMap;
use std::path::Path;

/// The messages of the mbox, with CRLF.
fn awkward() -> Vec<Vec<u8>> {
    let mbox =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/awkward.mbox")).expect("the mbox");
    let mut messages: Vec<Vec<u8>> = Vec::new();
    for line in mbox.split_inclusive(|&octet| octet == b'\n') {
        if line.starts_with(b"From ") {
            messages.push(Vec::new());
            continue;
        }
        let quoted = line.iter().take_while(|&&octet| octet == b'>').count();
        let line = if quoted > 0 && line[quoted..].starts_with(b"From ") {
            &line[1..]
        } else {
            line
        };
        let message = messages.last_mut().expect("a From line first");
        message.extend_from_slice(&line[..line.len() - 1]);
        message.extend_from_slice(b"\r\n");
    }
    for message in &mut messages {
        // The empty line that ends a message belongs to the mbox.
        assert!(message.ends_with(b"\r\n\r\n") || message.ends_with(b"\r\n"));
        message.truncate(message.len() - 2);
    }
    assert_eq!(messages.len(), 20);
    messages
}

fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in message.split_inclusive(|&octet| octet == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn send_all(server: &Server, to: &str) {
    let mut wire = Wire::hello(server.smtp);
    for message in awkward() {
        wire.expect("MAIL FROM:<a@x.test> BODY=8BITMIME", 250);
        wire.expect(&format!("RCPT TO:<{to}>"), 250);
        wire.expect("DATA", 354);
        wire.send(stuffed(&message));
        wire.expect(".", 250);
    }
}

/// The messages as Postfix passes them on: it takes the blank before a header's colon out.
fn as_postfix_has_them() -> Vec<Vec<u8>> {
    let sloppy = |message: Vec<u8>| match String::from_utf8_lossy(&message).find("from : blank") {
        Some(at) => [&message[..at + 4], &message[at + 5..]].concat(),
        None => message,
    };
    awkward().into_iter().map(sloppy).collect()
}

/// What is left of `got` when header lines that hops add on top are cut: the part that ends like `sent`.
fn without_trace<'a>(got: &'a [u8], sent: &[u8]) -> &'a [u8] {
    &got[got.len().saturating_sub(sent.len())..]
}

/// The message that this copy is of, found by its Message-ID.
fn original<'a>(all: &'a [Vec<u8>], got: &[u8]) -> &'a Vec<u8> {
    let text = String::from_utf8_lossy(got).into_owned();
    let id = text
        .split("Message-ID:")
        .nth(1)
        .and_then(|rest| rest.split(['<', '>']).nth(1))
        .expect("a Message-ID");
    let is = |message: &&Vec<u8>| String::from_utf8_lossy(message).contains(&format!("<{id}>"));
    all.iter().find(is).unwrap_or_else(|| panic!("nobody sent {id}"))
}

fn assert_all_arrived(copies: &[Vec<u8>]) {
    let all = awkward();
    let mut seen = BTreeMap::new();
    for copy in copies {
        let sent = original(&all, copy);
        let got = without_trace(copy, sent);
        assert_eq!(String::from_utf8_lossy(got), String::from_utf8_lossy(sent));
        assert_eq!(got, sent.as_slice());
        let trace = String::from_utf8_lossy(&copy[..copy.len() - sent.len()]).into_owned();
        assert!(
            trace.is_empty() || trace.ends_with("\r\n"),
            "trace fields are whole lines: {trace:?}"
        );
        *seen.entry(sent.clone()).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 20, "every message arrived");
    assert!(seen.values().all(|&count| count == 1), "each once");
}

fn with_crlf(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in message.split_inclusive(|&octet| octet == b'\n') {
        out.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[test]
fn awkward_mail_reaches_a_next_hop_octet_for_octet() {
    let sink = Sink::start();
    let server = Server::with(&sink.relay_config());
    send_all(&server, "b@y.test");
    let copies: Vec<Vec<u8>> = sink.wait(20).into_iter().map(|message| message.content).collect();
    assert_all_arrived(&copies);
}

#[test]
fn awkward_mail_reaches_a_maildir_octet_for_octet() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::with(&format!(
        "[[domains]]\nname = \"local.test\"\ndeliver = \"maildir:{}/{{domain}}/{{local}}\"\nrecipients = \"any\"\n",
        folder.path().display()
    ));
    send_all(&server, "Bob+tag@local.test");
    server.wait_empty();
    // A Maildir holds lines that end in LF.
    let mailbox = folder.path().join("local.test/bob");
    let copies: Vec<Vec<u8>> = maildir(&mailbox)
        .iter()
        .map(|message| with_crlf(message))
        .collect();
    assert_all_arrived(&copies);
    let first = String::from_utf8_lossy(&copies[0]).into_owned();
    assert!(
        first.starts_with("Return-Path: <a@x.test>\r\nDelivered-To: Bob+tag@local.test\r\n"),
        "{first}"
    );
    assert_eq!(std::fs::read_dir(mailbox.join("tmp")).expect("tmp").count(), 0);
    assert!(mailbox.join("cur").is_dir());
}

#[test]
fn postfix_takes_what_we_relay() {
    let postfix = Postfix::start(
        "virtual_mailbox_domains = y.test\nvirtual_mailbox_base = {folder}/mail\n\
         virtual_mailbox_maps = static:b/\nvirtual_minimum_uid = 1\nvirtual_uid_maps = static:65534\nvirtual_gid_maps = static:65534\n",
    );
    let server = Server::with(&format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"{}\"\n",
        postfix.url()
    ));
    send_all(&server, "b@y.test");
    let mailbox = postfix.folder().join("mail/b");
    wait_for_secs("20 messages in Postfix's Maildir", 60, || {
        maildir(&mailbox).len() == 20
    });
    server.wait_empty();
    // Postfix puts an empty line after a header without a body: message 6.
    let copies: Vec<Vec<u8>> = maildir(&mailbox)
        .iter()
        .map(|message| with_crlf(message))
        .collect();
    let all = as_postfix_has_them();
    let (empty, rest): (Vec<_>, Vec<_>) = copies
        .into_iter()
        .partition(|copy| copy.ends_with(b"at all\r\n\r\n") || copy.ends_with(b"at all\r\n"));
    assert_eq!(empty.len(), 1);
    for copy in &rest {
        let sent = original(&all, copy);
        assert_eq!(
            without_trace(copy, sent),
            sent.as_slice(),
            "{}",
            String::from_utf8_lossy(copy)
        );
    }
    wait_for("a line for each", || server.events("delivery").len() >= 20);
    let attempts = server.events("delivery");
    assert!(
        attempts.len() == 20 && attempts.iter().all(|line| line["status"] == "sent"),
        "{attempts:?}"
    );
}

#[test]
fn postfix_relays_into_us() {
    let sink = Sink::start();
    let server = Server::with(&format!(
        "[[domains]]\nname = \"y.test\"\ndeliver = \"smtp:{}\"\n",
        sink.address
    ));
    let postfix = Postfix::start(&format!(
        "relayhost = [{}]:{}\n",
        server.smtp.ip(),
        server.smtp.port()
    ));
    let (all, passed_on) = (awkward(), as_postfix_has_them());
    let mut wire = Wire::hello(postfix.address);
    for message in &all {
        wire.expect("MAIL FROM:<a@x.test> BODY=8BITMIME", 250);
        wire.expect("RCPT TO:<b@y.test> NOTIFY=SUCCESS,FAILURE", 250);
        wire.expect("DATA", 354);
        wire.send(stuffed(message));
        wire.expect(".", 250);
    }
    let messages = sink.wait(20);
    wait_for_secs("Postfix's queue to be empty", 60, || postfix.queued() == 0);
    for message in &messages {
        let sent = original(&passed_on, &message.content);
        if sent.ends_with(b"at all\r\n") {
            continue;
        }
        assert_eq!(without_trace(&message.content, sent), sent.as_slice());
        assert!(
            message.to[0].contains("NOTIFY=SUCCESS,FAILURE"),
            "Postfix passed NOTIFY to us, and we on: {:?}",
            message.to
        );
    }
    assert!(!postfix.log().contains("status=bounced"), "{}", postfix.log());
}
