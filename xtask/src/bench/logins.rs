//! AUTH PLAIN under TLS: logins a second beside Postfix with Dovecot, which check the same hash, and what a flood of
//! wrong passwords leaves of the reception of others.

use super::ours::Ours;
use super::peers::{Dovecot, Postfix, free_address};
use super::session::{Pair, Session, at_once, content};
use super::{Bench, Bound, median};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// `bench` and `secret` (RFC 4616).
const PLAIN: &str = "AUTH PLAIN AGJlbmNoAHNlY3JldA==\r\n";
/// `bench` and a wrong password.
const WRONG: &str = "AUTH PLAIN AGJlbmNoAGd1ZXNz\r\n";
/// Clients that log in at once.
const CLIENTS: usize = 8;
const LOGINS: usize = 48;
/// Clients that guess.
const GUESSERS: usize = 16;

/// Logins a second.
pub(crate) fn logins(bench: &mut Bench) -> Result<(), String> {
    let pair = Pair::make(&bench.folder)?;
    let hash = hash()?;
    let (mut theirs, mut own) = (Vec::new(), Vec::new());
    for round in 0..bench.rounds {
        let dovecot = Dovecot::start(&bench.folder.join(format!("dovecot-{round}")), "bench", &hash)?;
        let more = format!(
            "{}smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\n",
            pair.postfix(),
            dovecot.socket.display()
        );
        let postfix = Postfix::configured(&bench.folder.join(format!("postfix-auth-{round}")), &more)?;
        theirs.push(rate(&pair, postfix.address)?);
        drop((postfix, dovecot));
        let text = format!(
            "{}[[accounts]]\nname = \"bench\"\npassword = \"{hash}\"\n",
            pair.ours()
        );
        let folder = bench.folder.join(format!("ours-auth-{round}"));
        let (server, _) = Ours::configured(&bench.server, &folder, &text, &[])?;
        own.push(rate(&pair, server.smtp)?);
    }
    let (theirs, own) = (median(theirs), median(own));
    bench.say(format!(
        "logins by PLAIN under TLS, argon2id as doveadm makes it: Postfix with Dovecot {theirs:.1}/s, ours {own:.1}/s, {:.2} x",
        own / theirs
    ));
    Ok(())
}

fn rate(pair: &Pair, to: SocketAddr) -> Result<f64, String> {
    let client = pair.client(false)?;
    let time = at_once(CLIENTS, || {
        for _ in 0..LOGINS / CLIENTS {
            let (mut session, _) = Session::open(to)?.start_tls(&client)?;
            session.command(PLAIN, "235")?;
            session.quit()?;
        }
        Ok(())
    })?;
    Ok(LOGINS as f64 / time.as_secs_f64())
}

/// A hash that both servers know how to check, without the name of its scheme.
fn hash() -> Result<String, String> {
    let mut doveadm = Command::new("/usr/bin/doveadm");
    doveadm.args(["pw", "-s", "ARGON2ID", "-p", "secret"]);
    let output = doveadm.output().map_err(|error| format!("doveadm: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let hash = text.trim().strip_prefix("{ARGON2ID}");
    hash.map(String::from)
        .ok_or_else(|| format!("doveadm pw says {text:?}"))
}

/// Accepting in clear while others guess passwords, beside accepting alone.
pub(crate) fn flood(bench: &mut Bench) -> Result<(), String> {
    let pair = Pair::make(&bench.folder)?;
    let (mut alone, mut flooded, mut hashed) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..bench.rounds {
        let hop = free_address()?;
        // Nobody is locked out, or the flood would end.
        let text = format!(
            "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{hop}\"\n\
             [auth]\nlock_after = 100000\n{}[[accounts]]\nname = \"bench\"\npassword = \"secret\"\n",
            pair.ours()
        );
        let folder = bench.folder.join(format!("ours-flood-{round}"));
        let (server, _) = Ours::configured(&bench.server, &folder, &text, &[])?;
        alone.push(accepted(server.smtp)?);
        let (done, guesses) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (rate, guessed) = std::thread::scope(|scope| {
            let guessing = scope.spawn(|| at_once(GUESSERS, || guess(&pair, server.smtp, &done, &guesses)));
            std::thread::sleep(Duration::from_secs(1));
            let rate = accepted(server.smtp);
            done.store(true, Ordering::Relaxed);
            (rate, guessing.join())
        });
        flooded.push(rate?);
        let time = guessed.map_err(|_| "the guessers failed")??;
        hashed.push(guesses.into_inner() as f64 / time.as_secs_f64());
    }
    let (alone, flooded, hashed) = (median(alone), median(flooded), median(hashed));
    bench.say(format!(
        "accepting: {alone:.0}/s alone, {flooded:.0}/s while {GUESSERS} clients guess passwords, {hashed:.0}/s answered"
    ));
    bench.judge(
        "accepting during a flood of AUTH, beside alone",
        flooded / alone,
        "x",
        Bound::AtLeast(0.8),
    );
    Ok(())
}

/// Messages a second.
fn accepted(to: SocketAddr) -> Result<f64, String> {
    const MESSAGES: usize = 20_000;
    const SESSIONS: usize = 50;
    let content = content(5120);
    let time = at_once(SESSIONS, || {
        let mut session = Session::open(to)?;
        for _ in 0..MESSAGES / SESSIONS {
            session.mail(&content)?;
        }
        session.quit()
    })?;
    Ok(MESSAGES as f64 / time.as_secs_f64())
}

/// Guesses in one session after another, as often as it is let. Any answer will do.
fn guess(pair: &Pair, to: SocketAddr, done: &AtomicBool, guesses: &AtomicUsize) -> Result<(), String> {
    let client = pair.client(false)?;
    while !done.load(Ordering::Relaxed) {
        let (mut session, _) = Session::open(to)?.start_tls(&client)?;
        while !done.load(Ordering::Relaxed) && session.command(WRONG, "535").is_ok() {
            guesses.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}
