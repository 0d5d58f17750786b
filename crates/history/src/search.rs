//! Looks for messages, and shows one.

use crate::archive::{Archive, Record};
use crate::terms::{Field, first_id, hash, minute_of};
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Messages looked at for one page, at most: then the page ends, and the next goes on from there.
const LOOKED_AT: usize = 20_000;

/// What is looked for. What is given must all apply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The `Message-ID`, with or without its angles.
    pub message_id: Option<String>,
    /// The sender's address; empty for the null sender.
    pub sender: Option<String>,
    /// A recipient's address, as it was sent or as an alias made it.
    pub recipient: Option<String>,
    /// The account that sent it.
    pub account: Option<String>,
    /// That came then or later.
    pub since: Option<Timestamp>,
    /// That came before.
    pub until: Option<Timestamp>,
    /// With lower ids: the `next` of the page before.
    pub before: Option<String>,
}

/// A message's history.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its queue id.
    pub id: String,
    /// When it came.
    pub received_at: Timestamp,
    /// When it left the queue; `None` as long as that was not seen.
    pub ended_at: Option<Timestamp>,
    /// Empty for the null sender; `None` when its beginning was not seen.
    pub sender: Option<String>,
    /// Who sent it; `None` without AUTH.
    pub account: Option<String>,
    /// As it stands in the header.
    pub message_id: Option<String>,
    /// What became of each recipient, as far as it was tried.
    pub recipients: BTreeMap<String, Fate>,
    /// The lines of the log about it, in the order in which they were written.
    pub steps: Vec<Value>,
    /// Attempts that are only counted.
    pub omitted: u64,
}

/// What became of a recipient last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// `sent`, `deferred`, `bounced` or `expired`.
    pub status: String,
    /// What the next hop said.
    pub text: String,
}

/// Some messages, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The messages.
    pub entries: Vec<Entry>,
    /// The `before` of the next page; `None` on the last.
    pub next: Option<String>,
}

/// What is asked.
#[derive(Debug)]
pub struct Search {
    place: Place,
}

#[derive(Debug)]
enum Place {
    File(Connection),
    Archive(Arc<dyn Archive>),
}

const COLUMNS: &str = "id, ended, sender, account, message_id, steps, omitted";

impl Search {
    pub(crate) fn open(path: &Path) -> Result<Search, String> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags).map_err(|error| error.to_string())?;
        let place = Place::File(db);
        Ok(Search { place })
    }

    pub(crate) fn of(archive: Arc<dyn Archive>) -> Search {
        let place = Place::Archive(archive);
        Search { place }
    }

    /// The history of one message.
    ///
    /// # Errors
    /// The database's.
    pub fn show(&self, id: &str) -> Result<Option<Entry>, String> {
        let id = id.to_uppercase();
        match &self.place {
            Place::Archive(archive) => Ok(archive.by_id(&id)?.map(entry)),
            Place::File(db) => db
                .query_row(
                    &format!("SELECT {COLUMNS} FROM messages WHERE id = ?1"),
                    [id],
                    record,
                )
                .optional()
                .map(|found| found.map(entry))
                .map_err(|error| error.to_string()),
        }
    }

    /// The newest messages that are meant. A page may have fewer than `limit` and still not be the last.
    ///
    /// # Errors
    /// The database's.
    pub fn list(&self, query: &Query, limit: usize) -> Result<Page, String> {
        match &self.place {
            Place::Archive(archive) => in_archive(&**archive, query, limit),
            Place::File(db) => match query.term() {
                Some(term) => by_term(db, query, term, limit),
                None => by_time(db, query, limit),
            }
            .map_err(|error| error.to_string()),
        }
    }
}

/// Page after page of what has the term, until there is enough of what is meant, or much was looked at.
fn in_archive(archive: &dyn Archive, query: &Query, limit: usize) -> Result<Page, String> {
    let (from, mut to) = query.range();
    let (mut page, mut looked_at) = (Page::default(), 0);
    while page.entries.len() < limit && looked_at < LOOKED_AT {
        let wanted = limit - page.entries.len();
        let records = archive.newest(query.term(), &from, &to, wanted)?;
        looked_at += records.len();
        let all = records.len() < wanted;
        for found in records.into_iter().map(entry) {
            to.clone_from(&found.id);
            page.entries.extend(query.means(&found).then_some(found));
        }
        if all {
            return Ok(page);
        }
    }
    page.next = Some(to);
    Ok(page)
}

/// Everything within the time, newest first.
fn by_time(db: &Connection, query: &Query, limit: usize) -> rusqlite::Result<Page> {
    let (from, to) = query.range();
    let mut statement = db.prepare(&format!(
        "SELECT {COLUMNS} FROM messages WHERE id >= ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3"
    ))?;
    let rows = statement.query_map(params![from, to, limit as i64], record)?;
    let entries: Vec<Entry> = rows.map(|row| row.map(entry)).collect::<Result<_, _>>()?;
    let next = entries.last().filter(|_| entries.len() >= limit);
    Ok(Page {
        next: next.map(|last| last.id.clone()),
        entries,
    })
}

/// What has a term, minute by minute, newest first: each minute is one look into the index.
fn by_term(db: &Connection, query: &Query, term: i64, limit: usize) -> rusqlite::Result<Page> {
    let (from, to) = query.range();
    let mut candidates = db.prepare(&format!(
        "SELECT {COLUMNS} FROM terms JOIN messages USING (key)
         WHERE minute = ?1 AND hash = ?2 AND id >= ?3 AND id < ?4 ORDER BY id DESC LIMIT ?5"
    ))?;
    let mut earlier = db.prepare("SELECT max(minute) FROM terms WHERE minute < ?1 AND minute >= ?2")?;
    let (mut page, mut looked_at) = (Page::default(), 0);
    let (first, mut minute) = (minute_of(&from), minute_of(&to).saturating_add(1));
    while let Some(found) = earlier.query_row([minute, first], |row| row.get::<_, Option<i64>>(0))? {
        minute = found;
        let rows = candidates.query_map(params![minute, term, from, to, LOOKED_AT as i64], record)?;
        for row in rows {
            let entry = entry(row?);
            looked_at += 1;
            if page.entries.len() >= limit || looked_at > LOOKED_AT {
                return Ok(page);
            }
            page.next = Some(entry.id.clone());
            page.entries.extend(query.means(&entry).then_some(entry));
        }
    }
    page.next = None;
    Ok(page)
}

impl Query {
    /// The rarest thing that is looked for.
    fn term(&self) -> Option<i64> {
        let by_rarity = [
            (Field::MessageId, &self.message_id),
            (Field::Recipient, &self.recipient),
            (Field::Sender, &self.sender),
            (Field::Account, &self.account),
        ];
        by_rarity
            .into_iter()
            .find_map(|(field, value)| Some(hash(field, value.as_deref()?)))
    }

    /// The ids from the first one up to the one before the second.
    fn range(&self) -> (String, String) {
        let from = self
            .since
            .map_or_else(String::new, |since| first_id(since.as_millisecond()));
        let until = self.until.map(|until| first_id(until.as_millisecond()));
        let before = self.before.as_deref().map(str::to_uppercase);
        let to = [until, before].into_iter().flatten().min();
        let last = || ulid::Ulid::from(u128::MAX).to_string();
        (from, to.unwrap_or_else(last))
    }

    fn means(&self, entry: &Entry) -> bool {
        let bare = |text: &str| text.trim_start_matches('<').trim_end_matches('>').to_lowercase();
        let same = |wanted: &Option<String>, has: &Option<String>| match wanted {
            None => true,
            Some(wanted) => has.as_ref().is_some_and(|has| bare(has) == bare(wanted)),
        };
        let mut steps = entry.steps.iter();
        same(&self.message_id, &entry.message_id)
            && same(&self.sender, &entry.sender)
            && same(&self.account, &entry.account)
            && self.recipient.as_ref().is_none_or(|wanted| {
                steps.any(|step| {
                    let of = |key: &str| step[key].as_str().is_some_and(|has| bare(has) == bare(wanted));
                    of("to") || of("orig_to")
                })
            })
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        id: row.get(0)?,
        ended: row.get(1)?,
        sender: row.get(2)?,
        account: row.get(3)?,
        message_id: row.get(4)?,
        steps: row.get(5)?,
        omitted: row.get(6)?,
    })
}

fn entry(record: Record) -> Entry {
    let id = record.id;
    let steps: Vec<Value> = record
        .steps
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.to_owned())))
        .collect();
    let received = ulid::Ulid::from_string(&id).map_or(0, |id| id.timestamp_ms());
    let at = |millisecond: i64| Timestamp::from_millisecond(millisecond).unwrap_or_default();
    Entry {
        received_at: at(received.try_into().unwrap_or(0)),
        ended_at: record.ended.map(at),
        sender: record.sender,
        account: record.account,
        message_id: record.message_id,
        recipients: fates(&id, &steps),
        steps,
        omitted: record.omitted.unsigned_abs(),
        id,
    }
}

/// The last status of each recipient.
fn fates(id: &str, steps: &[Value]) -> BTreeMap<String, Fate> {
    let text = |step: &Value, key: &str| step[key].as_str().unwrap_or_default().to_owned();
    steps
        .iter()
        .filter(|step| step["event"] == "delivery" && step["id"] == id)
        .map(|step| {
            let fate = Fate {
                status: text(step, "status"),
                text: text(step, "text"),
            };
            (text(step, "to"), fate)
        })
        .collect()
}
