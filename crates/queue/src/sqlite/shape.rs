//! The shape of the queue: recipients by domain and by age. Rows are counted as they come by, so that memory is bounded
//! by the domains that are told apart.

use super::filter::Condition;
use crate::operator::{AGES, Ages, Shape, ShapeBy};
use jiff::Timestamp;
use rusqlite::{Connection, params_from_iter};
use std::collections::HashMap;

/// Domains told apart; the others are in the total only.
const MOST: usize = 10_000;

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
    let mut total = Ages::default();
    let mut domains: HashMap<String, Ages> = HashMap::new();
    while let Some(row) = rows.next()? {
        let place = place(row.get(0)?, now);
        count(&mut total, place);
        // What cannot be read is in the total.
        let Ok(name) = row.get_ref(1)?.as_str() else {
            continue;
        };
        let domain = name.rsplit('@').next().unwrap_or(name);
        if let Some(ages) = domains.get_mut(domain) {
            count(ages, place);
        } else if domains.len() < MOST {
            let mut ages = Ages::default();
            count(&mut ages, place);
            domains.insert(domain.to_owned(), ages);
        }
    }
    let mut domains: Vec<_> = domains.into_iter().collect();
    let most_first =
        |(name, ages): &(String, Ages)| (std::cmp::Reverse(ages.iter().sum::<u64>()), name.clone());
    domains.sort_by_cached_key(most_first);
    Ok(Shape { total, domains })
}

fn count(ages: &mut Ages, place: usize) {
    if let Some(ages) = ages.get_mut(place) {
        *ages += 1;
    }
}

/// The place among [`Ages`] of a message received at that millisecond. One from the future is new.
fn place(received: i64, now: Timestamp) -> usize {
    let minutes = now.as_millisecond().saturating_sub(received) / 60_000;
    AGES.partition_point(|bound| i64::from(*bound) <= minutes)
}
