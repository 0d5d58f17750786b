//! Who is connected now, for operators who ask.
//!
//! What it costs: some 130 octets for a session, a lock for the time of an insertion when one begins and ends, and a plain write
//! to memory whenever one waits for its client. `server.max_connections` bounds it, as it bounds sessions.

use parking_lot::Mutex;
use smtp_directory::Account;
use smtp_observe::{Listener, TlsVersion};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// What a session is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Doing {
    /// It awaits a command, between mails.
    Command,
    /// It awaits a command, and an envelope is being made.
    Mail,
    /// A message comes in.
    Content,
    /// A message is being made durable.
    Storing,
    /// A TLS handshake.
    Handshake,
}

impl Doing {
    const ALL: [Doing; 5] = [
        Doing::Command,
        Doing::Mail,
        Doing::Content,
        Doing::Storing,
        Doing::Handshake,
    ];

    /// Its name for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Doing::Command => "command",
            Doing::Mail => "mail",
            Doing::Content => "content",
            Doing::Storing => "storing",
            Doing::Handshake => "handshake",
        }
    }
}

/// A session in progress.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// Its number; later sessions have higher ones.
    pub number: u64,
    /// When the connection was taken.
    pub opened: Instant,
    /// The client.
    pub peer: SocketAddr,
    /// Where it came in.
    pub listener: Listener,
    /// Since the handshake.
    pub tls: Option<TlsVersion>,
    /// Who it is, since AUTH.
    pub account: Option<Arc<Account>>,
    /// What it is at.
    pub doing: Doing,
    /// Messages taken so far.
    pub messages: u32,
}

/// What is shown of one session; it writes there, others read.
#[derive(Debug)]
pub(crate) struct Card {
    number: u64,
    pub(crate) opened: Instant,
    peer: SocketAddr,
    listener: Listener,
    /// The place in [`TlsVersion::ALL`]; [`CLEAR`] without TLS.
    tls: AtomicU8,
    doing: AtomicU8,
    messages: AtomicU32,
    account: Mutex<Option<Arc<Account>>>,
}

const CLEAR: u8 = u8::MAX;

impl Card {
    pub(crate) fn does(&self, doing: Doing) {
        self.doing.store(doing as u8, Ordering::Relaxed);
    }

    /// The connection is under TLS from now on, and whoever it was before is forgotten.
    pub(crate) fn secured(&self, version: TlsVersion) {
        self.tls.store(version as u8, Ordering::Relaxed);
        *self.account.lock() = None;
    }

    pub(crate) fn is(&self, account: Arc<Account>) {
        *self.account.lock() = Some(account);
    }

    pub(crate) fn received_one(&self) {
        self.messages.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn messages(&self) -> u32 {
        self.messages.load(Ordering::Relaxed)
    }

    fn info(&self) -> SessionInfo {
        let (tls, doing) = (
            self.tls.load(Ordering::Relaxed),
            self.doing.load(Ordering::Relaxed),
        );
        SessionInfo {
            number: self.number,
            opened: self.opened,
            peer: self.peer,
            listener: self.listener,
            tls: TlsVersion::ALL.get(usize::from(tls)).copied(),
            account: self.account.lock().clone(),
            doing: Doing::ALL
                .get(usize::from(doing))
                .copied()
                .unwrap_or(Doing::Command),
            messages: self.messages(),
        }
    }
}

/// All sessions, by number.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    cards: Mutex<BTreeMap<u64, Arc<Card>>>,
    last: AtomicU64,
}

impl Sessions {
    /// A session begins.
    pub(crate) fn begin(&self, listener: Listener, peer: SocketAddr) -> Arc<Card> {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let card = Arc::new(Card {
            number,
            opened: Instant::now(),
            peer,
            listener,
            tls: AtomicU8::new(CLEAR),
            doing: AtomicU8::new(Doing::Command as u8),
            messages: AtomicU32::new(0),
            account: Mutex::new(None),
        });
        self.cards.lock().insert(number, card.clone());
        card
    }

    /// It ended.
    pub(crate) fn end(&self, card: &Card) {
        self.cards.lock().remove(&card.number);
    }

    /// At most `limit` sessions with higher numbers than `after`.
    pub(crate) fn page(&self, after: Option<u64>, limit: usize) -> Vec<SessionInfo> {
        let cards = self.cards.lock();
        let behind = cards.range((after.map_or(Unbounded, Excluded), Unbounded));
        let page: Vec<Arc<Card>> = behind.take(limit).map(|(_, card)| card.clone()).collect();
        drop(cards);
        page.iter().map(|card| card.info()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_listed_while_they_last() {
        let sessions = Sessions::default();
        let peer: SocketAddr = "192.0.2.1:7".parse().unwrap();
        let cards: Vec<_> = (0..3).map(|_| sessions.begin(Listener::Smtp, peer)).collect();
        cards[1].does(Doing::Storing);
        cards[1].secured(TlsVersion::Tls13);
        cards[1].received_one();
        let page = sessions.page(Some(1), 1);
        assert_eq!(
            (
                page.len(),
                page[0].number,
                page[0].doing,
                page[0].tls,
                page[0].messages
            ),
            (1, 2, Doing::Storing, Some(TlsVersion::Tls13), 1)
        );
        sessions.end(&cards[1]);
        let left: Vec<u64> = sessions.page(None, 10).iter().map(|one| one.number).collect();
        assert_eq!(left, [1, 3]);
        assert_eq!(sessions.page(None, 10)[0].tls, None);
        assert!(sessions.page(Some(3), 10).is_empty());
    }

    #[test]
    fn a_card_is_small() {
        // With the counts of its Arc, and its place in the tree.
        assert!(size_of::<Card>() + 16 + 24 <= 136, "{}", size_of::<Card>());
    }
}
