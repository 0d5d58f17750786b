//! How many messages a second are taken, and relayed.

use super::load::Load;
use super::ours::Ours;
use super::peers::{Postfix, Sink, free_address};
use super::{Bench, Bound, median};
use std::process::Command;
use std::time::{Duration, Instant};

/// Accepting, nothing delivered: ours keeps the mail for a next hop that is down, Postfix by `defer_transports`.
pub(crate) fn accept(bench: &mut Bench) -> Result<(), String> {
    let (mut sink, mut sink_d, mut postfix, mut postfix_d, mut ours, mut ours_d, mut cpu) =
        (vec![], vec![], vec![], vec![], vec![], vec![], vec![]);
    for round in 0..bench.rounds {
        let peer = Sink::start()?;
        sink.push(Load::of(20_000).rate(peer.address)?);
        sink_d.push(Load::of(40_000).reused().rate(peer.address)?);
        drop(peer);
        let peer = Postfix::start(&bench.folder.join(format!("postfix-accept-{round}")), None)?;
        postfix.push(Load::of(4_000).rate(peer.address)?);
        postfix_d.push(Load::of(4_000).reused().rate(peer.address)?);
        drop(peer);
        let folder = bench.folder.join(format!("ours-accept-{round}"));
        let (server, _) = Ours::start(&bench.server, &folder, free_address()?, &[])?;
        ours.push(Load::of(20_000).rate(server.smtp)?);
        let before = server.cpu();
        ours_d.push(Load::of(40_000).reused().rate(server.smtp)?);
        cpu.push((server.cpu() - before) / 40_000.0 * 1e6);
    }
    let [sink, sink_d, postfix, postfix_d, ours, ours_d] =
        [sink, sink_d, postfix, postfix_d, ours, ours_d].map(median);
    bench.say(format!(
        "accept, connection per message: smtp-sink {sink:.0}/s, Postfix {postfix:.0}/s, ours {ours:.0}/s"
    ));
    bench.say(format!("accept, connections reused: smtp-sink {sink_d:.0}/s, Postfix {postfix_d:.0}/s, ours {ours_d:.0}/s, {:.0} µs of processor time a message", median(cpu)));
    bench.judge(
        "accept, connection per message, beside Postfix",
        ours / postfix,
        "x",
        Bound::AtLeast(5.0),
    );
    bench.judge(
        "accept, connection per message, beside smtp-sink",
        ours / sink,
        "x",
        Bound::AtLeast(0.6),
    );
    bench.judge(
        "accept, connections reused, beside smtp-sink",
        ours_d / sink_d,
        "x",
        Bound::AtLeast(0.5),
    );
    Ok(())
}

/// Accepting and relaying to `smtp-sink`, until the queue is empty.
pub(crate) fn relay(bench: &mut Bench) -> Result<(), String> {
    let (mut postfix, mut ours, mut cpu) = (vec![], vec![], vec![]);
    for round in 0..bench.rounds {
        let hop = Sink::start()?;
        let peer = Postfix::start(
            &bench.folder.join(format!("postfix-relay-{round}")),
            Some(hop.address),
        )?;
        postfix.push(until_empty(4_000, peer.address, || peer.queued() == 0)?);
        drop(peer);
        let folder = bench.folder.join(format!("ours-relay-{round}"));
        let (server, _) = Ours::start(&bench.server, &folder, hop.address, &[])?;
        ours.push(until_empty(20_000, server.smtp, || {
            server.metric("smtp_queue_depth") == 0.0
        })?);
        cpu.push(server.cpu() / 20_000.0 * 1e6);
        let sent = server.metric("smtp_deliveries_total{status=\"sent\"}");
        if sent != 20_000.0 {
            return Err(format!("20,000 messages were taken, {sent} delivered"));
        }
    }
    let (postfix, ours) = (median(postfix), median(ours));
    bench.say(format!(
        "accept and relay: Postfix {postfix:.0}/s, ours {ours:.0}/s, {:.0} µs of processor time a message",
        median(cpu)
    ));
    bench.judge(
        "accept and relay, beside Postfix",
        ours / postfix,
        "x",
        Bound::AtLeast(5.0),
    );
    Ok(())
}

pub(crate) fn until_empty(
    messages: usize,
    to: std::net::SocketAddr,
    empty: impl FnMut() -> bool,
) -> Result<f64, String> {
    loaded_until_empty(Load::of(messages), to, empty)
}

/// The same with a load of another kind.
pub(crate) fn loaded_until_empty(
    load: Load,
    to: std::net::SocketAddr,
    mut empty: impl FnMut() -> bool,
) -> Result<f64, String> {
    let start = Instant::now();
    load.send(to)?;
    let end = Instant::now() + Duration::from_secs(300);
    while !empty() {
        if Instant::now() > end {
            return Err("the queue does not become empty".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(load.messages as f64 / start.elapsed().as_secs_f64())
}

/// Shows that messages are synced to disk, and that many share a sync.
pub(crate) fn durable(bench: &mut Bench) -> Result<(), String> {
    let folder = bench.folder.join("ours-durable");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let counts = folder.join("strace");
    let output = counts.display().to_string();
    let under = [
        "/usr/bin/strace",
        "-f",
        "-qq",
        "-c",
        "-e",
        "trace=fsync,fdatasync",
        "-o",
        &output,
    ];
    let (server, _) = Ours::start(&bench.server, &folder, free_address()?, &under)?;
    let before = server.metric("smtp_commits_total");
    Load::of(5_000).reused().send(server.smtp)?;
    let commits = server.metric("smtp_commits_total") - before;
    // strace passes the signal on, and writes its table at the end.
    let pid = server.child.id().to_string();
    let _ = Command::new("pkill").args(["-TERM", "-P", &pid]).status();
    let mut server = server;
    let _ = server.child.wait();
    let table = std::fs::read_to_string(&counts).unwrap_or_default();
    let syncs: f64 = table
        .lines()
        .filter(|line| line.ends_with("sync"))
        .filter_map(|line| line.split_whitespace().nth(3)?.parse::<f64>().ok())
        .sum();
    bench.say(format!(
        "5,000 messages: {commits} commits, {syncs} syncs under strace -c"
    ));
    bench.say(table.trim_end().to_string());
    bench.judge(
        "messages a commit",
        5_000.0 / commits.max(1.0),
        "",
        Bound::AtLeast(2.0),
    );
    bench.judge(
        "syncs a commit",
        syncs / commits.max(1.0),
        "",
        Bound::AtLeast(1.0),
    );
    Ok(())
}
