//! A client under TLS whose every word is ours: `openssl s_client`; and one that has words of somebody else's behind its STARTTLS.

use crate::tools::{program, run, s_client};
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Stdio};

/// A connection under TLS. Dropped, it is cut.
pub struct Tls {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Tls {
    /// On `smtps`, or with `starttls`; with further arguments of `openssl s_client`. EHLO is said.
    pub fn open(address: SocketAddr, starttls: bool, args: &[&str]) -> Self {
        let mut child = s_client(address, starttls, args)
            .args(["-quiet", "-crlf"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl");
        let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let mut tls = Tls { child, lines };
        // With STARTTLS it has been greeted already.
        if !starttls {
            tls.reply("220");
        }
        tls.expect("EHLO client.test", "250");
        tls
    }

    /// The next reply, which must start so.
    pub fn reply(&mut self, start: &str) -> String {
        let mut reply = String::new();
        loop {
            let line = self.lines.next().expect("a reply").expect("text");
            let last = line.as_bytes().get(3) != Some(&b'-');
            reply += &(line + "\n");
            if last {
                assert!(reply.starts_with(start), "wanted {start}: {reply}");
                return reply;
            }
        }
    }

    /// Says a line; the reply must start so.
    pub fn expect(&mut self, line: &str, start: &str) -> String {
        let stdin = self.child.stdin.as_mut().expect("stdin");
        stdin.write_all(format!("{line}\n").as_bytes()).expect("send");
        self.reply(start)
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client behind whose STARTTLS somebody puts octets, in the same packet, in clear. It prints the reply to STARTTLS. If that is 220 it goes on
/// under TLS: it says EHLO, NOOP and QUIT, and prints whatever the server says then until it closes.
const INJECTED: &str = r#"
import socket, ssl, sys
port, injected = int(sys.argv[1]), sys.argv[2].encode()
s = socket.create_connection(("127.0.0.1", port), timeout=30)
def reply(lines):
    while (line := lines.readline()) and line[3:4] == b"-":
        pass
    return line.decode()
lines = s.makefile("rb")
reply(lines)
s.sendall(b"EHLO client.test\r\n")
reply(lines)
s.sendall(b"STARTTLS\r\n" + injected)
first = reply(lines)
print(first, end="")
if first.startswith("220"):
    s = ssl._create_unverified_context().wrap_socket(s)
    lines = s.makefile("rb")
    for command in [b"EHLO client.test\r\n", b"NOOP\r\n", b"QUIT\r\n"]:
        s.sendall(command)
        print(reply(lines), end="")
while line := reply(lines):
    print(line, end="")
"#;

/// The codes of all replies that a client gets behind whose STARTTLS somebody puts these octets: to STARTTLS, and, if it is told to go on, under TLS
/// to EHLO, NOOP and QUIT. More are replies to what was put there.
pub fn codes_behind_starttls(address: SocketAddr, injected: &str) -> Vec<u16> {
    let mut python = program("/usr/bin/python3");
    python.args(["-c", INJECTED, &address.port().to_string(), injected]);
    let said = run(&mut python).stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    let code = |line: &str| line[..3].parse().unwrap_or_else(|_| panic!("no reply: {said}"));
    said.lines().map(code).collect()
}
