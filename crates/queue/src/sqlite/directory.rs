//! The directory's records: changed by the writer thread together with everything else, loaded beside it.

use super::SqliteStore;
use super::commit::{Change, Load, Operation};
use crate::store::StoreError;
use async_trait::async_trait;
use rusqlite::types::Type;
use rusqlite::{Connection, params};
use smtp_directory::{Contents, Edit, Kind, Record, Shelf, ShelfError};

/// Makes some edits if the directory is at a revision; gives the new one.
struct EditRecords {
    revision: u64,
    edits: Vec<Edit>,
}

impl Operation for EditRecords {
    type Output = Result<u64, ShelfError>;
    const NAME: &'static str = "directory";

    fn load(&self) -> Load {
        let octets = |edit: &Edit| match edit {
            Edit::Put(record) => record.name.len() + record.value.len(),
            Edit::Delete(_, name) => name.len(),
        };
        Load {
            octets: self.edits.iter().map(octets).sum(),
            ..Load::default()
        }
    }

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<Self::Output> {
        if revision(change.db)? != self.revision {
            return Ok(Err(ShelfError::Moved));
        }
        for edit in &self.edits {
            match edit {
                Edit::Put(record) => change.execute(
                    "INSERT INTO directory_records (kind, name, value) VALUES (?1, ?2, ?3)
                     ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value",
                    params![record.kind.word(), record.name, record.value],
                )?,
                Edit::Delete(kind, name) => change.execute(
                    "DELETE FROM directory_records WHERE kind = ?1 AND name = ?2",
                    params![kind.word(), name],
                )?,
            };
        }
        change.execute("UPDATE directory SET revision = revision + 1", [])?;
        revision(change.db).map(Ok)
    }
}

#[async_trait]
impl Shelf for SqliteStore {
    async fn load(&self) -> Result<Contents, ShelfError> {
        self.readers.ask(|db| contents(db)).await.map_err(unavailable)
    }

    async fn apply(&self, revision: u64, edits: Vec<Edit>) -> Result<u64, ShelfError> {
        let edited = self.commit(EditRecords { revision, edits }).await;
        edited.map_err(unavailable)?
    }

    async fn revision(&self) -> Result<u64, ShelfError> {
        self.readers.ask(|db| revision(db)).await.map_err(unavailable)
    }
}

fn unavailable(error: StoreError) -> ShelfError {
    ShelfError::Unavailable(error.to_string())
}

fn revision(db: &Connection) -> rusqlite::Result<u64> {
    db.prepare_cached("SELECT revision FROM directory")?
        .query_row([], |row| row.get::<_, i64>(0))
        .map(i64::unsigned_abs)
}

fn contents(db: &Connection) -> rusqlite::Result<Contents> {
    let secret = db
        .prepare_cached("SELECT secret FROM directory")?
        .query_row([], |row| row.get(0))?;
    let mut statement = db.prepare_cached("SELECT kind, name, value FROM directory_records")?;
    let records = statement.query_map([], |row| {
        let word: String = row.get(0)?;
        let unknown = || rusqlite::Error::FromSqlConversionFailure(0, Type::Text, "no kind of record".into());
        Ok(Record {
            kind: Kind::of(&word).ok_or_else(unknown)?,
            name: row.get(1)?,
            value: row.get(2)?,
        })
    })?;
    Ok(Contents {
        revision: revision(db)?,
        records: records.collect::<rusqlite::Result<_>>()?,
        secret,
    })
}
