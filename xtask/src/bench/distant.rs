//! A next hop that is far away: what a round trip more or less for each message means.

use super::ours::Ours;
use super::peers::{Postfix, Sink};
use super::speed::until_empty;
use super::{Bench, Bound, median};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// From here to there, and from there to here: 50 ms for a round trip, as between Frankfurt and Lisbon.
const ONE_WAY: Duration = Duration::from_millis(25);
const MESSAGES: usize = 2_000;

/// Relaying 2,000 messages that come at once, over 20 connections as both have them by default.
pub(crate) fn distant(bench: &mut Bench) -> Result<(), String> {
    let (mut postfix, mut waits, mut ahead) = (vec![], vec![], vec![]);
    let hop = Sink::start()?;
    for round in 0..bench.rounds {
        let far = far_from(hop.address)?;
        let folder = bench.folder.join(format!("postfix-distant-{round}"));
        let peer = Postfix::start(&folder, Some(far))?;
        postfix.push(until_empty(MESSAGES, peer.address, || peer.queued() == 0)?);
        drop(peer);
        for (setting, rates) in [("never", &mut waits), ("named", &mut ahead)] {
            let text = format!(
                "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{far}\"\n[delivery]\nmessage_pipelining = \"{setting}\"\n"
            );
            let folder = bench.folder.join(format!("ours-distant-{setting}-{round}"));
            let (server, _) = Ours::configured(&bench.server, &folder, &text, &[])?;
            rates.push(until_empty(MESSAGES, server.smtp, || {
                server.metric("smtp_queue_depth") == 0.0
            })?);
        }
    }
    let [postfix, waits, ahead] = [postfix, waits, ahead].map(median);
    bench.say(format!(
        "relaying over 50 ms: Postfix {postfix:.0}/s, ours {ahead:.0}/s, {waits:.0}/s with message_pipelining = \"never\""
    ));
    bench.judge(
        "relaying over 50 ms, messages begun ahead, beside one by one",
        ahead / waits,
        "x",
        Bound::AtLeast(1.6),
    );
    bench.judge(
        "relaying over 50 ms, beside Postfix",
        ahead / postfix,
        "x",
        Bound::AtLeast(2.0),
    );
    Ok(())
}

/// The server behind a line on which everything takes its time, and nothing gets narrower.
fn far_from(server: SocketAddr) -> Result<SocketAddr, String> {
    let failed = |error: std::io::Error| error.to_string();
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            // The line is as long for the SYN: who connects waits for that in the greeting.
            let Ok(far) = TcpStream::connect(server) else {
                continue;
            };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            if let (Ok(near_again), Ok(far_again)) = (near.try_clone(), far.try_clone()) {
                carry(near, far);
                carry(far_again, near_again);
            }
        }
    });
    Ok(address)
}

/// What is read from one is written to the other a while later.
fn carry(mut from: TcpStream, mut to: TcpStream) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        let mut piece = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            if sender
                .send((Instant::now() + ONE_WAY, piece[..count].to_vec()))
                .is_err()
            {
                break;
            }
        }
    });
    std::thread::spawn(move || {
        for (when, piece) in receiver {
            std::thread::sleep(when.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
