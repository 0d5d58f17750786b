//! Whether the next hop of a domain knows an address: what reception asks delivery, without knowing it.

use async_trait::async_trait;
use smtp::Address;
use std::fmt::Debug;

/// Asks next hops. Bounded in time by whoever implements it: a client waits for the answer.
#[async_trait]
pub trait Callout: Send + Sync + Debug {
    /// Whether mail for `address`, whose domain is local and has `recipients = "verify"`, would be taken.
    async fn verify(&self, address: &Address) -> Verdict;
}

/// What the next hop says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It takes mail for the address.
    Exists,
    /// It does not: 550 5.1.1.
    Unknown,
    /// It cannot be asked now: 450 4.1.1, so that nothing is taken that may have to be returned.
    Unavailable,
}
