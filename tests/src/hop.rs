//! A next hop that a test plays itself, line by line; and a tap on the way to a real one.

use crate::wait_for;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a test waits for a line.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the server connects to; nobody is greeted before the test does it.
pub struct Hop {
    listener: TcpListener,
}

impl Hop {
    pub fn listen() -> Hop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        listener.set_nonblocking(true).expect("non-blocking");
        Hop { listener }
    }
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("address")
    }
    /// The next connection, not greeted yet.
    pub fn accept(&self) -> Client {
        let mut accepted = None;
        wait_for("a connection", || {
            accepted = self.listener.accept().ok();
            accepted.is_some()
        });
        let (stream, _) = accepted.expect("a connection");
        stream.set_nonblocking(false).expect("blocking");
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(PATIENCE)).expect("time-out");
        Client {
            stream: BufReader::new(stream),
        }
    }
}

/// The server, as its next hop sees it.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Greets it and answers EHLO with these extensions.
    pub fn greet(&mut self, extensions: &[&str]) {
        self.say("220 hop.test ESMTP");
        let hello = self.line();
        assert!(
            hello.starts_with("EHLO ") || hello.starts_with("LHLO "),
            "{hello}"
        );
        self.say("250-hop.test");
        for extension in extensions {
            self.say(&format!("250-{extension}"));
        }
        self.say("250 X");
    }
    /// Says a line.
    pub fn say(&mut self, line: &str) {
        let stream = self.stream.get_mut();
        stream.write_all(format!("{line}\r\n").as_bytes()).expect("say");
    }
    /// The next line, without its end; empty when the server has closed.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line in time");
        line.trim_end().to_owned()
    }
    /// MAIL, RCPT and DATA for one recipient; gives its address.
    pub fn envelope(&mut self) -> String {
        let (mail, rcpt, data) = (self.line(), self.line(), self.line());
        assert!(mail.starts_with("MAIL FROM:"), "{mail}");
        assert_eq!(data, "DATA");
        let address = rcpt
            .strip_prefix("RCPT TO:<")
            .and_then(|rest| rest.split_once('>'));
        address.unwrap_or_else(|| panic!("{rcpt}")).0.to_owned()
    }
    /// Accepts an envelope up to the go-ahead.
    pub fn go_ahead(&mut self) {
        for reply in ["250 ok", "250 ok", "354 go"] {
            self.say(reply);
        }
    }
    /// Reads content up to its final dot.
    pub fn content(&mut self) {
        loop {
            let mut line = String::new();
            assert!(
                self.stream.read_line(&mut line).expect("a line in time") > 0,
                "closed"
            );
            if line == ".\r\n" {
                return;
            }
        }
    }
    /// Whether nothing comes for a moment.
    pub fn is_silent(&mut self) -> bool {
        let stream = self.stream.get_ref();
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .expect("time-out");
        let silent = match self.stream.fill_buf() {
            Ok(_) => false,
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        let stream = self.stream.get_ref();
        stream.set_read_timeout(Some(PATIENCE)).expect("time-out");
        silent
    }
    /// Whether the server has closed, once what it said is read.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

/// Passes everything on to a server, and remembers what came in one piece.
pub struct Tap {
    pub address: SocketAddr,
    pieces: Arc<Mutex<Vec<Vec<u8>>>>,
    open: Arc<AtomicBool>,
}

impl Tap {
    /// A tap before this server. It is shut: whoever connects waits until [`Tap::open`].
    pub fn before(server: SocketAddr) -> Tap {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let tap = Tap {
            address: listener.local_addr().expect("address"),
            pieces: Arc::default(),
            open: Arc::default(),
        };
        let (pieces, open) = (tap.pieces.clone(), tap.open.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (pieces, open) = (pieces.clone(), open.clone());
                std::thread::spawn(move || carry(client, server, &pieces, &open));
            }
        });
        tap
    }
    pub fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
    /// Pieces in which the end of a message and the next one's MAIL came together.
    pub fn ends_with_a_beginning(&self) -> usize {
        let pieces = self.pieces.lock().expect("pieces");
        let both = |piece: &&Vec<u8>| String::from_utf8_lossy(piece).contains("\r\n.\r\nMAIL FROM:");
        pieces.iter().filter(both).count()
    }
}

fn carry(client: TcpStream, server: SocketAddr, pieces: &Mutex<Vec<Vec<u8>>>, open: &AtomicBool) {
    while !open.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let Ok(server) = TcpStream::connect(server) else {
        return;
    };
    let (mut from_server, mut to_client) = (
        server.try_clone().expect("clone"),
        client.try_clone().expect("clone"),
    );
    let back = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let (mut from_client, mut to_server, mut piece) = (client, server, vec![0; 1 << 16]);
    while let Ok(count @ 1..) = from_client.read(&mut piece) {
        pieces.lock().expect("pieces").push(piece[..count].to_vec());
        if to_server.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    let _ = to_server.shutdown(Shutdown::Both);
    let _ = back.join();
}
