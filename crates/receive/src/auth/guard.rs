//! Who is made to wait for an answer to AUTH, and whose attempts are not looked at for a while.
//!
//! A network is an IPv4 address or an IPv6 /64. Failures are counted in three ways; each count forgets `auth.lock_after` (or the
//! multiple of it) failures in `auth.lock_for`, and locks for that time when it is full:
//!
//! | failures | lock after | and then refused is |
//! | --- | --- | --- |
//! | of a name, from a network | `lock_after` | this name from this network |
//! | from a network | 5 × `lock_after` | every name from this network, but those that it logged in as before |
//! | of a name, from anywhere | 10 × `lock_after` | this name from everywhere, but networks from which it logged in before |
//!
//! So a guesser gets few guesses, from one place or from many, and nobody is locked out by him elsewhere: whoever logged in from where
//! he is now goes on as long as nobody else fails with his name from the same network. To keep an account from logging in at
//! a new place takes ten networks or more, for as long as it lasts, and an operator sees it (`auth_locked`).
//!
//! Of servers that share a queue each counts for itself. A client that is sent to any of them has as many guesses from its network as there are
//! servers. Of the failures of a name from anywhere each server bears its share; so that this share is still ten networks' worth, no
//! network adds more to it than its own share, `lock_after` divided by the servers: its further failures lock that network only. With n servers
//! and `lock_after` a, in `lock_for`:
//!
//! | guesses at a name | one server | n servers |
//! | --- | --- | --- |
//! | from one network | a | n × a |
//! | from many, each of which guesses once | 10 × a | 10 × a, rounded up to n × 10 × ⌈a ÷ n⌉ |
//! | from many, in the order that gives most | 10 × a | n × (9 × a + ⌈a ÷ n⌉), below n × 10 × a |
//! | networks that it takes to lock a name | 10 | 10, at one server as at all |
//!
//! The third line is the price: dividing `lock_after` itself by n would lower it, and lock a person out after two slips; a share of the name's
//! count that a network may fill alone would let two networks lock a name with five servers. Guesses, slow and seen, are the smaller harm.
//!
//! Locks concern passwords (PLAIN, LOGIN, SCRAM). Tokens and certificates cannot be guessed: they are neither counted
//! nor locked, so that a pod with a token that ran out does not lock its neighbours behind the same address. Networks in `rate_limiting.exempt`,
//! which may be proxies, have no count of their own.
//!
//! Names that no account has are counted as those that one has. A refusal for a lock is the same as for a wrong password, at the same
//! time: every failure is answered late, at a moment that depends on the number of failures only. Right passwords are not
//! confirmed while a lock lasts.
//!
//! Promises: bounded memory; nothing that fails can wipe a count; a lock ends by itself.

use super::counts::{Counts, Limit};
use parking_lot::Mutex;
use smtp_config::Auth;
use smtp_observe::LockScope;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// The lock of a network takes so many times `auth.lock_after` failures.
const NETWORK_FACTOR: u32 = 5;
/// The lock of a name takes what so many networks add to its count.
const NAME_FACTOR: u32 = 10;
/// The answer to a first failure comes so late; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Up to this.
const LONGEST_DOUBLINGS: u32 = 3;
/// Networks remembered for each account, the latest that logged in.
const KNOWN_NETWORKS: usize = 8;
/// Accounts that are remembered for.
const KNOWN_ACCOUNTS: usize = 100_000;

/// Counts failures and locks.
#[derive(Debug)]
pub(super) struct Guard {
    counts: Counts,
    /// From where accounts logged in. Only a success adds to it.
    known: Mutex<HashMap<u64, VecDeque<u128>>>,
}

/// An attempt: a name and where it comes from, as they are counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    name: u64,
    pair: u64,
    /// What this network has added to the name's count.
    added: u64,
    network: u64,
    client: u128,
    /// The network has no count of its own.
    exempt: bool,
}

/// What a failure leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// How long after the attempt it is answered.
    pub(super) late: Duration,
    /// What is locked from now on; the widest.
    pub(super) locked: Option<LockScope>,
}

impl Guard {
    pub(super) fn new() -> Self {
        Guard {
            counts: Counts::new(),
            known: Mutex::default(),
        }
    }

    /// `name` is the key of an account's name, whether there is one or not; `client` the key of a network.
    pub(super) fn attempt(&self, name: &str, client: u128, exempt: bool) -> Attempt {
        Attempt {
            name: self.counts.key(name),
            pair: self.counts.key((name, client)),
            added: self.counts.key((name, client, "added")),
            network: self.counts.key(client),
            client,
            exempt,
        }
    }

    /// Whether the attempt is not to be looked at. `now` is measured from any fixed moment.
    pub(super) fn is_locked(&self, attempt: &Attempt, now: Duration) -> bool {
        let wide = || {
            self.counts.is_locked(attempt.name, now)
                || !attempt.exempt && self.counts.is_locked(attempt.network, now)
        };
        self.counts.is_locked(attempt.pair, now) || wide() && !self.knows(attempt)
    }

    /// Counts a failure. One that was not looked at counts nowhere.
    /// `share` is what this server has of what all servers have together.
    pub(super) fn failed(
        &self,
        attempt: &Attempt,
        settings: &Auth,
        share: impl Fn(u32) -> u32,
        now: Duration,
    ) -> Failure {
        if self.is_locked(attempt, now) {
            return Failure {
                late: wait_after(settings.lock_after),
                locked: None,
            };
        }
        let times = |factor: u32| settings.lock_after.saturating_mul(factor);
        let limit = |failures: u32| Limit {
            failures,
            lock_for: settings.lock_for,
        };
        let pair = self.counts.failed(attempt.pair, limit(settings.lock_after), now);
        let name_locked = self.adds_to_name(attempt, share(settings.lock_after), limit, now);
        let (mut failures, mut locked) = (pair.failures, None);
        if pair.locked_now {
            locked = Some(LockScope::Pair);
        }
        if !attempt.exempt {
            let network = self
                .counts
                .failed(attempt.network, limit(times(NETWORK_FACTOR)), now);
            failures = failures.max(network.failures / NETWORK_FACTOR);
            if network.locked_now {
                locked = Some(LockScope::Network);
            }
        }
        if name_locked {
            locked = Some(LockScope::Account);
        }
        Failure {
            late: wait_after(failures),
            locked,
        }
    }

    /// Adds a failure to the count of its name, unless the network has added its `most` already. Says whether that locks the name.
    ///
    /// Both counts forget at the same pace for each network, so that fewer than ten never fill the name's, however long they take.
    fn adds_to_name(
        &self,
        attempt: &Attempt,
        most: u32,
        limit: impl Fn(u32) -> Limit,
        now: Duration,
    ) -> bool {
        if self.counts.is_locked(attempt.added, now) {
            return false;
        }
        self.counts.failed(attempt.added, limit(most), now);
        let of_name = limit(most.saturating_mul(NAME_FACTOR));
        self.counts.failed(attempt.name, of_name, now).locked_now
    }

    /// Notes a success: failures of this name from this network were slips.
    pub(super) fn succeeded(&self, attempt: &Attempt, now: Duration) {
        self.counts.forgive(attempt.pair, now);
        let mut known = self.known.lock();
        if known.len() >= KNOWN_ACCOUNTS && !known.contains_key(&attempt.name) {
            let any = known.keys().next().copied();
            any.map(|name| known.remove(&name));
        }
        let networks = known.entry(attempt.name).or_default();
        networks.retain(|network| *network != attempt.client);
        networks.push_front(attempt.client);
        networks.truncate(KNOWN_NETWORKS);
    }

    fn knows(&self, attempt: &Attempt) -> bool {
        let known = self.known.lock();
        known
            .get(&attempt.name)
            .is_some_and(|networks| networks.contains(&attempt.client))
    }
}

/// How late a failure is answered that is the last of so many.
pub(super) fn wait_after(failures: u32) -> Duration {
    FIRST_WAIT * 2u32.pow(failures.saturating_sub(1).min(LONGEST_DOUBLINGS))
}

#[cfg(test)]
mod tests;
