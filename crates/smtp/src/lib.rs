//! The SMTP protocol (RFC 5321 and its extensions) without I/O.
//!
//! Both ends of a conversation are state machines that take bytes and give
//! events; nothing here knows sockets, clocks, databases or tokio.
//!
//! * [`session`] is the receiving end: bytes from a client in, decisions to
//!   take and replies out.
//! * [`client`] is the sending end: replies from a server in, commands out.
//! * [`address`], [`params`], [`command`], [`reply`], [`secret`], [`body`], [`stuffing`] are the grammar
//!   that both share.
//!
//! Promises: no panic and no quadratic work on any input; memory per session
//! is bounded by the constants in [`limits`]; as many replies as commands, in
//! order; only `CRLF . CRLF` ends DATA.

pub mod address;
pub mod body;
pub mod client;
pub mod command;
pub mod limits;
pub mod params;
pub mod reply;
pub mod secret;
pub mod session;
pub mod stuffing;

pub use address::Address;
pub use params::{BodyType, MailParams, Notify, Orcpt, RcptParams, Ret};
pub use reply::{Enhanced, Reply};
pub use secret::Secret;
pub use stuffing::DotStuffer;
