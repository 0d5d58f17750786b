//! The file: one row a message, with its steps as lines of JSON, and the terms by which it is found.
//!
//! Terms are kept by the minute in which the message came, so that what is written at a time is written to one place; a search looks into each minute.

use crate::Limits;
use crate::archive::{MAX_STEPS, Old};
use crate::buffer::Batch;
use crate::news::{News, gathered};
use crate::terms::{Field, hash, minute_of};
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use smtp_observe::{Event, Observer};
use std::fmt::Write;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// `PRAGMA user_version` of this schema.
const VERSION: i64 = 1;
const SCHEMA: &str = "
-- Times are milliseconds since 1970.
CREATE TABLE messages (
    key        INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,     -- the queue id
    ended      INTEGER,                     -- when it left the queue
    sender     TEXT,                        -- '' is <>; null while only later steps are known
    account    TEXT,
    message_id TEXT,
    recipients TEXT    NOT NULL,            -- addresses, a line each
    steps      TEXT    NOT NULL,            -- JSON, a line each
    omitted    INTEGER NOT NULL             -- steps that had no room
) STRICT;
CREATE TABLE terms (
    minute INTEGER NOT NULL,                -- in which the message came
    hash   INTEGER NOT NULL,
    key    INTEGER NOT NULL,
    PRIMARY KEY (minute, hash, key)
) STRICT, WITHOUT ROWID;
";
/// Messages forgotten in one transaction.
const FORGET: i64 = 500;
/// Pages of the log that are copied into the database at a time: 32 MiB.
const CHECKPOINT: i64 = 8192;

/// Why something was not written.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It may work the next time.
    Passing(String),
    /// The database is no database any more.
    Damaged(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Trouble {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Trouble::Damaged(error.to_string()),
            _ => Trouble::Passing(error.to_string()),
        }
    }
}

/// The database, for writing.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    /// `None` once it was found damaged and no other could be begun, until one can be.
    db: Option<Connection>,
}

impl Database {
    /// Opens it; what cannot be read is set aside, and another begun.
    pub(crate) fn open(path: &Path, observer: &Observer) -> Result<Database, String> {
        let mut database = Database {
            path: path.to_owned(),
            db: None,
        };
        match connect(path) {
            Ok(db) => database.db = Some(db),
            Err(Trouble::Damaged(error)) => database.begin_anew(&error, observer)?,
            Err(Trouble::Passing(error)) => return Err(format!("{}: {error}", path.display())),
        }
        Ok(database)
    }

    /// Sets the file aside, as it is, and begins another. If that fails, it is tried again whenever there is something to write.
    pub(crate) fn begin_anew(&mut self, error: &str, observer: &Observer) -> Result<(), String> {
        self.db = None;
        let path = &self.path;
        let aside = with_suffix(path, &format!(".damaged-{}", Timestamp::now().as_millisecond()));
        for suffix in ["", "-wal", "-shm"] {
            let (from, to) = (with_suffix(path, suffix), with_suffix(&aside, suffix));
            match std::fs::rename(&from, &to) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(format!("{} cannot be set aside: {error}", from.display()));
                }
                _ => {}
            }
        }
        observer.emit(Event::HistorySetAside {
            path: &aside.display().to_string(),
            error,
        });
        self.db = match connect(path) {
            Ok(db) => Some(db),
            Err(Trouble::Passing(error) | Trouble::Damaged(error)) => {
                return Err(format!("{}: {error}", path.display()));
            }
        };
        Ok(())
    }

    fn db(&mut self) -> Result<&mut Connection, Trouble> {
        let db = match self.db.take() {
            Some(db) => db,
            None => connect(&self.path)?,
        };
        Ok(self.db.insert(db))
    }

    /// Writes a batch, whole or not at all.
    pub(crate) fn write(&mut self, batch: &Batch) -> Result<(), Trouble> {
        let transaction = self.db()?.transaction()?;
        let mut terms = Vec::new();
        for (id, news) in gathered(batch) {
            add(&transaction, id, &news, &mut terms)?;
        }
        // In the order in which they are kept, so that each page is visited once.
        terms.sort_unstable();
        let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO terms VALUES (?1, ?2, ?3)")?;
        for (minute, hash, key) in terms {
            insert.execute(params![minute, hash, key])?;
        }
        drop(insert);
        transaction.commit()?;
        Ok(())
    }

    /// Forgets what ended long ago, and the oldest when there is too much.
    pub(crate) fn forget(&mut self, limits: &Limits, now: Timestamp) -> Result<(), Trouble> {
        let old = Old::now(limits, now);
        let db = self.db()?;
        // Whoever ended before that also came before that.
        let select =
            "SELECT key FROM messages WHERE id < ?1 AND (ended < ?2 OR (ended IS NULL AND id < ?3)) LIMIT ?4";
        let (came, lost) = (old.came_before(), old.lost());
        while remove(db, select, params![came, old.ended_before, lost, FORGET])? > 0 {}
        loop {
            let excess = used(db)?.saturating_sub(limits.max_size);
            if excess == 0 || remove_oldest(db, excess)? == 0 {
                return Ok(());
            }
        }
    }
}

/// Removes the oldest messages that have ended, or the oldest of all when none has: as many as make up for so many octets, so that a few
/// large ones do not take everything with them. Gives how many.
fn remove_oldest(db: &mut Connection, excess: u64) -> Result<usize, Trouble> {
    let excess = i64::try_from(excess).unwrap_or(i64::MAX);
    for which in ["WHERE ended IS NOT NULL", ""] {
        let select = format!(
            "SELECT key FROM (SELECT key, sum(size) OVER (ORDER BY id) - size AS older FROM (
                 SELECT key, id, octet_length(steps) AS size FROM messages {which} ORDER BY id LIMIT ?1))
             WHERE older < ?2"
        );
        let removed = remove(db, &select, params![FORGET, excess])?;
        if removed > 0 {
            return Ok(removed);
        }
    }
    Ok(0)
}

/// Removes the messages that are selected, with their terms. Gives how many.
fn remove(db: &mut Connection, select: &str, params: impl rusqlite::Params) -> Result<usize, Trouble> {
    let transaction = db.transaction()?;
    let keys: Vec<i64> = transaction
        .prepare_cached(select)?
        .query_map(params, |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for key in &keys {
        let mut terms = Vec::new();
        transaction.query_row(
            "SELECT id, sender, account, message_id, recipients FROM messages WHERE key = ?1",
            [key],
            |row| {
                let text = |index| row.get::<_, Option<String>>(index);
                let (id, recipients) = (text(0)?.unwrap_or_default(), text(4)?.unwrap_or_default());
                let minute = minute_of(&id);
                for (field, value) in [
                    (Field::Sender, text(1)?),
                    (Field::Account, text(2)?),
                    (Field::MessageId, text(3)?),
                ] {
                    terms.extend(value.map(|value| (minute, hash(field, &value))));
                }
                terms.extend(
                    recipients
                        .lines()
                        .map(|one| (minute, hash(Field::Recipient, one))),
                );
                Ok(())
            },
        )?;
        for (minute, hash) in terms {
            transaction
                .prepare_cached("DELETE FROM terms WHERE minute = ?1 AND hash = ?2 AND key = ?3")?
                .execute(params![minute, hash, key])?;
        }
        transaction
            .prepare_cached("DELETE FROM messages WHERE key = ?1")?
            .execute([key])?;
    }
    transaction.commit()?;
    Ok(keys.len())
}

/// Octets in use.
fn used(db: &Connection) -> Result<u64, Trouble> {
    let pragma = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok(pages.saturating_mul(pragma("page_size")?).unsigned_abs())
}

/// Adds what is new of a message to its row, and what it is found by from now on to `terms`.
fn add(db: &Connection, id: &str, news: &News<'_>, terms: &mut Vec<(i64, i64, i64)>) -> rusqlite::Result<()> {
    let known = match news.beginning {
        true => Known::default(),
        false => Known::of(db, id)?,
    };
    let is_new = |one: &&String| !known.recipients.lines().any(|other| other == one.as_str());
    let new: Vec<&String> = news.recipients.iter().filter(is_new).collect();
    let recipients: String = new.iter().map(|one| format!("{one}\n")).collect();
    let (steps, omitted) = within(&news.steps, MAX_STEPS.saturating_sub(known.octets));
    let ended = news.ended.then(|| Timestamp::now().as_millisecond());
    let key: i64 = db
        .prepare_cached(
            "INSERT INTO messages (id, ended, sender, account, message_id, recipients, steps, omitted)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (id) DO UPDATE SET
                ended = coalesce(excluded.ended, ended), sender = coalesce(sender, excluded.sender),
                account = coalesce(account, excluded.account), message_id = coalesce(message_id, excluded.message_id),
                recipients = recipients || excluded.recipients, steps = steps || excluded.steps,
                omitted = omitted + excluded.omitted
             RETURNING key",
        )?
        .query_row(
            params![id, ended, news.sender, news.account, news.message_id, recipients, steps, omitted],
            |row| row.get(0),
        )?;
    let minute = minute_of(id);
    let new = new.iter().map(|one| hash(Field::Recipient, one));
    terms.extend(news.terms().chain(new).map(|hash| (minute, hash, key)));
    Ok(())
}

/// Steps as they are kept where there is room for so many octets, and how many had none. How it ended is always told.
fn within(all: &[(&str, bool)], room: usize) -> (String, i64) {
    let (mut steps, mut omitted) = (String::new(), 0);
    for (step, last) in all {
        if steps.len() >= room && !last {
            omitted += 1;
            continue;
        }
        // Writing to a String does not fail.
        let _ = writeln!(steps, "{step}");
    }
    (steps, omitted)
}

/// What is known of a message before a batch.
#[derive(Default)]
struct Known {
    recipients: String,
    octets: usize,
}

impl Known {
    fn of(db: &Connection, id: &str) -> rusqlite::Result<Known> {
        let known = db
            .prepare_cached("SELECT recipients, octet_length(steps) FROM messages WHERE id = ?1")?
            .query_row([id], |row| {
                Ok(Known {
                    recipients: row.get(0)?,
                    octets: row.get::<_, i64>(1)?.unsigned_abs() as usize,
                })
            })
            .optional()?;
        Ok(known.unwrap_or_default())
    }
}

fn connect(path: &Path) -> Result<Connection, Trouble> {
    // Made here rather than by SQLite, so that only its owner can read who writes to whom; its log takes the same mode.
    let made = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    made.map_err(|error| Trouble::Passing(error.to_string()))?;
    let db = Connection::open(path)?;
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        VERSION => {}
        0 => {
            db.pragma_update(None, "page_size", 4096)?;
            db.pragma_update(None, "journal_mode", "WAL")?;
            db.execute_batch(&format!(
                "BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT"
            ))?;
        }
        other => {
            return Err(Trouble::Damaged(format!(
                "its version is {other}, this program knows {VERSION}"
            )));
        }
    }
    // What is lost with the power is the last moments of history.
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
    db.pragma_update(None, "cache_size", -4096)?;
    db.set_prepared_statement_cache_capacity(16);
    Ok(db)
}

/// The path with something behind its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Buffer;
    use std::time::Duration;

    #[test]
    fn what_could_not_be_begun_is_begun_later() {
        let folder = tempfile::tempdir().unwrap();
        let (place, observer) = (folder.path().join("place"), Observer::silent());
        std::fs::create_dir(&place).unwrap();
        let mut database = Database::open(&place.join("history.db"), &observer).unwrap();
        std::fs::remove_dir_all(&place).unwrap();
        database.begin_anew("damaged", &observer).unwrap_err();
        let buffer = Buffer::default();
        buffer.put(&Event::Removed { id: "01J" });
        buffer.stop();
        let (batch, _) = buffer.take(Batch::default(), Duration::ZERO);
        database.write(&batch).unwrap_err();
        std::fs::create_dir(&place).unwrap();
        database.write(&batch).unwrap();
    }
}
