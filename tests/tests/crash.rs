//! kill -9 at random moments under load: every message that got a 250 arrives at least once.

use blackbox::server::{Server, Setup};
use blackbox::sink::Sink;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const KILLS: u64 = 50;

#[derive(Default)]
struct Load {
    address: Mutex<Option<SocketAddr>>,
    next: AtomicU64,
    acknowledged: Mutex<BTreeSet<u64>>,
    stop: AtomicBool,
}

/// Sends messages over one connection until it breaks. A number counts as acknowledged when its 250 was read.
fn send(load: &Load, address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    reply(&mut lines)?;
    stream.write_all(b"EHLO load.test\r\n")?;
    reply(&mut lines)?;
    while !load.stop.load(Ordering::Relaxed) {
        let number = load.next.fetch_add(1, Ordering::Relaxed);
        stream.write_all(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nRCPT TO:<c@y.test>\r\nDATA\r\n")?;
        for _ in 0..4 {
            reply(&mut lines)?;
        }
        // Every 20th is large: a file beside the database.
        let size = if number.is_multiple_of(20) { 300_000 } else { 4_000 };
        let text = format!("{}\r\n", "x".repeat(70)).repeat(size / 72);
        stream.write_all(format!("X-Number: {number}\r\n\r\n{text}.\r\n").as_bytes())?;
        if reply(&mut lines)?.starts_with("250") {
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

fn arrived(sink: &Sink) -> BTreeMap<u64, usize> {
    let mut copies = BTreeMap::new();
    for message in sink.messages() {
        let number = message
            .field("X-Number")
            .and_then(|n| n.parse().ok())
            .expect("X-Number");
        *copies.entry(number).or_insert(0) += 1;
    }
    copies
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let sink = Sink::start();
    let mut server = Setup::new(format!(
        "{}[delivery]\nretry_initial = 1\nretry_max = 2\n",
        sink.relay_config()
    ))
    .start();
    let load = Arc::new(Load::default());
    *load.address.lock().expect("address") = Some(server.smtp);
    let senders: Vec<_> = (0..8)
        .map(|_| {
            let load = load.clone();
            std::thread::spawn(move || {
                while !load.stop.load(Ordering::Relaxed) {
                    let address = *load.address.lock().expect("address");
                    if address.is_none_or(|address| send(&load, address).is_err()) {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                }
            })
        })
        .collect();
    let mut random = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("clock")
        .as_nanos() as u64;
    eprintln!("seed {random}");
    for _ in 0..KILLS {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(20 + (random >> 33) % 400));
        server.kill();
        *load.address.lock().expect("address") = None;
        server = server.restart();
        *load.address.lock().expect("address") = Some(server.smtp);
    }
    std::thread::sleep(Duration::from_millis(200));
    load.stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.join().expect("sender");
    }
    server.wait_empty();
    let acknowledged = load.acknowledged.lock().expect("acknowledged").clone();
    let copies = arrived(&sink);
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|number| !copies.contains_key(number))
        .collect();
    let repeated = copies.values().filter(|&&count| count > 1).count();
    let extra = copies
        .keys()
        .filter(|number| !acknowledged.contains(number))
        .count();
    println!(
        "{KILLS} kills: {} acknowledged, {} lost, {repeated} arrived more than once (relayed when the kill came, \
         before the result was on disk), {extra} arrived without their 250 having been read (committed when the kill came)",
        acknowledged.len(),
        lost.len()
    );
    assert!(
        acknowledged.len() > 500,
        "the load was real: {}",
        acknowledged.len()
    );
    assert!(lost.is_empty(), "lost: {lost:?}");
    // No half message: each copy is whole.
    for message in sink.messages() {
        let number: u64 = message
            .field("X-Number")
            .and_then(|n| n.parse().ok())
            .expect("X-Number");
        let body = message.text().split_once("\r\n\r\n").expect("body").1.len();
        assert_eq!(
            body,
            if number.is_multiple_of(20) {
                300_000 / 72 * 72
            } else {
                4_000 / 72 * 72
            }
        );
    }
    assert_eq!(
        blackbox::server::files(&server.data().join("bodies")),
        0,
        "bodies go with their messages"
    );
    // What a kill may leave behind is cleared at the next start.
    let server: Server = server.restart();
    assert_eq!(server.metric("smtp_queue_depth"), 0.0);
}
