//! From SQLite's errors to the store's.

use crate::store::StoreError;
use rusqlite::ErrorCode;
use rusqlite::ffi;

/// What an operator or a client is told about an error of SQLite.
pub(super) fn store_error(error: &rusqlite::Error) -> StoreError {
    let Some(failure) = error.sqlite_error() else {
        return StoreError::Unavailable(error.to_string());
    };
    match failure.code {
        ErrorCode::DiskFull => StoreError::Full(error.to_string()),
        // The shared index of the log could not grow: the same disk.
        _ if failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE => StoreError::Full(error.to_string()),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Damaged(format!(
            "the spool's database is damaged ({error}): stop the server, keep a copy of its folder, then restore \
             a backup or save what can be read as docs/operations.md says"
        )),
        _ => StoreError::Unavailable(error.to_string()),
    }
}
