//! Reception asks delivery for addresses that only a next hop knows; neither knows the other.

use async_trait::async_trait;
use smtp::Address;
use smtp_deliver::{Delivery, Presence};
use smtp_receive::{Callout, Verdict};
use std::sync::Arc;

/// Delivery's next hops, as reception asks them.
#[derive(Debug)]
pub(crate) struct NextHops(pub(crate) Arc<Delivery>);

#[async_trait]
impl Callout for NextHops {
    async fn verify(&self, address: &Address) -> Verdict {
        match self.0.verify(address).await {
            Presence::Exists => Verdict::Exists,
            Presence::Unknown => Verdict::Unknown,
            Presence::Unavailable => Verdict::Unavailable,
        }
    }
}
