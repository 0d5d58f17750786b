//! Suspensions: which there are, and what waits for their end ([`crate::parking`]).

use super::SqliteStore;
use super::commit::{Change, Operation};
use crate::limits;
use crate::operator::{Suspension, SuspensionKind};
use crate::parking::{PORTION, Parked, Parking, Place};
use crate::store::StoreError;
use crate::stored;
use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

/// Adds one, or replaces the one of that kind and name. `false`: there are too many.
pub(super) struct Suspend(pub(super) Suspension);

impl Operation for Suspend {
    type Output = bool;
    const NAME: &'static str = "suspend";

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<bool> {
        let one = &self.0;
        let inserted = change.execute(
            "INSERT INTO suspensions (kind, name, reason, who, since, until)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE (SELECT count(*) FROM suspensions) < ?7
                OR EXISTS (SELECT 1 FROM suspensions WHERE kind = ?1 AND name = ?2)
             ON CONFLICT (kind, name) DO UPDATE SET reason = ?3, who = ?4, since = ?5, until = ?6",
            params![
                one.kind.name(),
                one.name,
                one.reason,
                one.who,
                one.since.as_millisecond(),
                one.until.map(Timestamp::as_millisecond),
                limits::SUSPENSIONS,
            ],
        )?;
        Ok(inserted > 0)
    }
}

/// Ends one; `false` when there is none of that kind and name.
struct End(SuspensionKind, String);

impl Operation for End {
    type Output = bool;
    const NAME: &'static str = "resume";

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<bool> {
        let removed = change.execute(
            "DELETE FROM suspensions WHERE kind = ?1 AND name = ?2",
            params![self.0.name(), self.1],
        )?;
        Ok(removed > 0)
    }
}

/// Makes parked recipients due.
struct LetGo {
    places: Vec<Place>,
    now: Timestamp,
}

impl Operation for LetGo {
    type Output = u64;
    const NAME: &'static str = "resume";

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<u64> {
        let mut touched = 0;
        for (message, index) in &self.places {
            touched += change.execute(
                "UPDATE recipients SET parked = 0, due = ?3 WHERE message = ?1 AND idx = ?2 AND parked = 1",
                params![message, index, self.now.as_millisecond()],
            )?;
        }
        Ok(touched as u64)
    }
}

#[async_trait]
impl Parking for SqliteStore {
    async fn all(&self) -> Result<Vec<Suspension>, StoreError> {
        self.readers.ask(|db| all(db)).await
    }

    async fn end(&self, kind: SuspensionKind, name: &str) -> Result<bool, StoreError> {
        self.commit(End(kind, name.to_owned())).await
    }

    async fn next_parked(&self, after: Place) -> Result<Vec<Parked>, StoreError> {
        self.readers.ask(move |db| parked(db, after)).await
    }

    async fn let_go(&self, places: Vec<Place>, now: Timestamp) -> Result<u64, StoreError> {
        self.commit(LetGo { places, now }).await
    }
}

/// Every suspension.
pub(super) fn all(db: &Connection) -> rusqlite::Result<Vec<Suspension>> {
    let mut statement = db.prepare_cached(
        "SELECT kind, name, reason, who, since, until FROM suspensions ORDER BY kind, name",
    )?;
    let rows = statement.query_map([], read)?;
    Ok(rows
        .collect::<rusqlite::Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect())
}

/// `None` for a row that means nothing: it suspends nothing.
fn read(row: &Row<'_>) -> rusqlite::Result<Option<Suspension>> {
    let time = |stored: i64| Timestamp::from_millisecond(stored).ok();
    let Some(kind) = SuspensionKind::parse(&row.get::<_, String>(0)?) else {
        return Ok(None);
    };
    Ok(Some(Suspension {
        kind,
        name: row.get(1)?,
        reason: row.get(2)?,
        who: row.get(3)?,
        since: time(row.get(4)?).unwrap_or_default(),
        until: row.get::<_, Option<i64>>(5)?.and_then(time),
    }))
}

fn parked(db: &Connection, after: Place) -> rusqlite::Result<Vec<Parked>> {
    let mut statement = db.prepare_cached(
        "SELECT r.message, r.idx, r.domain, m.sender, m.account FROM recipients AS r INDEXED BY recipients_parked
         JOIN messages AS m ON m.key = r.message
         WHERE r.parked = 1 AND (r.message, r.idx) > (?1, ?2) ORDER BY r.message, r.idx LIMIT ?3",
    )?;
    let rows = statement.query_map(params![after.0, after.1, PORTION as i64], |row| {
        Ok(Parked {
            place: (row.get(0)?, row.get(1)?),
            domain: row.get(2)?,
            sender: stored::address(&row.get::<_, String>(3)?).ok(),
            account: row.get(4)?,
        })
    })?;
    rows.collect()
}
