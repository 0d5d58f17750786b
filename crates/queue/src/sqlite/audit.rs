//! The audit trail: appended to, read from its end, and bounded.

use super::commit::{Change, Operation};
use crate::limits;
use crate::operator::AuditRecord;
use jiff::Timestamp;
use rusqlite::{Connection, params};

/// Adds a record; see `Store::audit`.
pub(super) struct Append(pub(super) AuditRecord);

impl Operation for Append {
    type Output = ();
    const NAME: &'static str = "audit";

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<()> {
        let one = &self.0;
        change.execute(
            "INSERT INTO audit (at, who, peer, action, target, touched, before, after)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                one.at.as_millisecond(),
                one.who,
                one.peer,
                one.action,
                one.target,
                i64::try_from(one.touched).unwrap_or(i64::MAX),
                one.before,
                one.after,
            ],
        )?;
        let number = change.db.last_insert_rowid();
        change.execute("DELETE FROM audit WHERE number <= ?1", [number - limits::AUDITED])?;
        Ok(())
    }
}

/// Records before a number, newest first.
pub(super) fn page(db: &Connection, before: Option<i64>, limit: usize) -> rusqlite::Result<Vec<AuditRecord>> {
    let mut statement = db.prepare_cached(
        "SELECT number, at, who, peer, action, target, touched, before, after FROM audit
         WHERE number < ?1 ORDER BY number DESC LIMIT ?2",
    )?;
    let limit = limit.min(limits::AUDITED_PAGE) as i64;
    let rows = statement.query_map(params![before.unwrap_or(i64::MAX), limit], |row| {
        Ok(AuditRecord {
            number: row.get(0)?,
            at: Timestamp::from_millisecond(row.get(1)?).unwrap_or_default(),
            who: row.get(2)?,
            peer: row.get(3)?,
            action: row.get(4)?,
            target: row.get(5)?,
            touched: row.get::<_, i64>(6)?.unsigned_abs(),
            before: row.get(7)?,
            after: row.get(8)?,
        })
    })?;
    rows.collect()
}
