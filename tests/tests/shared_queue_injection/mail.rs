//! In mail: what clients say, in each place of a dialog and of a message; what next hops answer.

use super::in_time;
use blackbox::injection::{MARK, texts};
use blackbox::server::Server;
use blackbox::sink::{Act, Moment, Sink};
use blackbox::wait_for;
use blackbox::wire::{Wire, queue_id};

/// A next hop that answers with the text whose number a recipient has: for now, or for good; or at the end of the content.
pub(super) fn talkative() -> Sink {
    let numbered = |to: &str, what: &str| -> Option<String> {
        let number = to.strip_prefix('<')?.strip_prefix(what)?.split('@').next()?;
        texts().get(number.parse::<usize>().ok()?).cloned()
    };
    Sink::scripted(move |_, moment| match moment {
        Moment::Command(line) => {
            let to = line.strip_prefix("RCPT TO:").unwrap_or_default();
            match (numbered(to, "later-"), numbered(to, "no-")) {
                (Some(text), _) => Act::Say(format!("451 4.7.1 {text}")),
                (_, Some(text)) => Act::Say(format!("550 5.1.1 {text}")),
                _ if to.starts_with("<keep@") => Act::Say("451 4.7.1 later".into()),
                _ => Act::Default,
            }
        }
        Moment::EndOfData(message) => match message.to.first().and_then(|to| numbered(to, "end-")) {
            Some(text) => Act::Say(format!("452 4.3.0 {text}")),
            None => Act::Default,
        },
        Moment::Greeting => Act::Default,
    })
}

/// Texts that can be in a reply, or behind a command, and come back as they are.
fn plain() -> impl Iterator<Item = (usize, String)> {
    let plain = |(_, text): &(usize, String)| text.len() < 400 && !text.contains('\0') && text.is_ascii();
    texts().into_iter().enumerate().filter(plain)
}

/// As a local part: quoted, unless it need not be.
fn local(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    if text.chars().all(bare) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// As a value that may have everything in it.
fn xtext(text: &str) -> String {
    let one = |octet: u8| match octet {
        b'!'..=b'~' if octet != b'+' && octet != b'=' => char::from(octet).to_string(),
        _ => format!("+{octet:02X}"),
    };
    text.bytes().map(one).collect()
}

/// Says this, on a connection of its own, after what must come before it. It is taken or refused, and not because of the store.
fn say(server: &Server, before: &[&str], line: &[u8]) {
    let mut client = Wire::hello(server.smtp);
    for command in before {
        client.expect(command, 250);
    }
    let what = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
    client.send([line, &b"\r\n"[..]].concat());
    let reply = in_time(&what, || client.reply());
    assert!(
        (250..260).contains(&reply.code) || (500..600).contains(&reply.code) || reply.code == 214,
        "{what}: {reply:?}"
    );
}

/// In each place of a dialog.
fn say_everywhere(server: &Server, text: &str) {
    let (name, coded) = (local(text), xtext(text));
    for verb in [
        "HELO",
        "EHLO",
        "VRFY",
        "EXPN",
        "NOOP",
        "XCLIENT NAME=",
        "AUTH",
        "BDAT",
    ] {
        say(server, &[], format!("{verb} {text}").as_bytes());
    }
    for sender in [
        format!("<{text}@x.test>"),
        format!("<a@{text}>"),
        format!("<{name}@x.test> SMTPUTF8 ENVID={coded} AUTH={coded}"),
        format!("<a@x.test> RET={text}"),
        format!("<a@x.test> BODY={text}"),
        format!("<a@x.test> SIZE={text}"),
    ] {
        say(server, &[], format!("MAIL FROM:{sender}").as_bytes());
    }
    for recipient in [
        format!("<a@{text}>"),
        format!("<{name}@y.test> NOTIFY={text}"),
        format!("<b@y.test> ORCPT={text};{text}"),
    ] {
        say(
            server,
            &["MAIL FROM:<a@x.test>"],
            format!("RCPT TO:{recipient}").as_bytes(),
        );
    }
}

/// One message with the text wherever a message has one: whether it was taken.
fn mail(server: &Server, text: &str) -> bool {
    let (name, coded) = (local(text), xtext(text));
    let mut client = Wire::hello(server.smtp);
    let sender = client.say(&format!("MAIL FROM:<{name}@x.test> SMTPUTF8 ENVID={coded}"));
    if sender.code != 250 {
        client.expect("MAIL FROM:<a@x.test>", 250);
    }
    client.say(&format!("RCPT TO:<{name}@y.test> ORCPT=rfc822;{coded}"));
    client.expect("RCPT TO:<b@y.test>", 250);
    client.expect("DATA", 354);
    let field = |name: &str| format!("{name}: {text}\r\n");
    let fields = [
        "From",
        "To",
        "Subject",
        "Date",
        "References",
        "In-Reply-To",
        "Received",
        "traceparent",
        "X-Other",
    ]
    .map(field);
    client.send(format!(
        "Message-ID: <{text}@x.test>\r\n{}\r\n{text}\r\n.\r\n",
        fields.concat()
    ));
    let reply = in_time("the end of a message", || client.reply());
    assert!(reply.code == 250 || reply.code >= 500, "{text}: {reply:?}");
    reply.code == 250
}

/// Gives how many messages were taken.
pub(super) fn by_clients(server: &Server, sink: &Sink) -> usize {
    say(
        server,
        &[],
        &[&b"EHLO \xff\xfe"[..], MARK.as_bytes(), b"'; DROP TABLE audit; --"].concat(),
    );
    say(
        server,
        &[],
        &[
            &b"MAIL FROM:<\xc0\xa7"[..],
            MARK.as_bytes(),
            b"'@x.test> SMTPUTF8",
        ]
        .concat(),
    );
    let mut taken = 0;
    for text in texts() {
        say_everywhere(server, &text);
        taken += usize::from(mail(server, &text));
    }
    let messages = sink.wait(taken);
    for (_, text) in plain() {
        let address = format!("{}@y.test", local(&text));
        let arrived = messages.iter().filter(|message| {
            message
                .to
                .iter()
                .any(|to| to.starts_with(&format!("<{address}>")))
        });
        let arrived: Vec<_> = arrived.collect();
        assert_eq!(arrived.len(), 1, "{text}");
        assert!(
            arrived[0].text().contains(&format!("\r\nSubject: {text}\r\n")),
            "{text}"
        );
        assert!(
            arrived[0].from.starts_with(&format!("<{}@x.test>", local(&text))),
            "{}",
            arrived[0].from
        );
        // It is found by it, and nothing else is.
        let mut found = Vec::new();
        wait_for("its history", || {
            found = server.json(&["history", "list", "--recipient", &address]);
            found.len() == 1 && found[0]["ended_at"].is_string()
        });
        assert_eq!(found[0]["recipients"][&address]["status"], "sent", "{found:?}");
        assert_eq!(found[0]["sender"], format!("{}@x.test", local(&text)));
    }
    taken
}

/// What next hops answer is shown as they said it, and told to senders; and mail is found by it. Gives how many messages were taken.
pub(super) fn by_next_hops(server: &Server, sink: &Sink) -> usize {
    let before = sink.count();
    let mut taken = 0;
    for (number, text) in plain() {
        // Every third one hears it at the end of its content.
        let later = if number % 3 == 0 { "end" } else { "later" };
        let to = [format!("{later}-{number}@y.test"), format!("no-{number}@y.test")];
        let reply = Wire::hello(server.smtp).mail("a@x.test", &[&to[0], &to[1]], "Subject: answered\r\n\r\n");
        taken += 1;
        let id = queue_id(&reply);
        let reason = || server.json(&["queue", "list", "--reason", &text]);
        wait_for("an answer", || reason().len() == 1);
        let found = reason().remove(0);
        assert_eq!(found["id"], id.as_str(), "{text}");
        let result = found["recipients"][0]["last_result"].as_str().expect("a result");
        assert!(result.contains(&text), "{result}");
        let known = server.json(&["history", "show", &id]).remove(0);
        for (address, status) in to.iter().zip(["deferred", "bounced"]) {
            let fate = &known["recipients"][address];
            assert!(
                fate["status"] == status && fate["text"].as_str().is_some_and(|said| said.contains(&text)),
                "{known}"
            );
        }
        // Every second one is given up, with the same for its sender; the others are deleted.
        let ended = match number % 2 {
            0 => server.done(&["queue", "bounce", "--reason", &text, "--text", &text]),
            _ => server.done(&["queue", "delete", "--reason", &text]),
        };
        assert!(ended.starts_with("1 message"), "{ended}");
    }
    // What was said is in the reports: folded, perhaps.
    let bare = |text: &str| text.split_whitespace().collect::<String>();
    for (_, text) in plain() {
        wait_for("a report", || {
            let messages = sink.messages();
            messages[before..]
                .iter()
                .any(|message| bare(&message.text()).contains(&bare(&text)))
        });
    }
    taken
}
