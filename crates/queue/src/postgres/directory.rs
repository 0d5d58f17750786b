//! The directory's records.

use super::PostgresStore;
use super::client::{Client, query, query_one, run};
use super::error::Error;
use super::filter::plain;
use super::hints::{self, Hint};
use crate::store::StoreError;
use async_trait::async_trait;
use smtp_directory::{Contents, Edit, Kind, Record, Shelf, ShelfError};

impl From<StoreError> for Unavailable {
    fn from(error: StoreError) -> Self {
        Unavailable(error.to_string())
    }
}

impl From<Error> for Unavailable {
    fn from(error: Error) -> Self {
        StoreError::from(error).into()
    }
}

/// Why the directory could not be asked.
struct Unavailable(String);

impl From<Unavailable> for ShelfError {
    fn from(error: Unavailable) -> ShelfError {
        ShelfError::Unavailable(error.0)
    }
}

impl PostgresStore {
    async fn contents(&self) -> Result<Contents, Unavailable> {
        let client = &self.client().await?;
        // Both as they were at one moment.
        let both = || async {
            let directory = query_one(client, "SELECT revision, secret FROM directory", &[]).await?;
            let sql = "SELECT kind, name, value FROM directory_records";
            Ok((directory, query(client, sql, &[]).await?))
        };
        let (directory, rows) = client.snapshot(both).await?;
        let secret: &[u8] = directory.get(1);
        let mut records = Vec::new();
        for row in &rows {
            let word: &str = row.get(0);
            let unknown = || {
                Unavailable(format!(
                    "the directory has a record of kind {word}, which is unknown"
                ))
            };
            records.push(Record {
                kind: Kind::of(word).ok_or_else(unknown)?,
                name: row.get(1),
                value: row.get(2),
            });
        }
        Ok(Contents {
            revision: directory.get::<_, i64>(0).unsigned_abs(),
            secret: secret
                .try_into()
                .map_err(|_| Unavailable("the directory's secret is damaged".to_owned()))?,
            records,
        })
    }

    async fn edit(&self, revision: u64, edits: &[Edit]) -> Result<Option<u64>, Unavailable> {
        let client = &self.client().await?;
        if !client.change(|| edit(client, revision, edits)).await? {
            return Ok(None);
        }
        hints::say(client, self.id(), Hint::Directory).await;
        Ok(Some(revision + 1))
    }
}

/// Whether the directory was at this revision; if so, it is edited.
async fn edit(client: &Client, revision: u64, edits: &[Edit]) -> Result<bool, Error> {
    let sql = "UPDATE directory SET revision = revision + 1 WHERE revision = $1";
    let revision = i64::try_from(revision).unwrap_or(i64::MAX);
    if run(client, sql, &[&revision]).await? == 0 {
        return Ok(false);
    }
    for edit in edits {
        match edit {
            Edit::Put(record) => {
                let sql = "INSERT INTO directory_records (kind, name, value) VALUES ($1, $2, $3)
                           ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value";
                let (name, value) = (plain(&record.name), plain(&record.value));
                run(client, sql, &[&record.kind.word(), &name, &value]).await?
            }
            Edit::Delete(kind, name) => {
                let sql = "DELETE FROM directory_records WHERE kind = $1 AND name = $2";
                run(client, sql, &[&kind.word(), &plain(name)]).await?
            }
        };
    }
    Ok(true)
}

async fn revision(client: &Client) -> Result<u64, Unavailable> {
    let row = query_one(client, "SELECT revision FROM directory", &[]).await?;
    Ok(row.get::<_, i64>(0).unsigned_abs())
}

#[async_trait]
impl Shelf for PostgresStore {
    async fn load(&self) -> Result<Contents, ShelfError> {
        Ok(self.contents().await?)
    }

    async fn apply(&self, revision: u64, edits: Vec<Edit>) -> Result<u64, ShelfError> {
        self.edit(revision, &edits).await?.ok_or(ShelfError::Moved)
    }

    async fn revision(&self) -> Result<u64, ShelfError> {
        let client = self.client().await.map_err(Unavailable::from)?;
        Ok(revision(&client).await?)
    }
}
