//! Recovery at open: what the last process left when it ended, however it ended.
//!
//! * Its leases are given back: whoever held them is gone. A message that had been sent but whose
//!   result was not written yet is sent again; that duplicate cannot be avoided.
//! * Half-written bodies are removed: their senders were never answered.
//! * Body files without a row were never acknowledged, or are of messages that are gone. They are removed, but only when
//!   this database is the one that they were written for. Beside a new or another database they may be all that is
//!   left of real mail: they go to `quarantine/`. An older copy of the same database cannot be told from it: who restores
//!   one removes `bodies/owner` first (docs/queue-and-delivery.md).

use super::counters::Counters;
use super::error::{file_error, store_error};
use crate::id::QueueId;
use crate::spool::{Folders, sync_folder};
use crate::store::StoreError;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use smtp_observe::{Event, Observer};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

/// Names, in the folder of bodies, the database that they belong to.
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
    folders: &Folders,
    observer: &Observer,
) -> Result<Recovered, StoreError> {
    let start = Instant::now();
    let leases_released = release_leases(db).map_err(|error| store_error(&error))?;
    let unknown = set_aside_unknown_states(db).map_err(|error| store_error(&error))?;
    if unknown > 0 {
        let reason = format!("{unknown} recipients were in no known state");
        observer.emit(Event::Quarantined {
            id: "-",
            reason: &reason,
        });
    }
    let orphan_bodies = clear_bodies(db, folders, observer)?;
    let counters = Counters::count(db).map_err(|error| store_error(&error))?;
    let next_key = next_key(db).map_err(|error| store_error(&error))?;
    let messages = counters.stats().messages;
    let duration = start.elapsed();
    observer.emit(Event::Recovered {
        messages,
        leases_released,
        orphan_bodies,
        duration,
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
                          (SELECT ifnull(max(message), 0) FROM recipients)) + 1";
    db.query_row(sql, [], |row| row.get(0))
}

/// Gives how many body files had no row.
fn clear_bodies(db: &Connection, folders: &Folders, observer: &Observer) -> Result<u64, StoreError> {
    let spool: [u8; 16] = db
        .query_row("SELECT id FROM spool", [], |row| row.get(0))
        .map_err(|error| store_error(&error))?;
    let mark = QueueId::from_bytes(spool).to_string();
    let failed = |error: io::Error| file_error("cannot clear the folder of bodies", &error);
    for file in fs::read_dir(folders.temporary()).map_err(failed)? {
        fs::remove_file(file.map_err(failed)?.path()).map_err(failed)?;
    }
    let owner = folders.bodies().join(OWNER);
    let ours = fs::read_to_string(&owner).is_ok_and(|text| text.trim() == mark);
    let mut orphans = 0;
    for shard in fs::read_dir(folders.bodies()).map_err(failed)? {
        let shard = shard.map_err(failed)?.path();
        if shard.is_dir() && shard != folders.temporary() {
            orphans += clear_shard(db, &shard, folders, ours, observer)?;
        }
    }
    if !ours {
        // Everything found before this mark was set aside, so that from now on orphans are ours.
        write_mark(&owner, &mark, folders).map_err(failed)?;
    }
    Ok(orphans)
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
            set_aside(&file.path(), &folders.quarantine().join(&name)).map_err(failed)?;
            let reason = "its content was found beside a database that does not know it; see quarantine/";
            observer.emit(Event::Quarantined {
                id: &id.to_string(),
                reason,
            });
        }
    }
    Ok(orphans)
}

fn set_aside(from: &Path, to: &Path) -> io::Result<()> {
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

fn write_mark(owner: &Path, mark: &str, folders: &Folders) -> io::Result<()> {
    let mut file = fs::File::create(owner)?;
    writeln!(file, "{mark}")?;
    file.sync_all()?;
    sync_folder(folders.bodies())
}
