//! Stops and starts under load, as a rolling update makes them: nothing that got a 250 is lost, nothing comes twice but where a
//! client never heard the reply, and each stop ends by itself.

use blackbox::ports::free_port;
use blackbox::server::Setup;
use blackbox::sink::{Act, Moment, Sink};
use blackbox::wait_for_secs;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Stops.
const ROUNDS: usize = 20;
/// How long the server runs between two stops.
const RUNS: Duration = Duration::from_millis(800);
/// How long the next hop takes for the reply to some messages.
const SLOW: Duration = Duration::from_millis(1500);
/// Clients that send small messages, and that send messages of 25 MiB.
const SMALL: usize = 6;
const LARGE: usize = 2;
/// Octets of a large message: nearly `limits.max_message_size`.
const LARGE_SIZE: usize = 25 << 20;

/// How sending a message ended.
enum End {
    /// 250.
    Taken,
    /// 421, or the connection went away before the final dot was sent: nobody has it.
    NotTaken,
    /// The connection went away after the final dot: it may have been taken.
    Unknown,
}

/// A client that keeps its connection as long as the server does.
struct Client {
    server: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    fn connect(&mut self) -> std::io::Result<()> {
        let stream = TcpStream::connect(self.server)?;
        stream.set_read_timeout(Some(Duration::from_secs(70)))?;
        stream.set_write_timeout(Some(Duration::from_secs(70)))?;
        self.stream = Some(BufReader::new(stream));
        self.expect(None, 220)?;
        self.expect(Some("EHLO client.test"), 250)
    }

    /// Sends a line, if there is one, and wants this reply.
    fn expect(&mut self, line: Option<&str>, code: u16) -> std::io::Result<()> {
        let gone = || std::io::Error::other("no connection");
        let stream = self.stream.as_mut().ok_or_else(gone)?;
        if let Some(line) = line {
            stream.get_mut().write_all(format!("{line}\r\n").as_bytes())?;
        }
        let mut reply = String::new();
        loop {
            reply.clear();
            if stream.read_line(&mut reply)? == 0 {
                return Err(gone());
            }
            if reply.as_bytes().get(3) != Some(&b'-') {
                break;
            }
        }
        match reply.starts_with(&code.to_string()) {
            true => Ok(()),
            false => Err(std::io::Error::other(reply)),
        }
    }

    fn send(&mut self, name: &str, size: usize) -> End {
        if self.envelope(name, size).is_err() {
            self.stream = None;
            return End::NotTaken;
        }
        match self.expect(Some("."), 250) {
            Ok(()) => End::Taken,
            Err(error) => {
                self.stream = None;
                match error.to_string().starts_with("421") || error.to_string().starts_with('4') {
                    true => End::NotTaken,
                    false => End::Unknown,
                }
            }
        }
    }

    /// Everything before the final dot. A large message takes its time, so that stops meet it.
    fn envelope(&mut self, name: &str, size: usize) -> std::io::Result<()> {
        if self.stream.is_none() {
            self.connect()?;
        }
        self.expect(Some("MAIL FROM:<a@x.test>"), 250)?;
        self.expect(Some("RCPT TO:<b@y.test>"), 250)?;
        self.expect(Some("DATA"), 354)?;
        let stream = self.stream.as_mut().map(BufReader::get_mut);
        let stream = stream.ok_or_else(|| std::io::Error::other("no connection"))?;
        stream.write_all(format!("Subject: {name}\r\n\r\n").as_bytes())?;
        let line = [&[b'x'; 76][..], b"\r\n"].concat();
        let piece = line.repeat(16 * 1024);
        for piece in std::iter::repeat_n(&piece[..], size / piece.len()) {
            stream.write_all(piece)?;
            std::thread::sleep(Duration::from_millis(40));
        }
        Ok(())
    }
}

/// What clients know of their messages.
#[derive(Default)]
struct Ledger {
    taken: BTreeSet<String>,
    /// How often a message was sent whole without a reply.
    unknown: BTreeMap<String, usize>,
}

fn client(server: SocketAddr, number: usize, size: usize, ledger: &Mutex<Ledger>, stop: &AtomicBool) {
    let mut client = Client { server, stream: None };
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        count += 1;
        let name = format!("client-{number}-{count}");
        while !stop.load(Ordering::Relaxed) {
            match client.send(&name, size) {
                End::Taken => {
                    ledger.lock().expect("ledger").taken.insert(name);
                    break;
                }
                End::NotTaken => {}
                End::Unknown => {
                    *ledger
                        .lock()
                        .expect("ledger")
                        .unknown
                        .entry(name.clone())
                        .or_default() += 1;
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Ends the clients, also when the test fails.
struct Ends<'s>(&'s AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_rolling_stop_and_start_loses_nothing() {
    let arrived: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let note = arrived.clone();
    let sink = Sink::scripted(move |_, moment| match moment {
        Moment::EndOfData(message) => {
            let name = message.field("Subject").unwrap_or_default();
            let mut names = note.lock().expect("names");
            *names.entry(name).or_default() += 1;
            let slow = names.len().is_multiple_of(5);
            drop(names);
            // Longer than the rest of a stop takes, so that stops meet replies that are awaited.
            std::thread::sleep(if slow { SLOW } else { Duration::ZERO });
            Act::Forget
        }
        _ => Act::Default,
    });
    let address = free_port();
    let limits = "[limits]\nmax_message_size = 30000000\n[rate_limiting]\nenabled = false\n";
    let setup = Setup::new(sink.relay_config() + limits).env("SMTP_PORT", address.port().to_string());
    let (ledger, stop) = (Mutex::<Ledger>::default(), AtomicBool::new(false));
    let server = std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        let mut server = setup.start();
        for number in 0..SMALL + LARGE {
            let size = if number < SMALL { 0 } else { LARGE_SIZE };
            let (ledger, stop) = (&ledger, &stop);
            scope.spawn(move || client(address, number, size, ledger, stop));
        }
        for round in 0..ROUNDS {
            std::thread::sleep(RUNS);
            assert!(server.stop().success(), "stop {round}");
            let stopped = server.wait_event("stopped", |_| true);
            assert!(stopped["received"].is_number(), "{stopped}");
            // Nothing was left to its lease: every stop gave back or finished what it had.
            server = server.restart();
            let recovered = server.wait_event("recovered", |_| true);
            assert_eq!(recovered["leases_released"], 0, "stop {round}: {recovered}");
        }
        server
    });
    let ledger = ledger.into_inner().expect("ledger");
    wait_for_secs("everything to arrive", 120, || {
        let arrived = arrived.lock().expect("names");
        ledger.taken.iter().all(|name| arrived.contains_key(name))
    });
    server.wait_empty();
    let arrived = arrived.lock().expect("names");
    for (name, count) in arrived.iter() {
        let most = 1 + ledger.unknown.get(name).copied().unwrap_or(0);
        assert!(
            *count <= most,
            "{name} came {count} times, and its client lost {} replies",
            most - 1
        );
    }
    let large = |name: &&String| {
        name.split('-')
            .nth(1)
            .and_then(|n| n.parse().ok())
            .is_some_and(|n: usize| n >= SMALL)
    };
    assert!(
        ledger.taken.len() > ROUNDS * SMALL,
        "{} messages",
        ledger.taken.len()
    );
    assert!(
        ledger.taken.iter().filter(large).count() >= LARGE * 4,
        "too few large messages to mean anything"
    );
}
