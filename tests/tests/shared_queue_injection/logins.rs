//! Logins, by each mechanism; and what a proxy says of a connection.

use super::{in_time, requests};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use blackbox::injection::{MARK, encoded, texts};
use blackbox::server::{Server, exchange};
use blackbox::tls::Tls;
use blackbox::wire::connect_from;
use serde_json::json;
use std::net::SocketAddr;

/// Names and passwords that nobody has, by each mechanism; and those that somebody has.
pub(super) fn and_proxies(server: &Server) {
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
    let path = format!("/api/v1/accounts/{}", encoded(name.as_bytes()));
    let (status, answer) = requests::ask(server, "DELETE", &path, b"");
    assert_eq!(status, 200, "{answer}");
    for text in texts() {
        proxied(server, &text);
    }
}

fn guess(address: SocketAddr, number: usize, text: &str) {
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
        let answer = in_time("a proxy's connection", || exchange(proxy, &header));
        // It is closed by then; an alert of TLS may come before.
        assert!(
            answer.is_empty() || answer.starts_with('\u{15}'),
            "{text}: {answer:?}"
        );
    }
}
