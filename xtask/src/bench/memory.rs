//! What sessions, large messages and a long queue cost.

use super::load::Load;
use super::ours::Ours;
use super::peers::{Sink, free_address};
use super::{Bench, Bound};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// 10,000 sessions that have said EHLO and wait.
pub(crate) fn idle(bench: &mut Bench) -> Result<(), String> {
    const SESSIONS: usize = 10_000;
    let (server, _) = Ours::start(
        &bench.server,
        &bench.folder.join("ours-idle"),
        free_address()?,
        &[],
    )?;
    drop(greeted(server.smtp)?);
    let base = server.memory_at_rest();
    let mut sessions = Vec::with_capacity(SESSIONS);
    for _ in 0..SESSIONS {
        sessions.push(greeted(server.smtp)?);
    }
    let with = server.memory_at_rest();
    let open = server.metric("smtp_active_connections");
    let each = (with as f64 - base as f64) / SESSIONS as f64;
    bench.say(format!(
        "{open} idle sessions: {base} KiB without, {with} KiB with them"
    ));
    bench.judge("base", base as f64 / 1024.0, "MiB", Bound::AtMost(25.0));
    bench.judge("an idle session", each, "KiB", Bound::AtMost(4.0));
    Ok(())
}

fn greeted(address: SocketAddr) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
    let mut lines = BufReader::new(stream.try_clone().map_err(|error| error.to_string())?);
    reply(&mut lines)?;
    stream
        .write_all(b"EHLO idle.test\r\n")
        .map_err(|error| error.to_string())?;
    reply(&mut lines)?;
    Ok(stream)
}

fn reply(lines: &mut impl BufRead) -> Result<String, String> {
    loop {
        let mut line = String::new();
        lines
            .read_line(&mut line)
            .map_err(|error| format!("reply: {error}"))?;
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(line);
        }
    }
}

/// A message of 25 MiB, taken and relayed.
pub(crate) fn large(bench: &mut Bench) -> Result<(), String> {
    let hop = Sink::start()?;
    let (server, _) = Ours::start(&bench.server, &bench.folder.join("ours-large"), hop.address, &[])?;
    Load::of(500).send(server.smtp)?;
    std::thread::sleep(Duration::from_secs(3));
    let before = server.memory("VmRSS:");
    server.reset_peak();
    send_large(server.smtp, 25 * 1024 * 1024 - 1024)?;
    let end = Instant::now() + Duration::from_secs(60);
    while server.metric("smtp_deliveries_total{status=\"sent\"}") < 501.0 {
        if Instant::now() > end {
            return Err("the large message does not arrive".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let peak = server.memory("VmHWM:");
    bench.say(format!(
        "a 25 MiB message: {before} KiB before, {peak} KiB at most while it is taken and relayed"
    ));
    bench.judge(
        "growth with a 25 MiB message",
        (peak as f64 - before as f64) / 1024.0,
        "MiB",
        Bound::AtMost(2.0),
    );
    Ok(())
}

pub(crate) fn send_large(address: SocketAddr, size: usize) -> Result<(), String> {
    let mut stream = greeted(address)?;
    let mut lines = BufReader::new(stream.try_clone().map_err(|error| error.to_string())?);
    let line = format!("{}\r\n", "x".repeat(76));
    for command in ["MAIL FROM:<a@x.test>\r\n", "RCPT TO:<b@y.test>\r\n", "DATA\r\n"] {
        stream
            .write_all(command.as_bytes())
            .map_err(|error| error.to_string())?;
        reply(&mut lines)?;
    }
    stream
        .write_all(b"Subject: large\r\n\r\n")
        .map_err(|error| error.to_string())?;
    let block = line.repeat(800);
    for _ in 0..size / block.len() {
        stream
            .write_all(block.as_bytes())
            .map_err(|error| error.to_string())?;
    }
    stream.write_all(b".\r\n").map_err(|error| error.to_string())?;
    let last = reply(&mut lines)?;
    if last.starts_with("250") {
        Ok(())
    } else {
        Err(format!("the large message was refused: {last}"))
    }
}

/// 200,000 messages wait for a next hop that is down.
pub(crate) fn backlog(bench: &mut Bench) -> Result<(), String> {
    const WAITING: usize = 200_000;
    let folder = bench.folder.join("ours-backlog");
    let (server, _) = Ours::start(&bench.server, &folder, free_address()?, &[])?;
    Load::of(5_000).reused().send(server.smtp)?;
    std::thread::sleep(Duration::from_secs(2));
    let memory = server.memory("VmRSS:");
    let mut empty = Vec::new();
    for _ in 0..3 {
        empty.push(Load::of(20_000).reused().rate(server.smtp)?);
    }
    let rest = WAITING - 65_000;
    Load {
        size: 1024,
        ..Load::of(rest).reused()
    }
    .send(server.smtp)?;
    settle(&server)?;
    let grown = server.memory("VmRSS:");
    let mut full = Vec::new();
    for _ in 0..3 {
        full.push(Load::of(20_000).reused().rate(server.smtp)?);
    }
    let (empty, full) = (super::median(empty), super::median(full));
    let states: Vec<String> = server
        .get("/metrics")
        .lines()
        .filter(|l| l.starts_with("smtp_queue_recipients{"))
        .map(String::from)
        .collect();
    bench.say(format!(
        "with {WAITING} waiting: {full:.0}/s accepted, {empty:.0}/s before; {}",
        states.join(" ")
    ));
    bench.judge(
        "accepting with 200,000 waiting, beside few",
        full / empty,
        "x",
        Bound::AtLeast(0.9),
    );
    bench.judge(
        "memory for 200,000 waiting",
        (grown as f64 - memory as f64) / 1024.0,
        "MiB",
        Bound::AtMost(40.0),
    );
    let scrapes = (0..20).map(|_| {
        let start = Instant::now();
        server.get("/metrics");
        start.elapsed().as_secs_f64() * 1e3
    });
    bench.judge(
        "a scrape with 200,000 waiting",
        super::median(scrapes.collect()),
        "ms",
        Bound::AtMost(50.0),
    );
    server.stop()?;
    let (server, ready) = Ours::start(&bench.server, &folder, free_address()?, &[])?;
    bench.say(format!(
        "restart with {} queued: ready after {:.2} s",
        server.metric("smtp_queue_depth"),
        ready.as_secs_f64()
    ));
    bench.judge("restart to ready", ready.as_secs_f64(), "s", Bound::AtMost(2.0));
    Ok(())
}

/// Waits until everything that is due was tried.
fn settle(server: &Ours) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let due = server.metric("smtp_queue_recipients{state=\"queued\"}")
            + server.metric("smtp_queue_recipients{state=\"leased\"}");
        if due == 0.0 {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!("{due} recipients are still not deferred"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
