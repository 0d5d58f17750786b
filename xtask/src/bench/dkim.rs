//! What signing costs from end to end: the same load on a server that signs with RSA-2048 and Ed25519 and on one that
//! does not, beside the cost of the two signatures alone, and how long others wait meanwhile.
//!
//! What a message costs depends on the rate, since a commit is shared by those that come together, and what a signature costs depends on
//! what else the processors do. So the server that does not sign is measured once at its own best rate, and for the difference at the rate of the
//! one that signs, while a program beside it signs; what that takes is the cost of the signatures.

use super::ours::Ours;
use super::peers::free_address;
use super::session::{Session, at_once, content};
use super::{Bench, Bound, median};
use crate::run::cargo;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Clients at once.
const CLIENTS: usize = 50;
const MESSAGES: usize = 10_000;
const SIZE: usize = 5120;

/// Signatures that take about as long as the load.
const SIGNATURES: &str = "4000";

/// What a server makes of the load.
struct Figures {
    rate: f64,
    /// Microseconds of processor time for a message.
    cpu: f64,
    /// Milliseconds that 99 of 100 NOOPs of another session take at most.
    noop: f64,
}

/// Accepting over reused connections, from a trusted network.
pub(crate) fn dkim(bench: &mut Bench) -> Result<(), String> {
    let keys = keys(&bench.folder)?;
    let (mut plain, mut signed, mut paced, mut alone) = (vec![], vec![], vec![], vec![]);
    for round in 0..bench.rounds {
        plain.push(measure(bench, &format!("ours-unsigned-{round}"), "", None)?);
        let figures = measure(bench, &format!("ours-signed-{round}"), &keys, None)?;
        let folder = format!("ours-paced-{round}");
        let (beside, signatures) = std::thread::scope(|scope| {
            let signatures = scope.spawn(signatures);
            let beside = measure(bench, &folder, "", Some(figures.rate));
            (beside, signatures.join())
        });
        paced.push(beside?);
        alone.push(signatures.map_err(|_| "the measurement of signatures failed")??);
        signed.push(figures);
    }
    let middle =
        |of: fn(&Figures) -> f64| [&plain, &signed, &paced].map(|all| median(all.iter().map(of).collect()));
    let ([rate, signed_rate, paced_rate], [_, signed_cpu, cpu], [noop, signed_noop, _]) = (
        middle(|figures| figures.rate),
        middle(|figures| figures.cpu),
        middle(|figures| figures.noop),
    );
    let signatures = median(alone);
    let added = signed_cpu - cpu;
    if added < signatures / 2.0 {
        return Err(format!("signing adds {added:.0} µs: the mail was not signed"));
    }
    bench.say(format!(
        "DKIM: {rate:.0}/s unsigned, {signed_rate:.0}/s signed twice, {signed_cpu:.0} µs of processor time a message; \
         unsigned at {paced_rate:.0}/s {cpu:.0} µs, so signing adds {added:.0}; the two signatures alone take {signatures:.0} beside that"
    ));
    bench.say(format!(
        "DKIM: 99 of 100 NOOPs of another session within {noop:.1} ms unsigned, {signed_noop:.1} ms signed"
    ));
    bench.judge(
        "what signing adds, beside the two signatures alone",
        added / signatures,
        "x",
        Bound::AtMost(1.2),
    );
    Ok(())
}

/// A key of each kind, as our configuration names them.
fn keys(folder: &Path) -> Result<String, String> {
    let mut text = String::new();
    for (algorithm, selector) in [("rsa", "r"), ("ed25519", "e")] {
        let file = folder.join(format!("dkim-{algorithm}.pem"));
        let mut openssl = Command::new("/usr/bin/openssl");
        openssl
            .args(["genpkey", "-algorithm", algorithm, "-out"])
            .arg(&file);
        let output = openssl.output().map_err(|error| format!("openssl: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        text += &format!(
            "[[dkim_keys]]\ndomain = \"x.test\"\nselector = \"{selector}\"\nkey_file = \"{}\"\n",
            file.display()
        );
    }
    Ok(text)
}

/// The load at its own best rate, or at so many messages a second.
fn measure(bench: &Bench, folder: &str, keys: &str, rate: Option<f64>) -> Result<Figures, String> {
    let hop = free_address()?;
    let text = format!("[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{hop}\"\n{keys}");
    let (server, _) = Ours::configured(&bench.server, &bench.folder.join(folder), &text, &[])?;
    let (content, done, before) = (content(SIZE), AtomicBool::new(false), server.cpu());
    let (time, noops) = std::thread::scope(|scope| {
        let noops = scope.spawn(|| noops(server.smtp, &done));
        let time = at_once(CLIENTS, || {
            let mut session = Session::open(server.smtp)?;
            let (start, pause) = (Instant::now(), rate.map(|rate| CLIENTS as f64 / rate));
            for count in 0..MESSAGES / CLIENTS {
                let due = pause.map(|pause| Duration::from_secs_f64(pause * count as f64));
                std::thread::sleep(due.unwrap_or_default().saturating_sub(start.elapsed()));
                session.mail(&content)?;
            }
            session.quit()
        });
        done.store(true, Ordering::Relaxed);
        let noops = noops.join().map_err(|_| "the client of NOOPs failed")?;
        Ok::<_, String>((time?, noops?))
    })?;
    let cpu = server.cpu() - before;
    Ok(Figures {
        rate: MESSAGES as f64 / time.as_secs_f64(),
        cpu: cpu / MESSAGES as f64 * 1e6,
        noop: noops,
    })
}

/// Says NOOP every 20 milliseconds until it is `done`; how long 99 of 100 took at most, in milliseconds.
fn noops(to: SocketAddr, done: &AtomicBool) -> Result<f64, String> {
    let (mut session, mut times) = (Session::open(to)?, Vec::new());
    while !done.load(Ordering::Relaxed) {
        let start = Instant::now();
        session.command("NOOP\r\n", "250")?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(20));
    }
    times.sort_by(f64::total_cmp);
    Ok(times.get(times.len() * 99 / 100).copied().unwrap_or_default())
}

/// Microseconds that one signature of each kind takes, by the example that measures them alone.
fn signatures() -> Result<f64, String> {
    let mut example = cargo(&[
        "run",
        "--release",
        "--quiet",
        "--package",
        "smtp-dkim",
        "--example",
        "sign_cost",
        "--",
        SIGNATURES,
    ]);
    let output = example
        .output()
        .map_err(|error| format!("{example:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figures = text.lines().filter_map(|line| {
        let figure = line.split_once("signature alone")?.1;
        figure.split_whitespace().next()?.parse::<f64>().ok()
    });
    let figures: Vec<f64> = figures.collect();
    match figures.len() {
        2 => Ok(figures.iter().sum()),
        _ => Err(format!("the example sign_cost says {text:?}")),
    }
}
