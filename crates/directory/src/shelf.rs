//! The contract of what keeps the objects that are made at run time.
//!
//! A shelf knows names and texts, not what they mean: nobody ever asks it for an account by its quota, everything is loaded
//! into memory, and what the texts hold is checked here, once, for every database. It keeps these promises, which
//! the conformance suite of crate `queue` tests:
//!
//! 1. `apply` returns `Ok` only after the edits are on stable storage; they are there whole or not at all, also after a crash.
//! 2. Each `apply` raises the revision by one. A revision is never used twice for different contents.
//! 3. `apply` with another revision than the stored one changes nothing and says [`ShelfError::Moved`]: of two servers that
//!    change the directory at once, one comes second and looks again.
//! 4. `load` gives the records and the revision of one moment, and always the same secret.

use async_trait::async_trait;
use std::fmt::Debug;

/// What a record describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A local domain.
    Domain,
    /// An account.
    Account,
    /// An alias.
    Alias,
    /// A DKIM key, named as its DNS record is.
    DkimKey,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 4] = [Kind::Domain, Kind::Account, Kind::Alias, Kind::DkimKey];

    /// The word for it in a database.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Domain => "domain",
            Kind::Account => "account",
            Kind::Alias => "alias",
            Kind::DkimKey => "dkim_key",
        }
    }

    /// The kind of that word.
    pub fn of(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// The words for it in messages to people.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Domain => "domain",
            Kind::Account => "account",
            Kind::Alias => "alias",
            Kind::DkimKey => "DKIM key",
        }
    }
}

/// One object as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it describes.
    pub kind: Kind,
    /// The object's name; with the kind, unique.
    pub name: String,
    /// Everything else, as JSON. Holds password hashes and private keys.
    pub value: String,
}

/// A change of one record.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Writes it, in place of the one with its name if there is one.
    Put(Record),
    /// Removes it, if it is there.
    Delete(Kind, String),
}

/// All that is kept.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// How often it was changed.
    pub revision: u64,
    /// The records, in no order.
    pub records: Vec<Record>,
    /// Random octets, drawn once when the shelf was made: SCRAM answers for names that nobody has with salts that are derived from
    /// them, the same on every server and after every restart.
    pub secret: [u8; 32],
}

/// Why a shelf could not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShelfError {
    /// Somebody else changed it meanwhile: load again, and look whether the change is still right.
    #[error("the directory was changed by another server meanwhile")]
    Moved,
    /// Not now, or not any more; with the reason.
    #[error("{0}")]
    Unavailable(String),
}

/// Durable storage of what is made at run time.
#[async_trait]
pub trait Shelf: Send + Sync + Debug + 'static {
    /// Everything, with its revision.
    async fn load(&self) -> Result<Contents, ShelfError>;

    /// Makes the edits, in order, if `revision` is the stored one. Gives the new revision.
    async fn apply(&self, revision: u64, edits: Vec<Edit>) -> Result<u64, ShelfError>;

    /// The stored revision. Cheap: asked every few seconds where several servers share a database.
    async fn revision(&self) -> Result<u64, ShelfError>;
}
