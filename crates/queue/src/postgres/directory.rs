//! The directory's records.

use super::PostgresStore;
use super::client::{Client, query, query_one, run};
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

impl From<super::error::Error> for Unavailable {
    fn from(error: super::error::Error) -> Self {
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
        let client = self.client().await?;
        // Both as they were at one moment.
        let t = client.snapshot().await?;
        let directory = query_one(&t, "SELECT revision, secret FROM directory", &[]).await?;
        let secret: &[u8] = directory.get(1);
        let mut records = Vec::new();
        for row in &query(&t, "SELECT kind, name, value FROM directory_records", &[]).await? {
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
        let client = self.client().await?;
        let t = client.transaction().await?;
        let moved = run(
            &t,
            "UPDATE directory SET revision = revision + 1 WHERE revision = $1",
            &[&i64::try_from(revision).unwrap_or(i64::MAX)],
        )
        .await?;
        if moved == 0 {
            return Ok(None);
        }
        for edit in edits {
            match edit {
                Edit::Put(record) => {
                    let sql = "INSERT INTO directory_records (kind, name, value) VALUES ($1, $2, $3)
                               ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value";
                    run(
                        &t,
                        sql,
                        &[&record.kind.word(), &plain(&record.name), &plain(&record.value)],
                    )
                    .await?
                }
                Edit::Delete(kind, name) => {
                    let sql = "DELETE FROM directory_records WHERE kind = $1 AND name = $2";
                    run(&t, sql, &[&kind.word(), &plain(name)]).await?
                }
            };
        }
        t.commit().await?;
        hints::say(&client, self.id(), Hint::Directory).await;
        Ok(Some(revision + 1))
    }
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
