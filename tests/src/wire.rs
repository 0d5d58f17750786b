//! SMTP by hand: bytes out, replies in.

use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// A connection whose replies are read one by one.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// One reply: its code and its lines without codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub lines: Vec<String>,
}

impl Reply {
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }
}

impl Wire {
    /// Connects, without reading the greeting.
    pub fn connect(address: SocketAddr) -> Wire {
        Wire::over(TcpStream::connect(address).expect("connect"))
    }
    /// The same from an address of ours.
    pub fn connect_from(source: &str, address: SocketAddr) -> Wire {
        Wire::over(connect_from(source, address))
    }
    fn over(stream: TcpStream) -> Wire {
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("timeout");
        stream.set_nodelay(true).expect("nodelay");
        Wire {
            stream,
            buffer: Vec::new(),
        }
    }
    /// Connects, reads the greeting and says EHLO.
    pub fn hello(address: SocketAddr) -> Wire {
        let mut wire = Wire::connect(address);
        assert_eq!(wire.reply().code, 220);
        assert_eq!(wire.say("EHLO client.test").code, 250);
        wire
    }
    /// Sends octets as they are.
    pub fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).expect("send");
    }
    /// Sends octets; an error is not one (the server may have closed).
    pub fn try_send(&mut self, octets: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(octets.as_ref()).is_ok()
    }
    /// Sends one line and reads its reply.
    pub fn say(&mut self, line: &str) -> Reply {
        self.send(format!("{line}\r\n"));
        self.reply()
    }
    /// Sends one line and demands a code.
    pub fn expect(&mut self, line: &str, code: u16) -> Reply {
        let reply = self.say(line);
        assert_eq!(reply.code, code, "{line}: {reply:?}");
        reply
    }
    /// Reads one reply; panics when the server closes or nothing comes for 30 s.
    pub fn reply(&mut self) -> Reply {
        self.try_reply()
            .expect("a reply, but the server closed the connection")
    }
    /// Reads one reply; `None` when the server closed.
    pub fn try_reply(&mut self) -> Option<Reply> {
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            let code = line
                .get(..3)
                .and_then(|code| code.parse().ok())
                .unwrap_or_else(|| panic!("no reply: {line:?}"));
            lines.push(line.get(4..).unwrap_or_default().to_string());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Some(Reply { code, lines });
            }
        }
    }
    /// Reads one line without its CRLF; `None` when the server closed.
    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("waiting for a reply: {error}"),
            }
        }
    }
    /// Whether the server has closed, and sent nothing more.
    pub fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && self.line().is_none()
    }
    /// Nothing comes for this long.
    pub fn is_silent(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).expect("timeout");
        let mut chunk = [0; 1];
        let silent = self.buffer.is_empty() && self.stream.read(&mut chunk).is_err();
        self.stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("timeout");
        silent
    }
    /// Sends one message; gives the final reply.
    pub fn mail(&mut self, from: &str, to: &[&str], content: &str) -> Reply {
        self.expect(&format!("MAIL FROM:<{from}>"), 250);
        for to in to {
            self.expect(&format!("RCPT TO:<{to}>"), 250);
        }
        self.expect("DATA", 354);
        self.send(content);
        self.say(if content.ends_with("\r\n") { "." } else { "\r\n." })
    }
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

/// A connection from an address of ours: on loopback there are many.
pub fn connect_from(source: &str, address: SocketAddr) -> TcpStream {
    let source: IpAddr = source.parse().expect("an address");
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("socket");
    socket.bind(&SocketAddr::new(source, 0).into()).expect("bind");
    socket.connect(&address.into()).expect("connect");
    socket.into()
}

/// The queue id in a reply to end of data (`250 2.0.0 … queued as ID`).
pub fn queue_id(reply: &Reply) -> String {
    let text = reply.text();
    let id = text.rsplit(' ').next().unwrap_or_default().to_string();
    assert!(id.len() >= 10, "no queue id in {reply:?}");
    id
}
