//! Tokens of the admin API, kept as hashes.

use super::commit::{Change, Operation};
use crate::limits;
use crate::operator::{ApiToken, TokenAdded};
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

/// Adds one; see `Store::add_token`.
pub(super) struct Add(pub(super) ApiToken);

impl Operation for Add {
    type Output = TokenAdded;
    const NAME: &'static str = "token";

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<TokenAdded> {
        let one = &self.0;
        let inserted = change.execute(
            "INSERT INTO api_tokens (name, hash, scope, created, created_by, expires)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE (SELECT count(*) FROM api_tokens) < ?7
             ON CONFLICT (name) DO NOTHING",
            params![
                one.name,
                one.hash,
                one.scope,
                one.created.as_millisecond(),
                one.created_by,
                one.expires.map(Timestamp::as_millisecond),
                limits::TOKENS,
            ],
        )?;
        let mut same = change
            .db
            .prepare_cached("SELECT 1 FROM api_tokens WHERE name = ?1")?;
        Ok(match (inserted > 0, same.exists([&one.name])?) {
            (true, _) => TokenAdded::Added,
            (false, true) => TokenAdded::Exists,
            (false, false) => TokenAdded::TooMany,
        })
    }
}

/// Forgets one; `false` when there is none of that name.
pub(super) struct Remove(pub(super) String);

impl Operation for Remove {
    type Output = bool;
    const NAME: &'static str = "token";

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<bool> {
        let removed = change.execute("DELETE FROM api_tokens WHERE name = ?1", [&self.0])?;
        Ok(removed > 0)
    }
}

/// Every token by name. One whose times make no sense has expired.
pub(super) fn all(db: &Connection) -> rusqlite::Result<Vec<ApiToken>> {
    let mut statement = db.prepare_cached(
        "SELECT name, hash, scope, created, created_by, expires FROM api_tokens ORDER BY name",
    )?;
    statement.query_map([], read)?.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<ApiToken> {
    let time = |stored: i64| Timestamp::from_millisecond(stored).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(ApiToken {
        name: row.get(0)?,
        hash: row.get(1)?,
        scope: row.get(2)?,
        created: time(row.get(3)?),
        created_by: row.get(4)?,
        expires: row.get::<_, Option<i64>>(5)?.map(time),
    })
}
