//! From PostgreSQL's errors to the store's.

use crate::store::StoreError;
use std::io;
use tokio_postgres::error::SqlState;

/// What went wrong within an operation.
#[derive(Debug)]
pub(super) enum Error {
    /// The database said no, or the connection to it broke.
    Database(tokio_postgres::Error),
    /// There is no connection to be had, or the answer did not come in time.
    Away(String),
}

impl Error {
    /// Whether it is unknown what became of a change: the connection broke, or no answer came.
    pub(super) fn leaves_doubt(&self) -> bool {
        match self {
            // What the database says of a change is certain, but for what it says when it breaks off.
            Error::Database(error) => is_broken(error),
            Error::Away(_) => true,
        }
    }

    /// Whether the connection is of no use any more, also when it still stands: its server only reads, as one does that was a primary.
    pub(super) fn spoils_connection(&self) -> bool {
        match self {
            Error::Database(error) => {
                is_broken(error) || error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
            }
            Error::Away(_) => true,
        }
    }

    /// Whether the database is away rather than unable to do just this.
    pub(super) fn is_away(&self) -> bool {
        match self {
            Error::Database(error) => {
                is_broken(error)
                    || matches!(
                        error.code(),
                        Some(&SqlState::READ_ONLY_SQL_TRANSACTION | &SqlState::TOO_MANY_CONNECTIONS)
                    )
            }
            Error::Away(_) => true,
        }
    }

    /// Whether it may pass by itself: the database is being started, has no connection left, cannot be found or reached, takes too long. What it
    /// refuses (a password, a name, a certificate, to write) is refused again.
    pub(super) fn passes(&self) -> bool {
        match self {
            Error::Database(error) => match error.code() {
                Some(code) => PASSING.iter().any(|class| code.code().starts_with(class)),
                None => passes_unsaid(error),
            },
            Error::Away(_) => true,
        }
    }

    /// Whether the database broke off the transaction so that others could go on: each of them waited for a table or row that the other had, as
    /// when a migration comes; or, where somebody set a level of isolation that has it so, another one was first. All of it was rolled back, and the
    /// same can be done again at once.
    pub(super) fn gave_way(&self) -> bool {
        matches!(
            self.code(),
            Some(&(SqlState::T_R_DEADLOCK_DETECTED | SqlState::T_R_SERIALIZATION_FAILURE))
        )
    }

    /// Whether it is something about what was to be stored, or its size: another change may be made.
    pub(super) fn is_of_the_change(&self) -> bool {
        let classes = ["22", "23", "54", "53100"];
        self.code()
            .is_some_and(|code| classes.iter().any(|class| code.code().starts_with(class)))
    }

    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Error::Database(error) => error.code(),
            Error::Away(_) => None,
        }
    }
}

/// Of what a database says when it is opened, what passes: connections (08), transactions that gave way to others (40), memory and connections
/// used up (53200, 53300), a lock that was not had in time (55P03), broken off, shut down or just started (57).
const PASSING: [&str; 6] = ["08", "40", "53200", "53300", "55P03", "57"];

/// Without a word of the database: nobody was there, or they broke off, or took too long. What cannot be understood stays so: a certificate that is
/// not trusted, an alert that says that ours is not.
fn passes_unsaid(error: &tokio_postgres::Error) -> bool {
    let kind = error.to_string();
    let is = |kinds: &[&str]| kinds.iter().any(|one| kind.starts_with(one));
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    let broken_off = cause.map(|cause| cause.kind() != io::ErrorKind::InvalidData);
    if is(&["error performing TLS handshake"]) {
        return broken_off == Some(true);
    }
    let away = [
        "error connecting to server",
        "error communicating with the server",
        "connection closed",
        "timeout waiting for server",
    ];
    is(&away) && broken_off != Some(false)
}

/// Whether the connection broke, or never came about.
fn is_broken(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) => ends_connections(code),
        // What we could not write or read as the type that the database has is between the two of us.
        None => !["error serializing", "error deserializing"]
            .iter()
            .any(|ours| error.to_string().starts_with(ours)),
    }
}

/// Classes 08 (connection), 57P (the server is shut down or was just started) and 58 (its system failed).
fn ends_connections(code: &SqlState) -> bool {
    ["08", "57P", "58"]
        .iter()
        .any(|class| code.code().starts_with(class))
        && *code != SqlState::DISK_FULL
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Error {
        Error::Database(error)
    }
}

impl From<deadpool_postgres::PoolError> for Error {
    fn from(error: deadpool_postgres::PoolError) -> Error {
        use deadpool_postgres::{PoolError, TimeoutType};
        match error {
            PoolError::Backend(error) => Error::Database(error),
            PoolError::Timeout(TimeoutType::Wait) => Error::Away(
                "all connections to the database are busy: raise storage.pool_size, or find out what is slow"
                    .into(),
            ),
            PoolError::Timeout(_) => {
                Error::Away("the database cannot be reached: no answer to a connection".into())
            }
            other => Error::Away(format!("no connection to the database: {other}")),
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> StoreError {
        let error = match error {
            Error::Away(text) => return StoreError::Unavailable(text),
            Error::Database(error) => error,
        };
        let text = in_words(&error);
        match error.code() {
            Some(&(SqlState::DISK_FULL | SqlState::CONFIGURATION_LIMIT_EXCEEDED)) => StoreError::Full(text),
            Some(&(SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED)) => StoreError::Damaged(text),
            Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => StoreError::Unavailable(format!(
                "the database only reads, as a standby does: {text}; name all its servers in storage.url, with \
                 target_session_attrs=read-write"
            )),
            _ => StoreError::Unavailable(text),
        }
    }
}

/// Why a store was not opened.
#[derive(Debug)]
pub(super) struct Unopened {
    pub(super) error: StoreError,
    /// It may pass by itself.
    pub(super) passes: bool,
}

impl From<Error> for Unopened {
    fn from(error: Error) -> Unopened {
        Unopened {
            passes: error.passes(),
            error: error.into(),
        }
    }
}

impl From<StoreError> for Unopened {
    fn from(error: StoreError) -> Unopened {
        Unopened { passes: false, error }
    }
}

/// "db error" alone helps nobody.
pub(super) fn in_words(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
