//! Clients that send as mail servers do: what is put off, refused a connection, or broken off, they try again.

use packaging::net::cluster::Host;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Messages of one connection. Every third client keeps its connection as long as the server does.
const MESSAGES: usize = 3;
/// How long another third take over the content of a message, so that a server that stops is in the middle of one.
const SLOW: Duration = Duration::from_millis(700);
/// Between two messages of a client.
const PAUSE: Duration = Duration::from_millis(30);
/// Before another try.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a reply may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What clients know of their messages.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Names of messages that got a 250.
    pub acknowledged: BTreeSet<String>,
    /// How often a message was sent whole without a reply.
    pub unanswered: BTreeMap<String, usize>,
    /// Replies that say never.
    pub permanent: Vec<String>,
    /// Connections that were refused.
    pub refused: usize,
    /// Connections that were not greeted with 220.
    pub not_greeted: usize,
    /// Messages that were put off, or whose connection broke before they were sent.
    pub put_off: usize,
}

/// Why a message was not taken.
enum Failure {
    Refused,
    /// A reply, or the end of the connection, before the message was whole, or a reply after it.
    PutOff,
    Permanent(String),
    /// No reply to a whole message.
    Unanswered,
}

/// Clients on a host. Dropped, they end.
pub(crate) struct Load {
    pub ledger: Arc<Mutex<Ledger>>,
    stop: Arc<AtomicBool>,
    /// The test has failed: what was begun is of no interest any more.
    abandoned: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts clients, each at one of the addresses.
    pub(crate) fn start(host: &Host, addresses: &[IpAddr], count: usize) -> Load {
        let ledger = Arc::<Mutex<Ledger>>::default();
        let (stop, abandoned) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let client = |number: usize| {
            let (ledger, stop, abandoned) = (ledger.clone(), stop.clone(), abandoned.clone());
            let address = SocketAddr::new(addresses[number % addresses.len()], 25);
            host.space
                .spawn(move || client(address, number, &ledger, &stop, &abandoned))
        };
        let mut clients: Vec<JoinHandle<()>> = (0..count).map(client).collect();
        for address in addresses {
            let (address, ledger, stop) = (SocketAddr::new(*address, 25), ledger.clone(), stop.clone());
            clients.push(host.space.spawn(move || knock(address, &ledger, &stop)));
        }
        Load {
            ledger,
            stop,
            abandoned,
            clients,
        }
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.ledger.lock().expect("ledger").acknowledged.len()
    }

    /// Lets clients finish what they began.
    pub(crate) fn end(mut self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        for client in std::mem::take(&mut self.clients) {
            client.join().expect("a client");
        }
        std::mem::take(&mut *self.ledger.lock().expect("ledger"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

fn client(
    address: SocketAddr,
    number: usize,
    ledger: &Mutex<Ledger>,
    stop: &AtomicBool,
    abandoned: &AtomicBool,
) {
    let mut connection = None;
    for count in 1.. {
        let name = format!("message-{number}-{count}");
        while !abandoned.load(Ordering::Relaxed) {
            let mut open = match connection.take() {
                Some(open) => open,
                None => match Connection::open(address, number) {
                    Ok(open) => open,
                    Err(failure) => {
                        note(ledger, &name, failure);
                        std::thread::sleep(AGAIN);
                        continue;
                    }
                },
            };
            match open.send(&name) {
                Ok(()) => {
                    ledger.lock().expect("ledger").acknowledged.insert(name.clone());
                    connection = open.next();
                    break;
                }
                Err(failure) => note(ledger, &name, failure),
            }
            std::thread::sleep(AGAIN);
        }
        // Nobody gives a message up before it is taken.
        if stop.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Connects again and again, and no more: so no moment goes by in which nobody does.
fn knock(address: SocketAddr, ledger: &Mutex<Ledger>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match Connection::greeted(address) {
            Ok(mut connection) => drop(connection.say(Some("QUIT"))),
            Err(Failure::Refused) => ledger.lock().expect("ledger").refused += 1,
            Err(_) => ledger.lock().expect("ledger").not_greeted += 1,
        }
        std::thread::sleep(PAUSE);
    }
}

fn note(ledger: &Mutex<Ledger>, name: &str, failure: Failure) {
    let mut ledger = ledger.lock().expect("ledger");
    match failure {
        Failure::Refused => ledger.refused += 1,
        Failure::PutOff => ledger.put_off += 1,
        Failure::Permanent(reply) => ledger.permanent.push(reply),
        Failure::Unanswered => *ledger.unanswered.entry(name.to_owned()).or_default() += 1,
    }
}

struct Connection {
    stream: BufReader<TcpStream>,
    /// How many more may go over it.
    messages: usize,
    /// A pause in each content.
    pause: Duration,
}

impl Connection {
    fn greeted(address: SocketAddr) -> Result<Connection, Failure> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| match error.kind() {
            ErrorKind::ConnectionRefused => Failure::Refused,
            _ => Failure::PutOff,
        })?;
        let patient = stream.set_read_timeout(Some(PATIENCE));
        patient
            .and_then(|()| stream.set_nodelay(true))
            .expect("a socket's settings");
        let mut connection = Connection {
            stream: BufReader::new(stream),
            messages: MESSAGES,
            pause: Duration::ZERO,
        };
        connection.expect(None, 220)?;
        Ok(connection)
    }

    /// As a client of this number does.
    fn open(address: SocketAddr, number: usize) -> Result<Connection, Failure> {
        let mut connection = Connection::greeted(address)?;
        match number % 3 {
            1 => connection.messages = usize::MAX,
            2 => connection.pause = SLOW,
            _ => {}
        }
        connection.expect(Some("EHLO client.test"), 250)?;
        Ok(connection)
    }

    fn send(&mut self, name: &str) -> Result<(), Failure> {
        self.expect(Some("MAIL FROM:<a@x.test>"), 250)?;
        self.expect(Some("RCPT TO:<b@y.test>"), 250)?;
        self.expect(Some("DATA"), 354)?;
        let words = "Some words of a message.\r\n".repeat(50);
        self.write(&format!("Subject: {name}\r\n\r\n{words}"))?;
        std::thread::sleep(self.pause);
        self.write(&words)?;
        match self.say(Some(".")) {
            Some(reply) => judge(reply, 250),
            None => Err(Failure::Unanswered),
        }
    }

    /// The connection, if another message may go over it.
    fn next(mut self) -> Option<Connection> {
        self.messages -= 1;
        if self.messages > 0 {
            return Some(self);
        }
        let _ = self.say(Some("QUIT"));
        None
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.stream
            .get_mut()
            .write_all(text.as_bytes())
            .map_err(|_| Failure::PutOff)
    }

    fn expect(&mut self, line: Option<&str>, code: u16) -> Result<(), Failure> {
        judge(self.say(line).ok_or(Failure::PutOff)?, code)
    }

    /// Says a line, if there is one; the last line of the reply, if there is one.
    fn say(&mut self, line: Option<&str>) -> Option<String> {
        if let Some(line) = line {
            // Even if this fails a reply may be there to be read.
            let _ = self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes());
        }
        loop {
            let mut reply = String::new();
            match self.stream.read_line(&mut reply) {
                Ok(length) if length > 3 => {}
                _ => return None,
            }
            if reply.as_bytes()[3] != b'-' {
                return Some(reply.trim_end().to_owned());
            }
        }
    }
}

fn judge(reply: String, code: u16) -> Result<(), Failure> {
    if reply.starts_with(&code.to_string()) {
        return Ok(());
    }
    Err(if reply.starts_with('5') {
        Failure::Permanent(reply)
    } else {
        Failure::PutOff
    })
}
