//! What TLS costs: handshakes, reception, and connections that wait. Every server shows the same certificate and is
//! driven by the same client; sessions begin by STARTTLS.

use super::ours::Ours;
use super::peers::{Postfix, free_address};
use super::session::{Pair, Session, at_once, content};
use super::{Bench, Bound, median};
use rustls::HandshakeKind;
use std::net::SocketAddr;
use std::time::Duration;

/// Clients at once.
const CLIENTS: usize = 50;
/// Connections of each kind that one measurement makes.
const CONNECTIONS: usize = 4_000;
const SIZE: usize = 5120;

/// How a connection is made.
#[derive(Clone, Copy)]
enum Kind {
    Clear,
    Full,
    Resumed,
}

/// What connections cost a server: connections a second, and microseconds of its processor time for each.
#[derive(Clone, Copy)]
struct Cost {
    rate: f64,
    cpu: f64,
}

/// Connections that say EHLO and QUIT: in clear, and with a handshake, full or resumed, between two EHLOs.
pub(crate) fn handshakes(bench: &mut Bench) -> Result<(), String> {
    let pair = Pair::make(&bench.folder)?;
    let mut costs = [const { Vec::new() }; 6];
    for round in 0..bench.rounds {
        let postfix = postfix(bench, &pair, "handshakes", round)?;
        let server = ours(bench, &pair, "handshakes", round)?;
        for (place, kind) in [Kind::Clear, Kind::Full, Kind::Resumed].into_iter().enumerate() {
            costs[place].push(connections(&pair, kind, postfix.address, || postfix.cpu())?);
            costs[place + 3].push(connections(&pair, kind, server.smtp, || server.cpu())?);
        }
    }
    let [theirs_clear, theirs_full, theirs_resumed, clear, full, resumed] = costs.map(middle);
    for (name, theirs, ours) in [("full", theirs_full, full), ("resumed", theirs_resumed, resumed)] {
        // What the connection in clear costs is no part of the handshake.
        let (their_part, our_part) = (theirs.cpu - theirs_clear.cpu, ours.cpu - clear.cpu);
        bench.say(format!(
            "handshakes, {name}: Postfix {:.0}/s and {:.0} µs of processor time, {their_part:.0} of them for TLS; \
             ours {:.0}/s and {:.0} µs, {our_part:.0} of them for TLS",
            theirs.rate, theirs.cpu, ours.rate, ours.cpu
        ));
        let what = format!("handshakes a second, {name}, beside Postfix");
        bench.judge(&what, ours.rate / theirs.rate, "x", Bound::AtLeast(1.0));
        let what = format!("processor time of a handshake alone, {name}, beside Postfix's");
        bench.judge(&what, our_part / their_part, "x", Bound::AtMost(1.0));
    }
    Ok(())
}

fn middle(costs: Vec<Cost>) -> Cost {
    Cost {
        rate: median(costs.iter().map(|cost| cost.rate).collect()),
        cpu: median(costs.iter().map(|cost| cost.cpu).collect()),
    }
}

fn ours(bench: &Bench, pair: &Pair, what: &str, round: usize) -> Result<Ours, String> {
    let folder = bench.folder.join(format!("ours-{what}-{round}"));
    let hop = free_address()?;
    let text = format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{hop}\"\n\
         [server]\nmax_connections = 12000\n{}",
        pair.ours()
    );
    Ok(Ours::configured(&bench.server, &folder, &text, &[])?.0)
}

fn postfix(bench: &Bench, pair: &Pair, what: &str, round: usize) -> Result<Postfix, String> {
    let folder = bench.folder.join(format!("postfix-{what}-{round}"));
    let more = format!("defer_transports = smtp\n{}", pair.postfix());
    Postfix::configured(&folder, &more)
}

fn connections(pair: &Pair, kind: Kind, to: SocketAddr, cpu: impl Fn() -> f64) -> Result<Cost, String> {
    let before = cpu();
    let time = at_once(CLIENTS, || {
        let client = pair.client(matches!(kind, Kind::Resumed))?;
        for number in 0..CONNECTIONS / CLIENTS {
            let mut session = Session::open(to)?;
            if !matches!(kind, Kind::Clear) {
                let (secured, done) = session.start_tls(&client)?;
                session = secured;
                let resumes = matches!(kind, Kind::Resumed) && number > 0;
                if resumes != (done == HandshakeKind::Resumed) {
                    return Err(format!("{to} did a handshake that was {done:?}"));
                }
            }
            session.quit()?;
        }
        Ok(())
    })?;
    // A process that has ended is counted when its parent has noticed.
    std::thread::sleep(Duration::from_millis(200));
    let each = CONNECTIONS as f64;
    Ok(Cost {
        rate: each / time.as_secs_f64(),
        cpu: (cpu() - before) / each * 1e6,
    })
}

/// Accepting under TLS, nothing delivered: many messages over each connection, and one over each, which resumes.
pub(crate) fn reception(bench: &mut Bench) -> Result<(), String> {
    let pair = Pair::make(&bench.folder)?;
    let mut rates = [const { Vec::new() }; 4];
    for round in 0..bench.rounds {
        let postfix = postfix(bench, &pair, "tls", round)?;
        rates[0].push(messages(&pair, postfix.address, 4_000, false)?);
        rates[1].push(messages(&pair, postfix.address, 4_000, true)?);
        drop(postfix);
        let server = ours(bench, &pair, "tls", round)?;
        rates[2].push(messages(&pair, server.smtp, 10_000, false)?);
        rates[3].push(messages(&pair, server.smtp, 20_000, true)?);
    }
    let [postfix, postfix_kept, ours, ours_kept] = rates.map(median);
    for (name, theirs, own) in [
        ("a resumed connection per message", postfix, ours),
        ("connections reused", postfix_kept, ours_kept),
    ] {
        bench.say(format!(
            "accept under TLS, {name}: Postfix {theirs:.0}/s, ours {own:.0}/s"
        ));
        let what = format!("accept under TLS, {name}, beside Postfix");
        bench.judge(&what, own / theirs, "x", Bound::AtLeast(3.0));
    }
    Ok(())
}

/// Messages a second.
fn messages(pair: &Pair, to: SocketAddr, count: usize, keep: bool) -> Result<f64, String> {
    let content = content(SIZE);
    let each = count / CLIENTS;
    let time = at_once(CLIENTS, || {
        let client = pair.client(!keep)?;
        let (connections, mails) = if keep { (1, each) } else { (each, 1) };
        for _ in 0..connections {
            let (mut session, _) = Session::open(to)?.start_tls(&client)?;
            for _ in 0..mails {
                session.mail(&content)?;
            }
            session.quit()?;
        }
        Ok(())
    })?;
    Ok(count as f64 / time.as_secs_f64())
}

/// 5,000 sessions under TLS that have said EHLO and wait.
pub(crate) fn idle(bench: &mut Bench) -> Result<(), String> {
    const SESSIONS: usize = 5_000;
    let pair = Pair::make(&bench.folder)?;
    let server = ours(bench, &pair, "tls-idle", 0)?;
    let client = pair.client(false)?;
    let open = || Session::open(server.smtp)?.start_tls(&client);
    open()?.0.quit()?;
    let base = server.memory_at_rest();
    let mut sessions = Vec::with_capacity(SESSIONS);
    for _ in 0..SESSIONS {
        sessions.push(open()?.0);
    }
    let with = server.memory_at_rest();
    let open = server.metric("smtp_active_connections");
    bench.say(format!(
        "{open} idle sessions under TLS: {base} KiB without, {with} KiB with them"
    ));
    let each = (with as f64 - base as f64) / SESSIONS as f64;
    bench.judge("an idle session under TLS", each, "KiB", Bound::AtMost(20.0));
    Ok(())
}
