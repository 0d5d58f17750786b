//! A proxy before a database, which loses what it is told to lose.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a proxy does to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// What a client sends with this in it is passed on, the answer is not: both sides are closed when the transaction that it is part of is over.
    Answer(Vec<u8>),
    /// What a client sends with this in it is not passed on: both sides are closed.
    Request(Vec<u8>),
}

/// How an answer ends after which nothing is under way: `ReadyForQuery`, in no transaction.
const IDLE: &[u8] = b"Z\0\0\0\x05I";

/// A proxy before a database. Everything is passed on until it is told to cut, or to be away.
pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// What is to be cut, and for how long it is away from then on.
    cuts: Mutex<Vec<(Cut, Duration)>>,
    away: Mutex<Option<Instant>>,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub fn before(database: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("address");
        let state: Arc<State> = Arc::default();
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if !shared.is_away()
                    && let Ok(server) = TcpStream::connect(database)
                {
                    shared.keep(&client);
                    let shared = shared.clone();
                    std::thread::spawn(move || pass(&client, &server, &shared));
                }
            }
        });
        Proxy { address, state }
    }

    /// Does this once, with the first that it applies to.
    pub fn cut(&self, what: Cut) {
        self.cut_and_be_away(what, Duration::ZERO);
    }

    /// The same, and is away for so long from then on.
    pub fn cut_and_be_away(&self, what: Cut, time: Duration) {
        self.state.cuts.lock().expect("cuts").push((what, time));
    }

    /// Closes all connections, and passes on none for so long.
    pub fn be_away(&self, time: Duration) {
        self.state.be_away(time);
    }

    /// Whether everything was cut that was to be.
    pub fn is_done(&self) -> bool {
        self.state.cuts.lock().expect("cuts").is_empty()
    }

    pub fn is_away(&self) -> bool {
        self.state.is_away()
    }
}

impl State {
    fn is_away(&self) -> bool {
        let away = self.away.lock().expect("away");
        away.is_some_and(|until| Instant::now() < until)
    }

    fn be_away(&self, time: Duration) {
        *self.away.lock().expect("away") = Some(Instant::now() + time);
        for client in self.open.lock().expect("open").drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    fn keep(&self, client: &TcpStream) {
        let kept = client.try_clone().expect("socket");
        self.open.lock().expect("open").push(kept);
    }

    fn cut_was_done(&self, away: Duration) {
        if !away.is_zero() {
            self.be_away(away);
        }
    }

    /// The first thing to do that applies to what was sent; it is done once.
    fn taken(&self, sent: &[u8]) -> Option<(Cut, Duration)> {
        let mut cuts = self.cuts.lock().expect("cuts");
        let place = cuts.iter().position(|(cut, _)| {
            let (Cut::Answer(marker) | Cut::Request(marker)) = cut;
            sent.windows(marker.len()).any(|window| window == marker)
        })?;
        Some(cuts.remove(place))
    }
}

/// Passes on in both directions.
fn pass(client: &TcpStream, server: &TcpStream, state: &Arc<State>) {
    // For how long it is away when the answer that is swallowed has come.
    let lost: Arc<Mutex<Option<Duration>>> = Arc::default();
    let (back, from_server) = (
        client.try_clone().expect("socket"),
        server.try_clone().expect("socket"),
    );
    let (swallow, after) = (lost.clone(), state.clone());
    let answers = std::thread::spawn(move || {
        let (mut from, mut to, mut block) = (&from_server, &back, vec![0; 64 << 10]);
        while let Ok(count) = from.read(&mut block) {
            let lost = *swallow.lock().expect("lost");
            if let Some(away) = lost {
                if count == 0 || block[..count].ends_with(IDLE) {
                    after.cut_was_done(away);
                    break;
                }
            } else if count == 0 || to.write_all(&block[..count]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
    let (mut from, mut to, mut block) = (client, server, vec![0; 256 << 10]);
    while let Ok(count) = from.read(&mut block) {
        let sent = &block[..count];
        match state.taken(sent) {
            Some((Cut::Request(_), away)) => {
                state.cut_was_done(away);
                break;
            }
            Some((Cut::Answer(_), away)) => *lost.lock().expect("lost") = Some(away),
            None => {}
        }
        if count == 0 || to.write_all(sent).is_err() {
            break;
        }
    }
    if lost.lock().expect("lost").is_none() {
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
    let _ = answers.join();
}
