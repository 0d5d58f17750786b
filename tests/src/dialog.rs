//! Dialogs as files: what the client says and what the server must answer, side by side.
//!
//! ```text
//! # A comment.
//! config                     the configuration follows, up to a line of `end`
//! C: EHLO client.test        the client sends a line
//! C| MAIL FROM:<a@x.test>\r\nRSET\r\n    octets as they are; \r \n \0 \xHH \\ \p (waits 50 ms: another packet)
//! C* 3000 x                  the text that many times, without a line end
//! S: 250 2.1.0 *             one line of the server; `*` stands for anything
//! S~ 250                     one reply of this code, any number of lines
//! closed                     the server has closed, and said nothing more
//! connect                    a new connection
//! messages 1                 this many messages were accepted in all, and reached the next hop
//! content 1 "text"           message 1 holds this text (escapes as above)
//! ```
//!
//! Unless the configuration says otherwise, `local.test` is a local domain whose mail goes to the test's sink, and
//! nobody may relay.

use crate::server::{Server, Setup};
use crate::sink::Sink;
use crate::wire::Wire;
use std::path::Path;
use std::time::Duration;

/// Runs one dialog against a server of its own; panics with file and line where they part.
pub fn play(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let sink = Sink::start();
    let (config, lines) = split(&text);
    let hop = format!(
        "[[domains]]\nname = \"local.test\"\ndeliver = \"smtp:{}\"\n",
        sink.address
    );
    let server = Setup::new(format!("{config}\n{hop}")).start();
    let mut player = Player {
        wire: Wire::connect(server.smtp),
        server,
        sink,
    };
    for (number, line) in lines {
        let place = format!("{}:{number}: {line}", path.display());
        player.line(&line, &place);
    }
}

/// The configuration, and the numbered lines that are played.
fn split(text: &str) -> (String, Vec<(usize, String)>) {
    let (mut config, mut lines, mut inside) = (String::new(), Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        match line.trim_end() {
            "config" => inside = true,
            "end" if inside => inside = false,
            line if inside => config.push_str(&format!("{line}\n")),
            line if line.trim().is_empty() || line.starts_with('#') => {}
            line => lines.push((number + 1, line.to_string())),
        }
    }
    (config, lines)
}

struct Player {
    server: Server,
    sink: Sink,
    wire: Wire,
}

impl Player {
    fn line(&mut self, line: &str, place: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "C:" => self.wire.send(format!("{rest}\r\n")),
            "C|" => self.packets(rest),
            "C*" => {
                let (times, text) = rest
                    .split_once(' ')
                    .unwrap_or_else(|| panic!("{place}: C* N TEXT"));
                let times: usize = times.parse().unwrap_or_else(|_| panic!("{place}: C* N TEXT"));
                self.wire.send(unescape(text).repeat(times));
            }
            "S:" => {
                let got = self
                    .wire
                    .line()
                    .unwrap_or_else(|| panic!("{place}\n  but the server closed"));
                assert!(glob(rest, &got), "{place}\n  but the server said: {got}");
            }
            "S~" => {
                let got = self
                    .wire
                    .try_reply()
                    .unwrap_or_else(|| panic!("{place}\n  but the server closed"));
                assert_eq!(
                    got.code.to_string(),
                    rest,
                    "{place}\n  but the server said: {got:?}"
                );
            }
            "closed" => assert!(self.wire.is_closed(), "{place}\n  but the server said more"),
            "connect" => self.wire = Wire::connect(self.server.smtp),
            "messages" => self.messages(rest, place),
            "content" => self.content(rest, place),
            _ => panic!("{place}\n  is no line of a dialog"),
        }
    }

    fn packets(&mut self, text: &str) {
        for (number, part) in text.split("\\p").enumerate() {
            if number > 0 {
                std::thread::sleep(Duration::from_millis(50));
            }
            self.wire.send(unescape(part));
        }
    }

    fn messages(&mut self, count: &str, place: &str) {
        let count: usize = count.parse().unwrap_or_else(|_| panic!("{place}: messages N"));
        self.sink.wait(count);
        self.server.wait_empty();
        assert_eq!(
            self.sink.count(),
            count,
            "{place}\n  but the next hop got {:#?}",
            self.sink.messages()
        );
    }

    fn content(&mut self, rest: &str, place: &str) {
        let (number, text) = rest
            .split_once(' ')
            .unwrap_or_else(|| panic!("{place}: content N \"TEXT\""));
        let number: usize = number
            .parse()
            .unwrap_or_else(|_| panic!("{place}: content N \"TEXT\""));
        let wanted = unescape(text.trim_matches('"'));
        let messages = self.sink.wait(number);
        let got = &messages[number - 1].content;
        let found = got.windows(wanted.len().max(1)).any(|part| part == wanted);
        assert!(found, "{place}\n  but it is: {:?}", String::from_utf8_lossy(got));
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            out.push(first);
            continue;
        }
        let Some((&escape, after)) = rest.split_first() else {
            break;
        };
        rest = after;
        match escape {
            b'r' => out.push(b'\r'),
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'0' => out.push(0),
            b'x' => {
                let hex = std::str::from_utf8(&rest[..2]).expect("two hex digits");
                out.push(u8::from_str_radix(hex, 16).expect("two hex digits"));
                rest = &rest[2..];
            }
            other => out.push(other),
        }
    }
    out
}

/// Whether `text` matches a pattern in which `*` stands for anything.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(last)
}
