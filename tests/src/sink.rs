//! A next hop that keeps what it gets, and misbehaves as told.

use crate::wait_for_secs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A message that arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The MAIL command's text after `MAIL FROM:`.
    pub from: String,
    /// The RCPT commands' texts after `RCPT TO:`.
    pub to: Vec<String>,
    /// The content, unstuffed, without the final dot.
    pub content: Vec<u8>,
    /// Which connection brought it, from 1.
    pub connection: usize,
    /// Who that was.
    pub peer: Option<IpAddr>,
    /// As whom it greeted.
    pub client: String,
}

impl Message {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }
    /// The value of a header field, unfolded; `None` when there is none.
    pub fn field(&self, name: &str) -> Option<String> {
        let text = self.text();
        let header = text
            .split("\r\n\r\n")
            .next()
            .unwrap_or_default()
            .replace("\r\n ", " ")
            .replace("\r\n\t", " ");
        header.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim().to_string())
        })
    }
}

/// Where in the conversation the sink is asked what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    Greeting,
    /// A command line without its CRLF.
    Command(String),
    /// The whole message was read.
    EndOfData(Message),
}

/// What the sink does.
#[derive(Clone, Debug)]
pub enum Act {
    /// What an honest server does.
    Default,
    /// This reply instead, CRLF added. For end of data a reply below 300 keeps the message.
    Say(String),
    /// These octets, then what an honest server does not do: nothing more.
    Raw(Vec<u8>),
    /// These octets, then the connection closes.
    RawClose(Vec<u8>),
    /// Closes.
    Close,
    /// Says nothing, and keeps the connection open until the test ends.
    Hang,
    /// To DATA: 354, and a pause of this length after each 64 KiB of the content.
    Crawl(Duration),
    /// To DATA: 354, and after 64 KiB of the content nothing is read until this is true.
    Stall(Arc<AtomicBool>),
    /// Takes the message as an honest server does, and does not keep it.
    Forget,
    /// Keeps the message although it says nothing and closes: a lost reply.
    KeepAndClose,
}

type Script = dyn Fn(usize, &Moment) -> Act + Send + Sync;

struct Shared {
    messages: Mutex<Vec<Message>>,
    /// When each of them had arrived.
    arrivals: Mutex<Vec<Instant>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    stop: AtomicBool,
    ehlo: Vec<String>,
    script: Box<Script>,
}

/// A running sink. Dropped, it stops listening.
pub struct Sink {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Sink {
    /// An honest sink with the usual extensions.
    pub fn start() -> Sink {
        Sink::scripted(|_, _| Act::Default)
    }
    /// A sink that asks the script at each moment; the script also gets the connection's number, from 1.
    pub fn scripted(script: impl Fn(usize, &Moment) -> Act + Send + Sync + 'static) -> Sink {
        Sink::on(
            "127.0.0.1:0",
            &["PIPELINING", "SIZE 100000000", "8BITMIME", "SMTPUTF8", "DSN"],
            script,
        )
    }
    /// A sink with these extensions.
    pub fn offering(ehlo: &[&str]) -> Sink {
        Sink::on("127.0.0.1:0", ehlo, |_, _| Act::Default)
    }
    /// A sink on a given address.
    pub fn on(
        address: &str,
        ehlo: &[&str],
        script: impl Fn(usize, &Moment) -> Act + Send + Sync + 'static,
    ) -> Sink {
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        let address = listener.local_addr().expect("address");
        let shared = Arc::new(Shared {
            messages: Mutex::default(),
            arrivals: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            ehlo: ehlo.iter().map(|line| line.to_string()).collect(),
            script: Box::new(script),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || accept(&listener, &accepting));
        Sink { address, shared }
    }
    /// `smtp://…` for `relay.smarthost`.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }
    /// A configuration that relays everything from loopback to this sink.
    pub fn relay_config(&self) -> String {
        format!(
            "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"{}\"\n",
            self.url()
        )
    }
    pub fn messages(&self) -> Vec<Message> {
        self.shared.messages.lock().expect("messages").clone()
    }
    pub fn count(&self) -> usize {
        self.shared.messages.lock().expect("messages").len()
    }
    /// Looks at each message, and when it had arrived.
    pub fn each(&self, mut look: impl FnMut(&Message, Instant)) {
        let messages = self.shared.messages.lock().expect("messages");
        let arrivals = self.shared.arrivals.lock().expect("arrivals");
        for (message, at) in messages.iter().zip(arrivals.iter()) {
            look(message, *at);
        }
    }
    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
    /// Connections open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
    /// Waits for this many messages; gives all.
    pub fn wait(&self, count: usize) -> Vec<Message> {
        wait_for_secs(&format!("{count} messages at the next hop"), 60, || {
            self.count() >= count
        });
        self.messages()
    }
    pub fn clear(&self) {
        self.shared.messages.lock().expect("messages").clear();
        self.shared.arrivals.lock().expect("arrivals").clear();
    }
    /// Since `began` never more had arrived than so many at once and so many a second.
    pub fn assert_pace(&self, began: Instant, burst: f64, per_second: f64) {
        for (before, at) in self.shared.arrivals.lock().expect("arrivals").iter().enumerate() {
            let seconds = at.duration_since(began).as_secs_f64();
            let most = burst + per_second * seconds;
            assert!(before as f64 + 1.0 <= most, "{} within {seconds} s", before + 1);
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = shared.clone();
        std::thread::spawn(move || {
            let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
            shared.open.fetch_add(1, Ordering::SeqCst);
            let _ = serve(stream, &shared, number);
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Plays an act. `Ok(true)` when the honest server goes on with `default`.
fn play(act: Act, stream: &mut TcpStream, default: &str, shared: &Shared) -> std::io::Result<()> {
    match act {
        Act::Default | Act::Forget | Act::Crawl(_) | Act::Stall(_) => stream.write_all(default.as_bytes()),
        Act::Say(reply) => stream.write_all(format!("{reply}\r\n").as_bytes()),
        Act::Raw(octets) => {
            stream.write_all(&octets)?;
            hang(shared)
        }
        Act::RawClose(octets) => {
            stream.write_all(&octets)?;
            Err(std::io::ErrorKind::Other.into())
        }
        Act::Close | Act::KeepAndClose => Err(std::io::ErrorKind::Other.into()),
        Act::Hang => hang(shared),
    }
}

fn hang(shared: &Shared) -> std::io::Result<()> {
    while !shared.stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(std::io::ErrorKind::Other.into())
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

fn serve(mut stream: TcpStream, shared: &Shared, number: usize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    play(
        (shared.script)(number, &Moment::Greeting),
        &mut stream,
        "220 sink.test ESMTP\r\n",
        shared,
    )?;
    let peer = stream.peer_addr().ok().map(|peer| peer.ip().to_canonical());
    let mut client = String::new();
    let fresh = |client: &str| Message {
        connection: number,
        peer,
        client: client.to_owned(),
        ..Message::default()
    };
    let mut message = fresh(&client);
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_string();
        let act = (shared.script)(number, &Moment::Command(line.clone()));
        let rest = act.clone();
        let positive = matches!(&act, Act::Default | Act::Crawl(_) | Act::Stall(_))
            || matches!(&act, Act::Say(reply) if reply.starts_with(['2', '3']));
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => {
                client = line.get(5..).unwrap_or_default().to_owned();
                play(act, &mut stream, &ehlo(&shared.ehlo), shared)?;
            }
            "MAIL" => {
                if positive {
                    message = Message {
                        from: after_colon(&line),
                        ..fresh(&client)
                    };
                }
                play(act, &mut stream, "250 2.1.0 sender ok\r\n", shared)?;
            }
            "RCPT" => {
                if positive {
                    message.to.push(after_colon(&line));
                }
                play(act, &mut stream, "250 2.1.5 recipient ok\r\n", shared)?;
            }
            "DATA" => {
                let none = message.to.is_empty();
                let default = if none {
                    "554 5.5.1 no valid recipients\r\n"
                } else {
                    "354 go ahead\r\n"
                };
                play(act, &mut stream, default, shared)?;
                if positive && !none {
                    message.content = content(&mut reader, || rest_of(&rest, shared))?;
                    end_of_data(std::mem::take(&mut message), &mut stream, shared, number)?;
                }
            }
            "RSET" => {
                message = fresh(&client);
                play(act, &mut stream, "250 2.0.0 reset\r\n", shared)?;
            }
            "QUIT" => {
                play(act, &mut stream, "221 2.0.0 bye\r\n", shared)?;
                return Ok(());
            }
            "HELO" | "NOOP" => play(act, &mut stream, "250 2.0.0 ok\r\n", shared)?,
            _ => play(act, &mut stream, "502 5.5.1 not implemented\r\n", shared)?,
        }
    }
}

fn end_of_data(
    message: Message,
    stream: &mut TcpStream,
    shared: &Shared,
    number: usize,
) -> std::io::Result<()> {
    let act = (shared.script)(number, &Moment::EndOfData(message.clone()));
    let keep = match &act {
        Act::Default | Act::KeepAndClose => true,
        Act::Say(reply) => reply.starts_with('2'),
        _ => false,
    };
    if keep {
        let mut messages = shared.messages.lock().expect("messages");
        shared.arrivals.lock().expect("arrivals").push(Instant::now());
        messages.push(message);
    }
    play(act, stream, "250 2.0.0 taken\r\n", shared)
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
fn content(reader: &mut impl BufRead, rest: impl Fn()) -> std::io::Result<Vec<u8>> {
    const BLOCK: usize = 64 * 1024;
    let mut all = Vec::new();
    let mut start = true;
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
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
