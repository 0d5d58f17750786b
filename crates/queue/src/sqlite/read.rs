//! Reading beside the writer: a few connections, each question a short transaction, on blocking threads.

use super::error::store_error;
use super::filter::Condition;
use super::row::{self, MESSAGE_COLUMNS, RECIPIENT_COLUMNS};
use crate::id::QueueId;
use crate::limits;
use crate::message::{Body, Message, Recipient};
use crate::spool::{Spool, file_error};
use crate::store::{MessageDetail, MessageSummary, StoreError};
use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params, params_from_iter};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Connections, and so blocking threads, at once.
const READERS: usize = 4;

/// The reading connections. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Readers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    turns: Semaphore,
}

/// A message's content as it was found.
pub(super) enum Content {
    Found(Body),
    /// The message is gone.
    Gone,
    /// It is not there, or not all of it; with the reason.
    Unreadable(String),
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Readers {
            inner: Arc::new(Inner {
                path,
                idle: Mutex::default(),
                turns: Semaphore::new(READERS),
            }),
        }
    }

    /// Answers later questions with [`StoreError::Closed`].
    pub(super) fn close(&self) {
        self.inner.turns.close();
        self.inner.idle.lock().clear();
    }

    /// Asks the database one question.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _turn = self.inner.turns.acquire().await.map_err(|_| StoreError::Closed)?;
        let inner = Arc::clone(&self.inner);
        let answer = tokio::task::spawn_blocking(move || inner.ask(question)).await;
        match answer {
            Ok(answer) => answer.map_err(|error| store_error(&error)),
            Err(error) => Err(StoreError::Unavailable(error.to_string())),
        }
    }
}

impl Inner {
    fn ask<T>(&self, question: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let idle = self.idle.lock().pop();
        let db = match idle {
            Some(db) => db,
            None => self.open()?,
        };
        // A connection that met an error is not used again.
        let answer = {
            let transaction = db.unchecked_transaction()?;
            question(&transaction)?
        };
        if !self.turns.is_closed() {
            self.idle.lock().push(db);
        }
        Ok(answer)
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&self.path, flags)?;
        db.busy_timeout(super::BUSY_TIMEOUT)?;
        db.execute_batch("PRAGMA cache_size = -1024; PRAGMA temp_store = MEMORY;")?;
        Ok(db)
    }
}

/// Keys of messages that a condition holds for, ascending, after a key.
pub(super) fn keys(
    db: &Connection,
    condition: &Condition,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Vec<i64>> {
    let sql = format!(
        "SELECT m.key FROM messages AS m WHERE m.key > ?1 AND {} ORDER BY m.key LIMIT ?{}",
        condition.sql(2),
        condition.after(2)
    );
    let after = condition.behind.map_or(after, |behind| behind.max(after));
    let values = std::iter::once(after.into())
        .chain(condition.values())
        .chain([(limit as i64).into()]);
    let mut statement = db.prepare_cached(&sql)?;
    statement
        .query_map(params_from_iter(values), |row| row.get(0))?
        .collect()
}

/// How many messages a condition holds for.
pub(super) fn count(db: &Connection, condition: &Condition) -> rusqlite::Result<u64> {
    let sql = format!("SELECT count(*) FROM messages AS m WHERE {}", condition.sql(1));
    let count: i64 = db
        .prepare_cached(&sql)?
        .query_row(params_from_iter(condition.values()), |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// One page of a listing.
pub(super) fn list(
    db: &Connection,
    condition: &Condition,
    after: Option<QueueId>,
    limit: usize,
) -> rusqlite::Result<Vec<MessageSummary>> {
    let sql = format!(
        "SELECT {MESSAGE_COLUMNS} FROM messages AS m WHERE m.id > ?1 AND {} ORDER BY m.id LIMIT ?{}",
        condition.sql(2),
        condition.after(2)
    );
    let after = after.map_or_else(Vec::new, |id| id.to_bytes().to_vec());
    let limit = limit.min(limits::LISTED) as i64;
    let values = std::iter::once(after.into())
        .chain(condition.values())
        .chain([limit.into()]);
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        // Without a readable id a message can be neither named nor shown.
        if let Ok(message) = row::message_lenient(row) {
            let recipients = recipients(
                db,
                message.key,
                "state NOT IN (4, 5, 6)",
                limits::LISTED_RECIPIENTS,
            )?;
            page.push(MessageSummary { message, recipients });
        }
    }
    Ok(page)
}

/// One message with all its recipients.
pub(super) fn show(db: &Connection, id: QueueId) -> rusqlite::Result<Option<MessageDetail>> {
    let sql = format!("SELECT {MESSAGE_COLUMNS} FROM messages WHERE id = ?1");
    let found = db
        .prepare_cached(&sql)?
        .query_row([id.to_bytes()], |row| Ok(row::message_lenient(row)))
        .optional()?;
    let Some(Ok(message)) = found else { return Ok(None) };
    let recipients = recipients(db, message.key, "1", i64::MAX)?;
    Ok(Some(MessageDetail { message, recipients }))
}

fn recipients(
    db: &Connection,
    key: i64,
    condition: &'static str,
    limit: i64,
) -> rusqlite::Result<Vec<Recipient>> {
    let sql = format!(
        "SELECT {RECIPIENT_COLUMNS} FROM recipients WHERE message = ?1 AND {condition} ORDER BY idx LIMIT ?2"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map([key, limit], |row| Ok(row::recipient_lenient(row)))?;
    Ok(rows
        .collect::<rusqlite::Result<Vec<_>>>()?
        .into_iter()
        .filter_map(Result::ok)
        .collect())
}

/// When the next recipient is due or the next lease ends; only unclaimed ones with `unclaimed`.
pub(super) fn next_due(db: &Connection, unclaimed: bool) -> rusqlite::Result<Option<Timestamp>> {
    let sql = "SELECT due FROM recipients INDEXED BY recipients_due
               WHERE state <= 2 AND (NOT ?1 OR state <> 1) ORDER BY due LIMIT 1";
    let due: Option<i64> = db
        .prepare_cached(sql)?
        .query_row([unclaimed], |row| row.get(0))
        .optional()?;
    // A time that cannot be read is due: the claim will find it and set it aside.
    Ok(due.map(|due| Timestamp::from_millisecond(due).unwrap_or(Timestamp::UNIX_EPOCH)))
}

/// How many unclaimed recipients are due, up to [`limits::DUE`].
pub(super) fn due(db: &Connection, now: Timestamp) -> rusqlite::Result<u64> {
    let sql = "SELECT count(*) FROM (SELECT 1 FROM recipients INDEXED BY recipients_due
               WHERE state <= 2 AND state <> 1 AND due <= ?1 LIMIT ?2)";
    let count: i64 = db
        .prepare_cached(sql)?
        .query_row(params![now.as_millisecond(), limits::DUE], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Reads a message's content.
pub(super) fn content(db: &Connection, spool: &Spool, message: &Message) -> rusqlite::Result<Content> {
    let in_file: Option<bool> = db
        .prepare_cached("SELECT in_file FROM messages WHERE key = ?1 AND id = ?2")?
        .query_row(params![message.key, message.id.to_bytes()], |row| row.get(0))
        .optional()?;
    let Some(in_file) = in_file else {
        return Ok(Content::Gone);
    };
    if in_file {
        return Ok(Content::Found(Body::file(
            spool.body_path(message.id),
            message.size,
        )));
    }
    let found: Option<Vec<u8>> = db
        .prepare_cached("SELECT content FROM bodies WHERE message = ?1")?
        .query_row([message.key], |row| row.get(0))
        .optional()?;
    Ok(match found {
        Some(bytes) if bytes.len() as u64 == message.size => {
            Content::Found(Body::Memory(spool.read_back(bytes)))
        }
        Some(bytes) => Content::Unreadable(wrong_size("its content", bytes.len() as u64, message.size)),
        None => Content::Unreadable("its content is missing from the database".to_owned()),
    })
}

/// Looks whether a body's file is there, whole.
pub(super) async fn check_file(content: Content) -> Result<Content, StoreError> {
    let Content::Found(Body::File { path, size, .. }) = &content else {
        return Ok(content);
    };
    match tokio::fs::metadata(path).await {
        Ok(file) if file.len() == *size => Ok(content),
        Ok(file) => {
            let what = format!("its content {}", path.display());
            Ok(Content::Unreadable(wrong_size(&what, file.len(), *size)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Content::Unreadable(format!(
            "its content {} is missing",
            path.display()
        ))),
        // Too many open files, a failing disk: that is not the message's fault.
        Err(error) => Err(file_error(&format!("cannot look at {}", path.display()), &error)),
    }
}

fn wrong_size(what: &str, found: u64, expected: u64) -> String {
    format!("{what} has {found} octets and should have {expected}")
}
