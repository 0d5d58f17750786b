//! Connections that have to come through a proxy, which says in a header who the client is (`proxy_protocol = "v2"`).
//!
//! Promises: who is not one of the proxies is not listened to; without a header that can be used nobody is served; not one octet
//! behind the header is read; whatever depends on a client's address is decided by the one in the header; a proxy's own address
//! gives no right, because anybody may stand behind it; a header has [`PATIENCE`] to come; who is refused holds no slot, and no more than
//! [`LINGERERS`](crate::shared::LINGERERS) of them are waited for.

use super::{Kind, Refusal, admit_client, take_slot};
use crate::connection::serve;
use crate::policy::Policy;
use crate::proxy::{self, Flaw, Header};
use crate::rate_limit::is_within;
use crate::shared::{Phase, Shared, Slot};
use crate::visit::{Arrival, Proxy};
use crate::wire::Wire;
use ipnet::IpNet;
use smtp::{Enhanced, Reply};
use smtp_observe::{ConnectionRefusal, Event, Listener, ProxyHeader};
use socket2::SockRef;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the header may take: proxies send it at once, and a packet that is lost comes again after up to 3 s
/// (proxy-protocol.txt section 2).
const PATIENCE: Duration = Duration::from_secs(5);

/// What to do about a header that does not come, or is none.
const SEND_IT: &str = "let the proxy send one of version 2 (HAProxy: send-proxy-v2)";

/// A slot for a connection of one of the proxies. No other is listened to.
pub(super) fn admit(
    shared: &Arc<Shared>,
    policy: &Policy,
    listener: Listener,
    proxies: &[IpNet],
    peer: SocketAddr,
) -> Result<Slot, Refusal> {
    if is_within(proxies, peer.ip()) {
        return take_slot(shared, policy);
    }
    report(shared, listener, peer, ProxyHeader::Untrusted, None);
    let section = listener.section();
    Err(Refusal {
        reason: ConnectionRefusal::ProxyUntrusted,
        reply: Reply::new(421, Enhanced(4, 7, 0), "connections have to come through a proxy"),
        text: Some(format!(
            "not from {section}.proxy_networks: if it is your proxy, add its own address there, and never a range of nodes or pods, \
             because whoever sends from there passes for any client; else keep it away from this port"
        )),
    })
}

/// Sends what a socket takes without waiting; there is nobody to tell if it takes nothing.
pub(super) fn last_words(stream: &TcpStream, words: &[u8]) {
    let _ = SockRef::from(stream).send(words);
}

/// Takes what has come: a socket closed with unread input takes back what it sent.
pub(super) fn discard(stream: &TcpStream) {
    let mut octets = [MaybeUninit::uninit(); proxy::MOST];
    let _ = SockRef::from(stream).recv(&mut octets);
}

/// A connection that is to begin with a header.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) shared: Arc<Shared>,
    pub(super) listener: Listener,
    pub(super) slot: Slot,
    /// Who connected.
    pub(super) proxy: SocketAddr,
}

impl Entry {
    /// Reads the header, and serves its client or turns it away. `policy` is the one that let the proxy in.
    pub(super) async fn pass(mut self, mut stream: TcpStream, policy: Arc<Policy>) {
        let header = match read(&mut stream).await {
            Ok(header) => header,
            Err(trouble) => return self.fail(stream, trouble).await,
        };
        let arrival = self.arrival(header, &policy);
        report(
            &self.shared,
            self.listener,
            self.proxy,
            ProxyHeader::Taken,
            Some(arrival.peer),
        );
        match self.admit(&policy, arrival.peer) {
            // A task of its own, which does not remember how it began.
            Ok(()) => {
                let session = serve(self.shared, self.listener, self.slot, stream, arrival);
                tokio::spawn(session);
            }
            Err(refusal) => self.turn_away(stream, arrival.peer, refusal).await,
        }
    }

    fn arrival(&self, header: Header, policy: &Policy) -> Arrival {
        let proxies = self.listener.proxies(&policy.config).unwrap_or_default();
        let (peer, hides_client) = match header {
            Header::Client(client) => (client, is_within(proxies, client.ip())),
            Header::Local => (self.proxy, true),
        };
        Arrival {
            peer,
            proxy: Some(Proxy {
                address: self.proxy,
                hides_client,
            }),
        }
    }

    fn admit(&mut self, policy: &Policy, client: SocketAddr) -> Result<(), Refusal> {
        if self.shared.phase() != Phase::Serving {
            return Err(Refusal::new(ConnectionRefusal::Draining, super::stopping()));
        }
        admit_client(&self.shared, policy, &mut self.slot, client)
    }

    async fn fail(self, stream: TcpStream, trouble: Trouble) {
        let (result, reason, reply, text) = match trouble {
            // Somebody looked whether the port is open: nobody is there to be turned away.
            Trouble::Nothing => return,
            Trouble::Missing(how) => (
                ProxyHeader::Missing,
                ConnectionRefusal::ProxyMissing,
                "a PROXY header has to come first",
                format!("{how}: {SEND_IT}"),
            ),
            Trouble::Invalid(why) => (
                ProxyHeader::Invalid,
                ConnectionRefusal::ProxyInvalid,
                "the PROXY header cannot be used",
                format!("its PROXY header cannot be used: {why}"),
            ),
        };
        report(&self.shared, self.listener, self.proxy, result, None);
        let peer = self.proxy;
        let refusal = Refusal {
            reason,
            reply: Reply::new(421, Enhanced(4, 7, 0), reply),
            text: Some(text),
        };
        self.turn_away(stream, peer, refusal).await;
    }

    async fn turn_away(self, stream: TcpStream, peer: SocketAddr, refusal: Refusal) {
        refusal.report(&self.shared, self.listener, peer);
        let mut words = refusal.words(self.listener);
        // Who is refused takes no place from who is not, however long it stays to hear why.
        drop(self.slot);
        let Ok(_place) = self.shared.lingering.try_acquire() else {
            discard(&stream);
            last_words(&stream, &words);
            return;
        };
        let mut wire = Wire::new(stream, self.shared.clone());
        if wire.send(&mut words, PATIENCE).await.is_ok() {
            wire.linger().await;
        }
    }
}

fn report(
    shared: &Shared,
    listener: Listener,
    proxy: SocketAddr,
    result: ProxyHeader,
    client: Option<SocketAddr>,
) {
    shared.observer.emit(Event::ProxyHeaderRead {
        listener,
        proxy,
        result,
        client,
    });
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// The connection was closed before anything came.
    Nothing,
    /// How it is missing.
    Missing(&'static str),
    /// What is wrong with it.
    Invalid(&'static str),
}

/// Reads the header, and nothing behind it.
async fn read(stream: &mut TcpStream) -> Result<Header, Trouble> {
    let mut read = Vec::new();
    let complete = timeout(PATIENCE, complete(stream, &mut read)).await;
    match complete {
        Ok(Ok(())) => proxy::parse(&read).map_err(Trouble::from),
        Ok(Err(trouble)) => Err(trouble),
        Err(_) if read.is_empty() => Err(Trouble::Missing("no PROXY header came within 5 s")),
        Err(_) => Err(Trouble::Invalid("it did not come whole within 5 s")),
    }
}

async fn complete(stream: &mut TcpStream, read: &mut Vec<u8>) -> Result<(), Trouble> {
    loop {
        let missing = proxy::wanted(read)?.saturating_sub(read.len());
        if missing == 0 {
            return Ok(());
        }
        let mut header = (&mut *stream).take(missing as u64);
        match header.read_buf(read).await {
            Ok(0) | Err(_) if read.is_empty() => return Err(Trouble::Nothing),
            Ok(0) | Err(_) => {
                return Err(Trouble::Invalid(
                    "it is cut off: the connection was closed within it",
                ));
            }
            Ok(_) => {}
        }
    }
}

impl From<Flaw> for Trouble {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Missing => Trouble::Missing("it began with something else than a PROXY header"),
            Flaw::Invalid(why) => Trouble::Invalid(why),
        }
    }
}
