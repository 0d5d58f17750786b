//! The directory: which domains are local, who has an account, whose mail goes elsewhere, whose key signs.
//!
//! * [`Directory`] holds it while the server runs; [`Directory::snapshot`] is the picture in force, and
//!   [`Directory::apply`] makes a [`Change`].
//! * [`Snapshot`] answers: [`Snapshot::recipient`], [`Snapshot::authenticate`], [`Snapshot::may_send_as`],
//!   [`Snapshot::signing_keys`].
//! * [`Declarations`] are the objects of the configuration, [`Shelf`] keeps those that are made at run time.
//!
//! It knows names and secrets; never sessions, sockets or DNS.
//!
//! Promises: what is declared in the configuration cannot be changed or replaced at run time; a change is in force after it
//! is on stable storage, and whole or absent; every spelling of a name finds the same object; resolution of a recipient is
//! bounded and ends, whatever the aliases; `postmaster` of a local domain is never refused; a login with a wrong password costs as
//! much as one with a name that nobody has; a record that cannot be read is left out, said, and kept.

mod change;
mod credential;
mod declared;
mod directory;
mod error;
mod map;
mod name;
mod objects;
mod record;
mod senders;
mod shelf;
mod snapshot;
pub mod testing;
#[cfg(test)]
mod tests;

pub use change::{Applied, Change, NewKey, NewLogin};
pub use credential::AppPassword;
pub use declared::Declarations;
pub use directory::{Directory, Prepared};
pub use error::DirectoryError;
pub use name::{account_key, domain_key};
pub use objects::{Account, Alias, Declared, DkimKey, Domain, KeyState};
pub use senders::{Identity, SenderPattern};
pub use shelf::{Contents, Edit, Kind, Record, Shelf, ShelfError};
pub use snapshot::{Resolution, Snapshot, Trouble};
