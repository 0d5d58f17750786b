//! DKIM signing (RFC 6376, RFC 8463) without I/O, DNS or a clock.
//!
//! * [`SigningKey`] is an RSA or Ed25519 key; [`Identity`] is one with the domain and the selector under which it is published.
//! * [`Signer`] signs one message by several identities: the header section first, then the body in pieces of any size.
//! * [`PublishedRecord`] and [`Verdict`] compare what DNS holds with a key.
//! * [`Header`] is a view of a header section: its fields, and the addresses of `From:` and `Sender:` as
//!   [`mailboxes`] reads them.
//!
//! It knows header fields, hashes and keys; never who owns a key, or who may use an address.
//!
//! Promises: memory for a message does not grow with its body; the result does not depend on how the body was split; no panic and no
//! quadratic work on any input; a secret is never shown by `Debug` or in an error.

mod canonical;
mod field;
mod header;
mod identity;
mod key;
mod mailbox;
mod pem;
mod record;
mod signer;
#[cfg(test)]
mod verifier;

pub use header::{Field, Header, HeaderError};
pub use identity::{Identity, IdentityError};
pub use key::{Algorithm, KeyError, SigningKey};
pub use mailbox::{MAX_MAILBOXES, MailboxError, mailboxes, mailboxes_at};
pub use record::{Publication, PublishedRecord, RecordError, Verdict};
pub use signer::{SignError, Signer};
