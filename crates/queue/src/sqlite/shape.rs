//! The shape of the queue: recipients by domain and by age. Rows are counted as they come by, so that memory is bounded
//! by the domains that are told apart.

use super::filter::Condition;
use crate::operator::{AGES, Shape, ShapeBy, Shaping};
use jiff::Timestamp;
use rusqlite::{Connection, params_from_iter};

/// Counts the recipients that are not final and that a condition holds for.
pub(super) fn shape(
    db: &Connection,
    condition: &Condition,
    by: ShapeBy,
    now: Timestamp,
) -> rusqlite::Result<Shape> {
    let name = match by {
        ShapeBy::Recipient => "r.domain",
        ShapeBy::Sender => "lower(m.sender)",
    };
    let sql = format!(
        "SELECT m.received_at, {name} FROM messages AS m JOIN recipients AS r ON r.message = m.key
         WHERE r.state NOT IN (4, 5, 6) AND {}",
        condition.joined_sql(1)
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(condition.values()))?;
    let mut shaping = Shaping::default();
    while let Some(row) = rows.next()? {
        let name = row.get_ref(1)?.as_str().ok();
        let domain = name.map(|name| name.rsplit('@').next().unwrap_or(name));
        shaping.count(domain, place(row.get(0)?, now), 1);
    }
    Ok(shaping.done())
}

/// The place among [`Ages`](crate::Ages) of a message received at that millisecond. One from the future is new.
fn place(received: i64, now: Timestamp) -> usize {
    let minutes = now.as_millisecond().saturating_sub(received) / 60_000;
    AGES.partition_point(|bound| i64::from(*bound) <= minutes)
}
