//! Why something could not be done, in words that say what to do.

use crate::credential::CredentialError;
use crate::shelf::{Kind, ShelfError};

/// Why the directory could not be opened, reloaded or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// What is declared in the configuration does not fit together; one line for each fault, with the key.
    #[error("{}", .0.join("\n"))]
    Declarations(Vec<String>),
    /// The object is declared in the configuration.
    #[error("{} {name} is declared in the configuration ({place}): change it there", .kind.name())]
    Declared {
        /// What it is.
        kind: Kind,
        /// Its name.
        name: String,
        /// The key in the file: `accounts[2]`.
        place: String,
    },
    /// There is one with that name.
    #[error("{} {name} exists already", .kind.name())]
    Exists {
        /// What it is.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// There is none with that name.
    #[error("there is no {} {name}", .kind.name())]
    NotFound {
        /// What it would be.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// Other objects stand in the way.
    #[error("{0}")]
    InUse(String),
    /// The record in the database cannot be read. It is kept until it is removed.
    #[error("{} {name} cannot be read in the database ({reason}): remove it first", .kind.name())]
    Unreadable {
        /// What it is.
        kind: Kind,
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The database is not available, or the system failed.
    #[error("the directory cannot be used just now: {0}")]
    Unavailable(String),
}

impl From<ShelfError> for DirectoryError {
    fn from(error: ShelfError) -> Self {
        DirectoryError::Unavailable(error.to_string())
    }
}

impl From<CredentialError> for DirectoryError {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::Library(reason) => DirectoryError::Unavailable(reason),
            CredentialError::Hash(reason) => DirectoryError::Invalid(reason.to_owned()),
        }
    }
}
