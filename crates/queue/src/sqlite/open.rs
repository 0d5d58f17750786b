//! Opening the store: the file system, the lock, the database and its schema.

use super::error::store_error;
use super::{BUSY_TIMEOUT, SqliteSettings};
use crate::id::QueueId;
use crate::spool::{file_error, make_folder, sync_folder};
use crate::store::StoreError;
use nix::sys::statfs::statfs;
use rusqlite::{Connection, OpenFlags};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Each brings the schema from the version that is its index to the next.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0006.sql"),
    include_str!("migrations/0007.sql"),
];
/// Statements kept prepared; all that the writer has.
const STATEMENTS: usize = 64;
/// Octets of a database page. With bodies of 5 KiB, 4096, 8192 and 16384 were equally fast in
/// `examples/commit_rate.rs`, but wrote 7.4, 11.4 and 13.4 KiB for each message stored and deleted.
const PAGE_SIZE: u32 = 4096;

/// File systems whose locks or syncs do not hold between machines or are somebody else's promise,
/// by the `f_type` of statfs(2).
const REFUSED: &[(u32, &str)] = &[
    (0x0000_6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0000_517b, "SMB"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "kAFS"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
    (0x6573_5546, "FUSE"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x7375_7245, "Coda"),
    (0x0000_564c, "NCP"),
    (0x1976_0927, "OrangeFS"),
    (0xaad7_aaea, "PanFS"),
    (0x013111a8, "IBRIX"),
    (0x786f_4256, "VirtualBox shared folder"),
    (0xbacb_acbc, "VMware shared folder"),
];

/// Makes the spool's folder, readable by its owner only, and refuses one that is not on a local disk.
pub(super) fn prepare_folder(folder: &Path) -> Result<(), StoreError> {
    make_folder(folder).map_err(|error| {
        file_error(
            &format!(
                "cannot create the spool's folder {} (storage.path)",
                folder.display()
            ),
            &error,
        )
    })?;
    let system = statfs(folder).map_err(|error| {
        file_error(
            &format!("cannot ask for the file system of {}", folder.display()),
            &error.into(),
        )
    })?;
    #[allow(
        clippy::unnecessary_cast,
        reason = "the type differs between platforms; the number has 32 bits"
    )]
    match refused(system.filesystem_type().0 as u32) {
        None => Ok(()),
        Some(name) => Err(StoreError::Unsuitable(format!(
            "{} is on a network or user-space file system ({name}), where neither locks nor syncs can be relied \
             on: set storage.path to a local disk or a block volume, or storage.url to a PostgreSQL database",
            folder.display()
        ))),
    }
}

pub(super) fn refused(file_system: u32) -> Option<&'static str> {
    REFUSED
        .iter()
        .find(|(number, _)| *number == file_system)
        .map(|(_, name)| *name)
}

/// Opens the database for writing and brings its schema up to date.
pub(super) fn database(settings: &SqliteSettings, folder: &Path) -> Result<Connection, StoreError> {
    let path = &settings.path;
    // Made here rather than by SQLite, so that only its owner can read it; its log takes the same mode.
    let created = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    created.map_err(|error| file_error(&format!("cannot open {}", path.display()), &error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags).map_err(|error| store_error(&error))?;
    configure(&db).map_err(|error| named(path, &error))?;
    migrate(&mut db, path)?;
    // The name of a new database has to survive as its content does.
    sync_folder(folder).map_err(|error| file_error(&format!("cannot sync {}", folder.display()), &error))?;
    Ok(db)
}

fn named(path: &Path, error: &rusqlite::Error) -> StoreError {
    match store_error(error) {
        StoreError::Damaged(text) => StoreError::Damaged(format!("{}: {text}", path.display())),
        StoreError::Unavailable(text) => StoreError::Unavailable(format!("{}: {text}", path.display())),
        other => other,
    }
}

fn configure(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    // Takes effect on a new database only.
    db.pragma_update(None, "page_size", PAGE_SIZE)?;
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        // SQLite says so instead of failing, and with a rollback journal FULL promises less.
        return Err(rusqlite::Error::InvalidParameterName(format!(
            "its disk does not support write-ahead logging (journal_mode is {mode})"
        )));
    }
    db.execute_batch(
        // FULL: COMMIT returns after the log is synced. This line is the promise.
        "PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = OFF;
         PRAGMA cache_size = -8192;
         PRAGMA temp_store = MEMORY;",
    )?;
    // The writer copies the log when nobody waits; this is for one huge transaction only.
    db.pragma_update_and_check(None, "wal_autocheckpoint", 16_384, |_| Ok(()))?;
    // The log keeps its size to here: room to work in when the disk is full.
    db.pragma_update_and_check(None, "journal_size_limit", 64 * 1024 * 1024, |_| Ok(()))?;
    Ok(())
}

/// Runs the migrations that the database has not seen, each in a transaction with its number.
fn migrate(db: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let stored: i64 = db
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| named(path, &error))?;
    let version = usize::try_from(stored).unwrap_or(usize::MAX);
    if version > MIGRATIONS.len() {
        return Err(StoreError::Damaged(format!(
            "{} was written by a newer version (schema {stored}, this one knows {}): run that version, or drain \
             the queue with it before going back",
            path.display(),
            MIGRATIONS.len()
        )));
    }
    if version == 0 {
        refuse_foreign(db, path)?;
    }
    for (number, sql) in (1..).zip(MIGRATIONS).skip(version) {
        step(db, number, sql).map_err(|error| named(path, &error))?;
    }
    Ok(())
}

fn refuse_foreign(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let tables: i64 = db
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|error| named(path, &error))?;
    if tables == 0 {
        return Ok(());
    }
    let text = format!(
        "{} is a database, but not a mail spool: set storage.path to another file",
        path.display()
    );
    Err(StoreError::Damaged(text))
}

fn step(db: &mut Connection, number: i64, sql: &str) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    transaction.execute_batch(sql)?;
    if number == 1 {
        transaction.execute(
            "INSERT INTO spool (id) VALUES (?1)",
            [QueueId::generate().to_bytes()],
        )?;
    }
    transaction.pragma_update(None, "user_version", number)?;
    transaction.commit()
}
