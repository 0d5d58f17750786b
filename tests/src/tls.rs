//! A client under TLS whose every word is ours: `openssl s_client`.

use crate::tools::s_client;
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
