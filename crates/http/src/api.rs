//! The admin API: the server in [`server`], the queue in [`queue`], who is who in [`directory`], who may do all that in [`tokens`].

mod body;
pub(crate) mod destinations;
pub(crate) mod directory;
mod header;
pub(crate) mod history;
mod paging;
pub(crate) mod queue;
pub(crate) mod request;
pub(crate) mod server;
pub(crate) mod servers;
pub(crate) mod sessions;
mod shapes;
pub(crate) mod statistics;
pub(crate) mod suspensions;
pub(crate) mod tokens;
pub(crate) mod trail;
pub(crate) mod webhooks;
mod words;

pub(crate) use paging::Asked;

use crate::error::ApiError;
use crate::router::Shared;
use jiff::Timestamp;
use smtp_queue::Store;
use std::sync::Arc;

fn store(shared: &Shared) -> Result<Arc<dyn Store>, ApiError> {
    shared.rooms.store().ok_or_else(ApiError::starting)
}

/// What the clock shows that everything in the store goes by; ours while it is not open.
fn now(shared: &Shared) -> Timestamp {
    shared
        .rooms
        .store()
        .map_or_else(Timestamp::now, |store| store.now())
}
