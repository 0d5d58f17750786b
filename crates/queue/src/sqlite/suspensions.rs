//! Suspensions: which there are, and what waits for their end.
//!
//! Nothing is looked for when one begins: what it is about is parked as it comes by, marked and due when the suspension ends. Its end
//! looks at what is parked only.

use super::SqliteStore;
use super::commit::{Change, Load, Operation};
use super::row;
use crate::message::MailOptions;
use crate::operator::{Suspension, SuspensionKind};
use crate::store::StoreError;
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use smtp::Address;

/// Most suspensions at once: each new message is compared with all.
const MOST: i64 = 1000;
/// Recipients looked at, or made due, at once.
const BATCH: usize = 500;

/// Adds one, or replaces the one of that kind and name. `false`: there are too many.
pub(super) struct Suspend(pub(super) Suspension);

impl Operation for Suspend {
    type Output = bool;
    const NAME: &'static str = "suspend";

    fn load(&self) -> Load {
        Load::default()
    }

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
                MOST,
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

    fn load(&self) -> Load {
        Load::default()
    }

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<bool> {
        let removed = change.execute(
            "DELETE FROM suspensions WHERE kind = ?1 AND name = ?2",
            params![self.0.name(), self.1],
        )?;
        Ok(removed > 0)
    }
}

/// A recipient: its message's key and its place in it.
type Place = (i64, i64);
/// Before all of them.
const FIRST: Place = (i64::MIN, 0);

/// Makes parked recipients due.
struct Unpark {
    rows: Vec<Place>,
    now: Timestamp,
}

impl Operation for Unpark {
    type Output = u64;
    const NAME: &'static str = "resume";

    fn load(&self) -> Load {
        Load::default()
    }

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<u64> {
        let mut touched = 0;
        for (message, index) in &self.rows {
            touched += change.execute(
                "UPDATE recipients SET parked = 0, due = ?3 WHERE message = ?1 AND idx = ?2 AND parked = 1",
                params![message, index, self.now.as_millisecond()],
            )?;
        }
        Ok(touched as u64)
    }
}

/// A parked recipient, as far as suspensions look at it.
struct Parked {
    message: i64,
    index: i64,
    domain: String,
    sender: Option<Address>,
    options: MailOptions,
}

impl SqliteStore {
    /// Ends a suspension, and makes due what it kept waiting; see `Store::resume`.
    pub(super) async fn end_suspension(
        &self,
        kind: SuspensionKind,
        name: String,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let others = self.others((kind, &name)).await?;
        if !self.commit(End(kind, name.clone())).await? {
            return Ok(None);
        }
        Ok(Some(self.let_go((kind, &name), &others, now).await?))
    }

    /// Makes due what a suspension that has ended keeps waiting all the same; see `Store::unpark`.
    pub(super) async fn let_go_of_rest(
        &self,
        kind: SuspensionKind,
        name: String,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let all = self.readers.ask(|db| all(db)).await?;
        if all.iter().any(|one| (one.kind, &one.name) == (kind, &name)) {
            return Ok(0);
        }
        self.let_go((kind, &name), &all, now).await
    }

    /// Makes due what a suspension keeps waiting, and no other.
    async fn let_go(
        &self,
        whose: (SuspensionKind, &str),
        others: &[Suspension],
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let (mut touched, mut after) = (0, Some(FIRST));
        while let Some(at) = after {
            let (rows, next) = self.parked_by(whose, others, at).await?;
            after = next;
            if !rows.is_empty() {
                touched += self.commit(Unpark { rows, now }).await?;
            }
        }
        Ok(touched)
    }

    /// How many recipients a suspension keeps waiting; see `Store::parked`.
    pub(super) async fn count_parked(&self, kind: SuspensionKind, name: String) -> Result<u64, StoreError> {
        let others = self.others((kind, &name)).await?;
        let (mut count, mut after) = (0, Some(FIRST));
        while let Some(at) = after {
            let (rows, next) = self.parked_by((kind, &name), &others, at).await?;
            count += rows.len() as u64;
            after = next;
        }
        Ok(count)
    }

    /// Of the next parked recipients those that a suspension keeps waiting, and behind which to go on.
    async fn parked_by(
        &self,
        whose: (SuspensionKind, &str),
        others: &[Suspension],
        after: Place,
    ) -> Result<(Vec<Place>, Option<Place>), StoreError> {
        let page = self.readers.ask(move |db| parked(db, after)).await?;
        let next = page.last().map(|last| (last.message, last.index));
        let kept =
            |one: &&Parked| Suspension::keeps(whose, others, one.sender.as_ref(), &one.options, &one.domain);
        let rows = page.iter().filter(kept).map(|one| (one.message, one.index));
        Ok((rows.collect(), next))
    }

    /// All suspensions but this one.
    async fn others(&self, (kind, name): (SuspensionKind, &str)) -> Result<Vec<Suspension>, StoreError> {
        let mut others = self.readers.ask(|db| all(db)).await?;
        others.retain(|one| (one.kind, &*one.name) != (kind, name));
        Ok(others)
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
    let rows = statement.query_map(params![after.0, after.1, BATCH as i64], |row| {
        Ok(Parked {
            message: row.get(0)?,
            index: row.get(1)?,
            domain: row.get(2)?,
            sender: row::address(&row.get::<_, String>(3)?).ok(),
            options: MailOptions {
                account: row.get(4)?,
                ..MailOptions::default()
            },
        })
    })?;
    rows.collect()
}
