//! What a sink says on a connection.

use super::{Act, Message, Moment, Shared};
use std::io::{BufRead, BufReader, ErrorKind, Result, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub(super) fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = shared.clone();
        std::thread::spawn(move || {
            let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
            shared.open.fetch_add(1, Ordering::SeqCst);
            let _ = Conversation::new(stream, &shared, number).and_then(Conversation::run);
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// A client that has connected, and the message that it is about to hand over.
struct Conversation<'a> {
    shared: &'a Shared,
    number: usize,
    reader: BufReader<TcpStream>,
    stream: TcpStream,
    peer: Option<IpAddr>,
    /// As whom it greeted.
    client: String,
    message: Message,
}

impl<'a> Conversation<'a> {
    fn new(stream: TcpStream, shared: &'a Shared, number: usize) -> Result<Self> {
        stream.set_nodelay(true)?;
        let mut new = Conversation {
            shared,
            number,
            reader: BufReader::new(stream.try_clone()?),
            peer: stream.peer_addr().ok().map(|peer| peer.ip().to_canonical()),
            stream,
            client: String::new(),
            message: Message::default(),
        };
        new.message = new.fresh();
        Ok(new)
    }

    /// To its end.
    fn run(mut self) -> Result<()> {
        let act = self.asked(&Moment::Greeting);
        self.play(act, "220 sink.test ESMTP\r\n")?;
        loop {
            let mut line = Vec::new();
            if self.reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_string();
            let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
            self.command(&verb, &line)?;
            if verb == "QUIT" {
                return Ok(());
            }
        }
    }

    fn command(&mut self, verb: &str, line: &str) -> Result<()> {
        let act = self.asked(&Moment::Command(line.to_owned()));
        let positive = matches!(&act, Act::Default | Act::Crawl(_) | Act::Stall(_))
            || matches!(&act, Act::Say(reply) if reply.starts_with(['2', '3']));
        match verb {
            "EHLO" => {
                self.client = line.get(5..).unwrap_or_default().to_owned();
                self.play(act, &ehlo(&self.shared.ehlo))
            }
            "MAIL" => {
                if positive {
                    self.message = self.fresh();
                    self.message.from = after_colon(line);
                }
                self.play(act, "250 2.1.0 sender ok\r\n")
            }
            "RCPT" => {
                if positive {
                    self.message.to.push(after_colon(line));
                }
                self.play(act, "250 2.1.5 recipient ok\r\n")
            }
            "DATA" if self.message.to.is_empty() => self.play(act, "554 5.5.1 no valid recipients\r\n"),
            "DATA" => {
                self.play(act.clone(), "354 go ahead\r\n")?;
                match positive {
                    true => self.content(&act),
                    false => Ok(()),
                }
            }
            "RSET" => {
                self.message = self.fresh();
                self.play(act, "250 2.0.0 reset\r\n")
            }
            "QUIT" => self.play(act, "221 2.0.0 bye\r\n"),
            "HELO" | "NOOP" => self.play(act, "250 2.0.0 ok\r\n"),
            _ => self.play(act, "502 5.5.1 not implemented\r\n"),
        }
    }

    /// Takes the content, read as the act for DATA says, and replies to its end.
    fn content(&mut self, act: &Act) -> Result<()> {
        self.message.content = content(&mut self.reader, || rest_of(act, self.shared))?;
        let message = std::mem::take(&mut self.message);
        let act = self.asked(&Moment::EndOfData(message.clone()));
        let keep = match &act {
            Act::Default | Act::KeepAndClose => true,
            Act::Say(reply) => reply.starts_with('2'),
            _ => false,
        };
        if keep {
            let mut messages = self.shared.messages.lock().expect("messages");
            self.shared
                .arrivals
                .lock()
                .expect("arrivals")
                .push(Instant::now());
            messages.push(message);
        }
        self.play(act, "250 2.0.0 taken\r\n")
    }

    fn fresh(&self) -> Message {
        Message {
            connection: self.number,
            peer: self.peer,
            client: self.client.clone(),
            ..Message::default()
        }
    }

    fn asked(&self, moment: &Moment) -> Act {
        (self.shared.script)(self.number, moment)
    }

    /// Plays an act; `default` is what an honest server says. An error ends the conversation.
    fn play(&mut self, act: Act, default: &str) -> Result<()> {
        match act {
            Act::Default | Act::Forget | Act::Crawl(_) | Act::Stall(_) => {
                self.stream.write_all(default.as_bytes())
            }
            Act::Say(reply) => self.stream.write_all(format!("{reply}\r\n").as_bytes()),
            Act::Raw(octets) => {
                self.stream.write_all(&octets)?;
                hang(self.shared)
            }
            Act::Inject(octets) => self.stream.write_all(&octets),
            Act::RawClose(octets) => {
                self.stream.write_all(&octets)?;
                Err(ErrorKind::Other.into())
            }
            Act::Close | Act::KeepAndClose => Err(ErrorKind::Other.into()),
            Act::Hang => hang(self.shared),
        }
    }
}

fn hang(shared: &Shared) -> Result<()> {
    while !shared.stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(ErrorKind::Other.into())
}

/// What is done after each 64 KiB of a content.
fn rest_of(act: &Act, shared: &Shared) {
    match act {
        Act::Crawl(pause) => std::thread::sleep(*pause),
        Act::Stall(goes_on) => {
            while !goes_on.load(Ordering::SeqCst) && !shared.stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        _ => {}
    }
}

fn ehlo(extensions: &[String]) -> String {
    let mut lines = vec!["sink.test".to_string()];
    lines.extend(extensions.iter().cloned());
    let last = lines.len() - 1;
    let line = |(i, line): (usize, &String)| format!("250{}{line}\r\n", if i == last { ' ' } else { '-' });
    lines.iter().enumerate().map(line).collect()
}

fn after_colon(line: &str) -> String {
    line.split_once(':')
        .map(|(_, rest)| rest.trim().to_string())
        .unwrap_or_default()
}

/// Reads up to `CRLF . CRLF`, strictly, and unstuffs; with a rest after each 64 KiB.
fn content(reader: &mut impl BufRead, rest: impl Fn()) -> Result<Vec<u8>> {
    const BLOCK: usize = 64 * 1024;
    let mut all = Vec::new();
    let mut start = true;
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if start && line == b".\r\n" {
            return Ok(all);
        }
        let stuffed = start && line.starts_with(b".");
        start = line.ends_with(b"\r\n");
        let before = all.len();
        all.extend_from_slice(&line[usize::from(stuffed)..]);
        if all.len() / BLOCK > before / BLOCK {
            rest();
        }
    }
}
