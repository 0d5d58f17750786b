//! The queue: messages, their recipients and the recipients' states, kept durably.
//!
//! * `message` is the model: a message is one body and one row per recipient; `id` how it is called.
//! * `store` is the contract that every store fulfils, with its promises: [`Store`].
//! * `outbox` is what webhooks are to be told, kept beside it: [`Outbox`].
//! * `operator` is what operators say of mail: suspensions, tokens, the audit trail; `parking` what their suspensions keep waiting.
//! * [`sqlite`] is the store inside the process, [`postgres`] the one that many servers share.
//! * `spool` holds a body while it is received, in memory or in a file: [`Spool`].
//! * `queue` is the counter where reception hands messages in and delivery takes
//!   them out; the two rooms meet only here: [`Queue`], [`Handoff`].
//! * `steady` is the clock that leases are measured by: [`Steady`].
//! * [`moving`] takes everything from one store to another.
//! * `limits` and `stored` are what every store has in common: how much of something, and words of the language as they are kept.
//! * `conformance` is the suite that every store must pass.
//!
//! The promise: when [`Queue::submit`] returns `Ok`, the message and its envelope are
//! on stable storage. Nothing unreadable is deleted: it is quarantined.

mod id;
mod limits;
mod message;
pub mod moving;
mod operator;
mod outbox;
mod parking;
pub mod postgres;
mod queue;
mod spool;
pub mod sqlite;
mod steady;
mod store;
mod stored;

#[cfg(test)]
pub mod conformance;

pub use id::QueueId;
pub use message::{
    Attempt, Beginning, Body, Claim, ClaimedRecipient, Deferral, MailOptions, Message, NewMessage,
    NewRecipient, Outcome, Recipient, RecipientResult, State,
};
pub use operator::{
    AGES, Ages, ApiToken, AuditRecord, Shape, ShapeBy, Suspension, SuspensionKind, TokenAdded,
};
pub use outbox::{Call, CallOutcome, CallResult, CallsWaiting, NewCall, Outbox};
pub use queue::{Deferred, Handoff, Intake, Queue};
pub use spool::{BodyWriter, Giver, NoRoom, Passing, Spool, folder_of};
pub use steady::Steady;
pub use store::{
    ClaimRequest, Filter, Finished, MessageDetail, MessageSummary, Released, ServerInfo, Shared, Stats,
    Store, StoreError, Term, Unreadable,
};
