//! From PostgreSQL's errors to the store's.

use crate::store::StoreError;
use tokio_postgres::error::SqlState;

/// What went wrong within an operation.
pub(super) type Error = tokio_postgres::Error;

impl From<Error> for StoreError {
    fn from(error: Error) -> StoreError {
        let text = in_words(&error);
        match error.code() {
            Some(code) if *code == SqlState::DISK_FULL => StoreError::Full(text),
            Some(code) if *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED => {
                StoreError::Damaged(text)
            }
            _ => StoreError::Unavailable(text),
        }
    }
}

/// "db error" alone helps nobody.
fn in_words(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl From<deadpool_postgres::PoolError> for StoreError {
    fn from(error: deadpool_postgres::PoolError) -> StoreError {
        match error {
            deadpool_postgres::PoolError::Backend(error) => error.into(),
            other => StoreError::Unavailable(format!("no connection to the database: {other}")),
        }
    }
}
