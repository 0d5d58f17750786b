//! SASL mechanisms (RFC 4422) without I/O: both ends.
//!
//! * [`server`] is the end that checks: [`Offer`] says what a connection may use, [`Offer::start`] begins,
//!   and every [`Step`] says what the caller has to do: send a challenge, answer a question, stop.
//! * [`client`] is the end that proves: [`Client`] picks the strongest mechanism that both know.
//! * [`ScramVerifier`] is what a server keeps of a password for SCRAM.
//!
//! Nothing here knows accounts, sockets or clocks; messages are octets without base64.
//!
//! Promises: no panic whatever the octets; a message longer than [`MAX_MESSAGE`] is refused unread; no
//! mechanism works without TLS but SCRAM as a client; secrets are zeroed when dropped, never shown by
//! `Debug`, and compared in constant time; a question can be answered once, and one that is dropped
//! instead ends its exchange.

mod bearer;
pub mod client;
mod external;
mod failure;
mod gs2;
mod login;
mod mechanism;
mod plain;
mod prepare;
mod scram;
pub mod server;

pub use client::{Client, ClientFailure, Credentials};
pub use failure::Failure;
pub use mechanism::{Channel, Mechanism, TlsExporter};
pub use prepare::{MAX_NAME, MAX_PASSWORD, Password, Secret, prepare_name};
pub use scram::{DEFAULT_ITERATIONS, MAX_ITERATIONS, MIN_ITERATIONS, ScramVerifier, VerifierError};
pub use server::{Exchange, Offer, Step};

/// Longest message of a peer in octets. RFC 4954, section 4, allows 12288 characters of base64.
pub const MAX_MESSAGE: usize = 9216;
