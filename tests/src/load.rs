//! A load of numbered messages, and what became of them: which were acknowledged, which arrived, and how often.

use crate::sink::Sink;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Numbered messages for two recipients, every 20th of them a large one.
#[derive(Default)]
pub struct Load {
    /// Where servers are now.
    addresses: Mutex<Vec<SocketAddr>>,
    next: AtomicU64,
    /// Turns of the clients.
    turn: AtomicUsize,
    acknowledged: Mutex<BTreeSet<u64>>,
    /// Replies to a message or its recipients that were neither 250 nor 4xx.
    refused: Mutex<Vec<String>>,
    /// Those that were 4xx.
    put_off: Mutex<Vec<String>>,
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
        let client = |load: Arc<Load>| {
            std::thread::spawn(move || {
                while !load.stop.load(Ordering::Relaxed) {
                    if load.server().is_none_or(|address| send(&load, address).is_err()) {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                }
            })
        };
        Clients {
            threads: (0..count).map(|_| client(load.clone())).collect(),
            load,
        }
    }

    /// Lets them end; gives the numbers that were acknowledged.
    pub fn end(self) -> BTreeSet<u64> {
        self.load.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("client");
        }
        let refused = self.load.refused.lock().expect("refused").clone();
        assert!(refused.is_empty(), "refused for good: {refused:?}");
        self.load.acknowledged.lock().expect("acknowledged").clone()
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
        self.acknowledged.lock().expect("acknowledged").len()
    }
}

/// Sends messages over one connection until it breaks. A number counts as acknowledged when its 250 was read.
fn send(load: &Load, address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    reply(&mut lines)?;
    stream.write_all(b"EHLO load.test\r\n")?;
    reply(&mut lines)?;
    while !load.stop.load(Ordering::Relaxed) {
        let number = load.next.fetch_add(1, Ordering::Relaxed);
        stream.write_all(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nRCPT TO:<c@y.test>\r\nDATA\r\n")?;
        let mut go_on = true;
        for _ in 0..4 {
            go_on &= load.judge(&reply(&mut lines)?);
        }
        if !go_on {
            return Err(std::io::ErrorKind::WouldBlock.into());
        }
        // Every 20th is large: a file beside the database.
        let size = if number.is_multiple_of(20) { 300_000 } else { 4_000 };
        let text = format!("{}\r\n", "x".repeat(70)).repeat(size / 72);
        stream.write_all(format!("X-Number: {number}\r\n\r\n{text}.\r\n").as_bytes())?;
        if load.judge(&reply(&mut lines)?) {
            load.acknowledged.lock().expect("acknowledged").insert(number);
        }
    }
    Ok(())
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

impl Load {
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
}

/// How often each number arrived, whole.
pub fn arrived(sink: &Sink) -> BTreeMap<u64, usize> {
    let mut copies = BTreeMap::new();
    for message in sink.messages() {
        let number = message
            .field("X-Number")
            .and_then(|n| n.parse().ok())
            .expect("X-Number");
        let size = if u64::is_multiple_of(number, 20) {
            300_000
        } else {
            4_000
        };
        let body = message.text().split_once("\r\n\r\n").expect("body").1.len();
        assert_eq!(body, size / 72 * 72, "message {number} is whole");
        *copies.entry(number).or_insert(0) += 1;
    }
    copies
}

/// A number that nobody knows before, from one that is shown.
pub struct Random(u64);

impl Default for Random {
    fn default() -> Random {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = now.expect("clock").as_nanos() as u64;
        eprintln!("seed {seed}");
        Random(seed)
    }
}

impl Random {
    pub fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}
