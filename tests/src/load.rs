//! A load of numbered messages, and what became of them: what clients were told, what arrived, and how often.

mod ledger;

pub use ledger::{Arrival, Ledger, Refusal, arrived, copies};

use crate::wait_for;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Whom each message is for.
const RECIPIENTS: [&str; 2] = ["b@y.test", "c@y.test"];
/// Clients that stop before a dot when they are asked to.
const HALTING: usize = 3;

/// Numbered messages for two recipients, every 20th of them a large one.
#[derive(Default)]
pub struct Load {
    /// Where servers are now.
    addresses: Mutex<Vec<SocketAddr>>,
    next: AtomicU64,
    /// Turns of the clients.
    turn: AtomicUsize,
    ledger: Mutex<Ledger>,
    /// Replies to a message or its recipients that were neither 250 nor 4xx.
    refused: Mutex<Vec<String>>,
    /// Those that were 4xx.
    put_off: Mutex<Vec<String>>,
    /// Some clients send nothing but their dot, until they may.
    halt: AtomicBool,
    halted: AtomicUsize,
    stop: AtomicBool,
}

/// Clients that send it. They come again, at the next server, when they are broken off or told to.
pub struct Clients {
    pub load: Arc<Load>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    pub fn start(count: usize, servers: &[SocketAddr]) -> Clients {
        let load = Arc::new(Load::default());
        load.set_servers(servers);
        let client = |load: Arc<Load>, halts: bool| {
            std::thread::spawn(move || {
                while !load.stop.load(Ordering::Relaxed) {
                    let send = |address| send(&load, address, halts);
                    if load.server().is_none_or(|address| send(address).is_err()) {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                }
            })
        };
        Clients {
            threads: (0..count)
                .map(|place| client(load.clone(), place < HALTING))
                .collect(),
            load,
        }
    }

    /// Lets them end; gives the numbers that were acknowledged.
    pub fn end(self) -> BTreeSet<u64> {
        self.end_with_ledger().acknowledged
    }

    /// Lets them end; gives what they were told.
    pub fn end_with_ledger(self) -> Ledger {
        self.load.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("client");
        }
        let refused = self.load.refused.lock().expect("refused").clone();
        assert!(refused.is_empty(), "refused for good: {refused:?}");
        self.load.ledger()
    }
}

impl Load {
    pub fn set_servers(&self, servers: &[SocketAddr]) {
        *self.addresses.lock().expect("addresses") = servers.to_vec();
    }

    fn server(&self) -> Option<SocketAddr> {
        let addresses = self.addresses.lock().expect("addresses");
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        addresses.get(turn % addresses.len().max(1)).copied()
    }

    /// Every 4xx reply to a message or its recipients so far.
    pub fn put_off(&self) -> Vec<String> {
        self.put_off.lock().expect("put off").clone()
    }

    /// How many were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.ledger.lock().expect("ledger").acknowledged.len()
    }

    /// What was told so far.
    pub fn ledger(&self) -> Ledger {
        self.ledger.lock().expect("ledger").clone()
    }

    /// Has three clients stop before their dots, and waits until they have.
    pub fn halt(&self) {
        self.halt.store(true, Ordering::SeqCst);
        wait_for("clients at their dots", || {
            self.halted.load(Ordering::SeqCst) == HALTING
        });
    }

    /// They go on.
    pub fn go_on(&self) {
        self.halt.store(false, Ordering::SeqCst);
    }

    fn wait_at_dot(&self) {
        if self.halt.load(Ordering::SeqCst) {
            self.halted.fetch_add(1, Ordering::SeqCst);
            while self.halt.load(Ordering::SeqCst) && !self.stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            self.halted.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether a reply is positive; one that is not is kept.
    fn judge(&self, reply: &str) -> bool {
        if reply.starts_with('4') {
            self.put_off
                .lock()
                .expect("put off")
                .push(reply.trim().to_owned());
        }
        if reply.starts_with('5') && !reply.starts_with("503") {
            self.refused
                .lock()
                .expect("refused")
                .push(reply.trim().to_owned());
        }
        reply.starts_with(['2', '3'])
    }

    /// Begins a message. As long as nothing else is heard of it nothing is.
    fn begin(&self) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.ledger.lock().expect("ledger").unheard.insert(number);
        number
    }

    /// What is told of a message in the end.
    fn told(&self, number: u64, at_end: bool, reply: &str) {
        let mut ledger = self.ledger.lock().expect("ledger");
        ledger.unheard.remove(&number);
        if at_end && reply.starts_with('2') {
            ledger.acknowledged.insert(number);
        } else {
            let reply = reply.trim().to_owned();
            ledger.refused.insert(number, Refusal { at_end, reply });
        }
    }
}

/// Sends messages over one connection until it breaks. A number counts as acknowledged when its 250 was read.
fn send(load: &Load, address: SocketAddr, halts: bool) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    reply(&mut lines)?;
    stream.write_all(b"EHLO load.test\r\n")?;
    reply(&mut lines)?;
    while !load.stop.load(Ordering::Relaxed) {
        let number = load.begin();
        let [first, second] = RECIPIENTS;
        let commands = format!("MAIL FROM:<a@x.test>\r\nRCPT TO:<{first}>\r\nRCPT TO:<{second}>\r\nDATA\r\n");
        stream.write_all(commands.as_bytes())?;
        let mut refusal = None;
        for _ in 0..4 {
            let reply = reply(&mut lines)?;
            if !load.judge(&reply) {
                refusal.get_or_insert(reply);
            }
        }
        if let Some(reply) = refusal {
            load.told(number, false, &reply);
            return Err(std::io::ErrorKind::WouldBlock.into());
        }
        stream.write_all(content(number).as_bytes())?;
        if halts {
            load.wait_at_dot();
        }
        stream.write_all(b".\r\n")?;
        let reply = reply(&mut lines)?;
        load.judge(&reply);
        load.told(number, true, &reply);
    }
    Ok(())
}

/// What a message is, without its dot.
pub fn content(number: u64) -> String {
    let text = format!("{}\r\n", "x".repeat(70)).repeat(size(number) / 72);
    format!("X-Number: {number}\r\n\r\n{text}")
}

/// About how many octets its text has. Every 20th is large: a file beside the database.
fn size(number: u64) -> usize {
    if number.is_multiple_of(20) { 300_000 } else { 4_000 }
}

/// Sends a message once more, as the client does that was refused.
pub fn send_again(server: SocketAddr, number: u64) {
    let reply = crate::wire::Wire::hello(server).mail("a@x.test", &RECIPIENTS, &content(number));
    assert_eq!(reply.code, 250, "{number}: {reply:?}");
}

fn reply(lines: &mut impl BufRead) -> std::io::Result<String> {
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(line);
        }
    }
}
