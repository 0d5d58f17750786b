//! What comes of a pod by way of the API server: its log, and what a command says that is executed in it. There is no process; what is said
//! tells which container of which pod was asked, and for what.

use crate::manifests::api_server::Query;
use base64::Engine as _;
use blackbox::tools::{feed, program};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

/// RFC 6455, 1.3.
const WEBSOCKET: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Channels of `channel.k8s.io`: what the command says, and how it has ended.
const STDOUT: u8 = 1;
const ENDED: u8 = 3;

/// Answers if it is about a stream of a pod. Like a real one it wants to know which container, and that there is one.
pub(crate) fn answer(
    stream: &mut TcpStream,
    head: &str,
    path: &str,
    query: &Query,
    stored: &BTreeMap<String, Value>,
) -> bool {
    let (pod, what) = path.rsplit_once('/').unwrap_or_default();
    if !["log", "exec"].contains(&what) {
        return false;
    }
    let Some(object) = stored.get(pod).filter(|object| object["kind"] == "Pod") else {
        return false;
    };
    let container = query.all("container").next().unwrap_or_default();
    let containers = object["spec"]["containers"].as_array().expect("containers");
    assert!(
        containers.iter().any(|one| one["name"] == container),
        "{pod} has no container {container:?}"
    );
    let name = object["metadata"]["name"].as_str().expect("a name");
    let said = match what {
        "log" => format!("log of {container} in {name}\n"),
        _ => {
            let words: Vec<&str> = query.all("command").collect();
            format!("{} in {container} in {name}\n", words.join(" "))
        }
    };
    // A client that has gone misses nothing.
    let _ = match what {
        "log" => stream.write_all(
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{said}",
                said.len()
            )
            .as_bytes(),
        ),
        _ => executed(stream, head, &said),
    };
    true
}

/// The command's words by WebSocket, and that it has ended well.
fn executed(stream: &mut TcpStream, head: &str, said: &str) -> std::io::Result<()> {
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key")
            .then(|| value.trim())
    });
    let key = key.expect("kubectl speaks WebSocket from 1.31 on");
    let mut openssl = program("/usr/bin/openssl");
    let digest = feed(
        openssl.args(["dgst", "-sha1", "-binary"]),
        format!("{key}{WEBSOCKET}"),
    );
    let accept = base64::engine::general_purpose::STANDARD.encode(digest.stdout);
    stream.write_all(
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
        )
        .as_bytes(),
    )?;
    let ended = r#"{"metadata":{},"status":"Success"}"#;
    for (channel, text) in [(STDOUT, said), (ENDED, ended)] {
        let length = u8::try_from(text.len() + 1).expect("short");
        assert!(length < 126, "{text}");
        stream.write_all(&[&[0x82, length, channel], text.as_bytes()].concat())?;
    }
    // Closed in good order, code 1000.
    stream.write_all(&[0x88, 2, 0x03, 0xe8])?;
    stream.read(&mut [0; 256]).map(drop)
}
