//! Recovery at open: what the last process left when it ended, however it ended.
//!
//! * Its leases are given back: whoever held them is gone. A message that had been sent but whose
//!   result was not written yet is sent again; that duplicate cannot be avoided.
//! * Half-written bodies are removed: their senders were never answered.
//! * Body files without a row were never acknowledged, or are of messages that are gone. They are removed, but only when
//!   this database is the one that they were written for. Beside a new, another or an older database they may be all
//!   that is left of real mail: they go to `quarantine/`, the log warns, and the database that knows them finds them there.
//!
//! How the databases are told apart: every start gives the database a new mark and writes it beside the bodies too. So an
//! older copy has an older mark. A copy made while a server ran has the mark of that run: who restores one into
//! the same folder before the next start removes `bodies/owner` first (docs/queue-and-delivery.md).

use super::counters::Counters;
use super::error::store_error;
use super::outbox;
use crate::id::QueueId;
use crate::spool::{Folders, file_error, sync_folder};
use crate::store::StoreError;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use smtp_observe::{Event, Observer};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

/// Holds, in the folder of bodies, the mark of the database that they belong to.
const OWNER: &str = "owner";

/// What recovery found.
pub(super) struct Recovered {
    pub(super) counters: Counters,
    /// Above every key in use.
    pub(super) next_key: i64,
}

/// Recovers, and reports what it found.
pub(super) fn recover(
    db: &Connection,
    path: &Path,
    folders: &Folders,
    observer: &Observer,
) -> Result<Recovered, StoreError> {
    let start = Instant::now();
    let leases_released = release_leases(db).map_err(|error| store_error(&error))?;
    outbox::release_claims(db).map_err(|error| store_error(&error))?;
    let unknown = set_aside_unknown_states(db).map_err(|error| store_error(&error))?;
    if unknown > 0 {
        let reason = format!("{unknown} recipients were in no known state");
        observer.emit(Event::Quarantined {
            id: "-",
            reason: &reason,
        });
    }
    let bodies = recover_bodies(db, folders, observer)?;
    let counters = Counters::count(db).map_err(|error| store_error(&error))?;
    let next_key = next_key(db).map_err(|error| store_error(&error))?;
    let messages = counters.stats().messages;
    if bodies.replaced {
        observer.emit(Event::DatabaseReplaced {
            database: &path.display().to_string(),
            messages,
            set_aside: bodies.orphans,
            taken_back: bodies.taken_back,
        });
    }
    observer.emit(Event::Recovered {
        messages,
        leases_released,
        orphan_bodies: bodies.orphans,
        duration: start.elapsed(),
    });
    Ok(Recovered { counters, next_key })
}

fn release_leases(db: &Connection) -> rusqlite::Result<u64> {
    let sql = "UPDATE recipients SET state = iif(attempts = 0, 0, 2), due = ?1
               WHERE state <= 2 AND state = 1";
    Ok(db.execute(sql, [Timestamp::now().as_millisecond()])? as u64)
}

fn set_aside_unknown_states(db: &Connection) -> rusqlite::Result<u64> {
    let sql = "UPDATE recipients SET last_result = 'in state ' || state || ', which is unknown', state = 7
               WHERE state NOT BETWEEN 0 AND 7";
    Ok(db.execute(sql, [])? as u64)
}

fn next_key(db: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT max((SELECT ifnull(max(key), 0) FROM messages),
                          (SELECT ifnull(max(message), 0) FROM bodies),
                          (SELECT ifnull(max(message), 0) FROM recipients),
                          (SELECT ifnull(max(key), 0) FROM webhook_calls)) + 1";
    db.query_row(sql, [], |row| row.get(0))
}

/// What was found in the folder of bodies.
struct Bodies {
    /// It was last used with another database.
    replaced: bool,
    /// Files without a row, removed or set aside.
    orphans: u64,
    /// Files that had been set aside, and whose row is there.
    taken_back: u64,
}

fn recover_bodies(db: &Connection, folders: &Folders, observer: &Observer) -> Result<Bodies, StoreError> {
    let failed = |error: io::Error| file_error("cannot clear the folder of bodies", &error);
    folders.clear_temporary().map_err(failed)?;
    let mark: [u8; 16] = db
        .query_row("SELECT id FROM spool", [], |row| row.get(0))
        .map_err(|error| store_error(&error))?;
    let mark = QueueId::from_bytes(mark).to_string();
    let owners = fs::read_to_string(folders.bodies().join(OWNER)).unwrap_or_default();
    let ours = owners.lines().any(|owner| owner.trim() == mark);
    let taken_back = take_back(db, folders)?;
    let mut orphans = 0;
    for shard in fs::read_dir(folders.bodies()).map_err(failed)? {
        let shard = shard.map_err(failed)?.path();
        if shard.is_dir() && shard != folders.temporary() {
            orphans += clear_shard(db, &shard, folders, ours, observer)?;
        }
    }
    // Everything that is not ours was set aside before this, so that from now on orphans are ours. Without a new mark
    // (the disk is full) the old one stays good, and delivery can make room.
    if let Err(error) = renew_mark(db, &mark, folders) {
        observer.emit(Event::StoreFailed {
            operation: "mark",
            error: &error.to_string(),
        });
    }
    Ok(Bodies {
        replaced: !ours && (!owners.is_empty() || orphans > 0),
        orphans,
        taken_back,
    })
}

/// Puts bodies that were set aside back in their places, if this database knows them.
fn take_back(db: &Connection, folders: &Folders) -> Result<u64, StoreError> {
    let failed = |error: io::Error| file_error("cannot look through quarantine/", &error);
    let mut taken_back = 0;
    for file in fs::read_dir(folders.quarantine()).map_err(failed)? {
        let file = file.map_err(failed)?;
        let Some(id) = file.file_name().to_str().and_then(QueueId::parse) else {
            continue;
        };
        let place = folders.body(id);
        if !place.exists() && is_stored(db, id).map_err(|error| store_error(&error))? {
            let shard = place.parent().unwrap_or(folders.bodies());
            fs::create_dir_all(shard).map_err(failed)?;
            sync_folder(folders.bodies()).map_err(failed)?;
            move_durably(&file.path(), &place).map_err(failed)?;
            taken_back += 1;
        }
    }
    Ok(taken_back)
}

fn clear_shard(
    db: &Connection,
    shard: &Path,
    folders: &Folders,
    ours: bool,
    observer: &Observer,
) -> Result<u64, StoreError> {
    let failed = |error: io::Error| file_error(&format!("cannot clear {}", shard.display()), &error);
    let mut orphans = 0;
    for file in fs::read_dir(shard).map_err(failed)? {
        let file = file.map_err(failed)?;
        let name = file.file_name();
        // What we did not name we do not touch.
        let Some(id) = name.to_str().and_then(QueueId::parse) else {
            continue;
        };
        if is_stored(db, id).map_err(|error| store_error(&error))? {
            continue;
        }
        orphans += 1;
        if ours {
            fs::remove_file(file.path()).map_err(failed)?;
        } else {
            move_durably(&file.path(), &folders.quarantine().join(&name)).map_err(failed)?;
            let reason = "its content was found beside a database that does not know it; see quarantine/";
            observer.emit(Event::Quarantined {
                id: &id.to_string(),
                reason,
            });
        }
    }
    Ok(orphans)
}

fn move_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    to.parent().map_or(Ok(()), sync_folder)
}

fn is_stored(db: &Connection, id: QueueId) -> rusqlite::Result<bool> {
    let mut statement = db.prepare_cached("SELECT 1 FROM messages WHERE id = ?1 AND in_file = 1")?;
    Ok(statement
        .query_row([id.to_bytes()], |_| Ok(()))
        .optional()?
        .is_some())
}

/// Gives the database and its bodies a new mark. Until the database has it, both are good: a crash in between does
/// not part them.
fn renew_mark(db: &Connection, old: &str, folders: &Folders) -> Result<(), StoreError> {
    let failed = |error: io::Error| file_error("cannot write bodies/owner", &error);
    let id = QueueId::generate();
    let new = id.to_string();
    write_mark(&format!("{old}\n{new}\n"), folders).map_err(failed)?;
    db.execute("UPDATE spool SET id = ?1", [id.to_bytes()])
        .map_err(|error| store_error(&error))?;
    write_mark(&format!("{new}\n"), folders).map_err(failed)
}

fn write_mark(marks: &str, folders: &Folders) -> io::Result<()> {
    let written = folders.bodies().join("owner.new");
    let mut file = fs::File::create(&written)?;
    file.write_all(marks.as_bytes())?;
    file.sync_all()?;
    move_durably(&written, &folders.bodies().join(OWNER))
}
