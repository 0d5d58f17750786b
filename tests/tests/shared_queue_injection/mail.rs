//! In mail: what clients say, in each place of a dialog and of a message; what next hops answer; logins; what a proxy says of a connection.

use super::{in_time, requests};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use blackbox::injection::{MARK, texts};
use blackbox::server::{Server, exchange};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::tls::Tls;
use blackbox::wait_for;
use blackbox::wire::{Wire, connect_from, queue_id};
use serde_json::json;

/// A next hop that answers with the text whose number a recipient has: for now, or for good.
pub(super) fn talkative() -> Sink {
    Sink::scripted(|_, moment| {
        let Moment::Command(line) = moment else {
            return Act::Default;
        };
        let numbered = |what: &str| -> Option<String> {
            let number = line.strip_prefix("RCPT TO:<")?.strip_prefix(what)?;
            texts()
                .get(number.split('@').next()?.parse::<usize>().ok()?)
                .cloned()
        };
        match (numbered("later-"), numbered("no-")) {
            (Some(text), _) => Act::Say(format!("451 4.7.1 {text}")),
            (_, Some(text)) => Act::Say(format!("550 5.1.1 {text}")),
            _ if line.starts_with("RCPT TO:<keep@") => Act::Say("451 4.7.1 later".into()),
            _ => Act::Default,
        }
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
        let to = [format!("later-{number}@y.test"), format!("no-{number}@y.test")];
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
            0 => server.command(&["queue", "bounce", "--reason", &text, "--text", &text]),
            _ => server.command(&["queue", "delete", "--reason", &text]),
        };
        assert!(
            ended.status.success() && String::from_utf8_lossy(&ended.stdout).starts_with("1 message"),
            "{ended:?}"
        );
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

/// Names and passwords that nobody has, by each mechanism; and those that somebody has.
pub(super) fn by_logins_and_proxies(server: &Server) {
    let address = server.submission();
    std::thread::scope(|scope| {
        for (number, text) in texts().into_iter().enumerate().step_by(3) {
            scope.spawn(move || guess(address, number, &text));
        }
    });
    let (name, password) = (
        format!("';drop/**/table/**/lanes;--{MARK}"),
        format!("' OR pg_sleep(20)::text = '{MARK}"),
    );
    let new = json!({"name": name, "password": password, "senders": ["*@x.test"]});
    let (status, answer) = requests::ask(server, "POST", "/api/v1/accounts", new.to_string().as_bytes());
    assert_eq!(status, 200, "{answer}");
    let mut client = Tls::open(address, true, &[]);
    client.expect(
        &format!("AUTH PLAIN {}", BASE64.encode(format!("\0{name}\0{password}"))),
        "235",
    );
    let known = server.wait_event("auth_succeeded", |_| true);
    assert_eq!(known["account"], name.as_str());
    requests::ask(
        server,
        "DELETE",
        &format!(
            "/api/v1/accounts/{}",
            blackbox::injection::encoded(name.as_bytes())
        ),
        b"",
    );
    for text in texts() {
        proxied(server, &text);
    }
}

fn guess(address: std::net::SocketAddr, number: usize, text: &str) {
    let bind = format!("127.0.4.{}:0", 1 + number);
    let mut client = Tls::open(address, true, &["-bind", &bind]);
    let mut refused = |what: &str, lines: &[String]| {
        in_time(what, || {
            let (last, first) = lines.split_last().expect("lines");
            for line in first {
                if client.expect(line, "").starts_with('5') {
                    return;
                }
            }
            let reply = client.expect(last, "");
            assert!(reply.starts_with('5'), "{what} {text}: {reply}");
        });
    };
    let coded = BASE64.encode(text);
    refused(
        "PLAIN",
        &[format!(
            "AUTH PLAIN {}",
            BASE64.encode(format!("\0{text}\0{text}"))
        )],
    );
    refused("LOGIN", &[format!("AUTH LOGIN {coded}"), coded]);
    let name = text.replace('=', "=3D").replace(',', "=2C");
    let proof = BASE64.encode([0; 32]);
    refused(
        "SCRAM-SHA-256",
        &[
            format!(
                "AUTH SCRAM-SHA-256 {}",
                BASE64.encode(format!("n,,n={name},r=abcdefghijkl"))
            ),
            BASE64.encode(format!("c=biws,r={text},p={proof}")),
        ],
    );
}

/// A proxy that names the text as the host that was asked for, and one that names it as a path.
fn proxied(server: &Server, text: &str) {
    let head = b"\r\n\r\n\0\r\nQUIT\n\x21";
    let length = |octets: usize| u16::try_from(octets).expect("a length").to_be_bytes();
    let addresses = [127, 0, 0, 7, 127, 0, 0, 1, 0x9c, 0x41, 0, 25];
    let named = [&[2_u8][..], &length(text.len()), text.as_bytes()].concat();
    let mut path = text.as_bytes().to_vec();
    path.resize(216, 0);
    for (family, rest) in [(0x11, [&addresses[..], &named].concat()), (0x31, path)] {
        // What comes behind it is no TLS: that is the end of the connection.
        let header = [&head[..], &[family], &length(rest.len()), &rest, b"NOOP\r\n"].concat();
        let proxy = connect_from("127.0.0.9", server.smtps());
        in_time("a proxy's connection", || exchange(proxy, &header));
    }
}
