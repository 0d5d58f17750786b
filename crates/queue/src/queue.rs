//! The counter where reception hands messages in and delivery takes them out.

use crate::message::{Claim, NewMessage};
use crate::spool::Spool;
use crate::store::{Store, StoreError};
use std::sync::Arc;

/// Delivery's side of the counter: takes new mail without it being read back.
pub trait Handoff: Send + Sync + std::fmt::Debug {
    /// Whether delivery has room for a message now. If so, it is stored as leased, and offered after the commit.
    fn has_room(&self, message: &NewMessage) -> bool;
    /// A committed message, leased to delivery. Must not block.
    fn offer(&self, claim: Claim);
    /// There is work in the store that was not offered.
    fn wake(&self);
}

/// The queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    store: Arc<dyn Store>,
    spool: Spool,
}

impl Queue {
    /// A queue over a store.
    pub fn new(store: Arc<dyn Store>, spool: Spool) -> Self {
        Queue { store, spool }
    }
    /// Connects delivery. Until then, and after [`Queue::disconnect`], new mail waits in the store.
    pub fn connect(&self, handoff: Arc<dyn Handoff>) {
        let _ = handoff;
        todo!()
    }
    /// Stops offering new mail (the drain).
    pub fn disconnect(&self) {
        todo!()
    }
    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
    /// Where bodies are written while they are received.
    pub fn spool(&self) -> &Spool {
        &self.spool
    }
    /// Stores a message. When this returns `Ok`, it is on stable storage.
    pub async fn submit(&self, message: NewMessage) -> Result<(), StoreError> {
        let _ = message;
        todo!()
    }
}
