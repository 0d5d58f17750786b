//! Large contents, in pieces: in before their message is stored, out into a file of the spool.

use super::client::{Client, query, query_one, run};
use super::error::Error;
use super::param::Params;
use super::servers::NOW;
use super::writer::Shop;
use crate::id::QueueId;
use crate::message::{Body, Message};
use crate::spool::{Spool, file_error};
use crate::store::StoreError;
use parking_lot::Mutex;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::sync::SemaphorePermit;

/// Octets of a piece of a content.
const PIECE: usize = 256 << 10;
/// A content whose message did not come within that time, in milliseconds, was forgotten.
const FORGOTTEN: i64 = 6 * 3_600_000;

/// A large content that is there, or a part of it, without a message so far. Dropped, it is removed soon: whoever gives up a message on its way
/// need not think of it.
///
/// That is safe whatever became of the message, and also while nobody knows: the row in `uploads` goes in the change that stores the message,
/// so one of the two finds it gone. Either the message is there, and its content is not an upload any more, or it never will be.
#[derive(Debug)]
pub(super) struct Upload {
    key: i64,
    unneeded: Arc<Mutex<Vec<i64>>>,
}

impl Upload {
    /// The key for its message.
    pub(super) fn key(&self) -> i64 {
        self.key
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.unneeded.lock().push(self.key);
    }
}

/// Stores a piece, as long as the upload is one: a server that was thought dead, or a statement that comes late, leaves nothing behind. COMMIT
/// does not wait for the disk here: the message is committed later, and with it everything before it in the log.
const STORE_PIECE: &str = "WITH relaxed AS (SELECT set_config('synchronous_commit', 'off', true)),
     still AS (SELECT message FROM uploads WHERE message = $1 FOR KEY SHARE)
     INSERT INTO bodies (message, number, content) SELECT message, $2, $3 FROM still, relaxed";

/// A connection for a large content, and the place that it has among those.
async fn connection(shop: &Shop) -> Result<(Client, SemaphorePermit<'_>), StoreError> {
    let place = shop.large.acquire().await.map_err(|_| StoreError::Closed)?;
    Ok((shop.link.client().await?, place))
}

/// Stores the content of a file.
pub(super) async fn upload(shop: &Shop, path: &Path) -> Result<Upload, StoreError> {
    let (db, _place) = connection(shop).await?;
    let db = &db;
    // The key is known before anything is stored under it: whatever is lost after that, it can be removed.
    let row = query_one(db, "SELECT nextval('message_keys')", &[]).await?;
    let upload = Upload {
        key: row.get(0),
        unneeded: shop.unneeded.clone(),
    };
    let unreadable = |error: &io::Error| file_error(&format!("cannot read {}", path.display()), error);
    let mut file = tokio::fs::File::open(path)
        .await
        .map_err(|error| unreadable(&error))?;
    let begin = format!("INSERT INTO uploads (message, server, begun) VALUES ($1, $2, {NOW})");
    run(db, &begin, &[&upload.key, &shop.me.id]).await?;
    let (mut piece, mut number) = (Vec::with_capacity(PIECE), 0_i32);
    loop {
        piece.clear();
        let mut next = (&mut file).take(PIECE as u64);
        let read = next.read_to_end(&mut piece).await;
        if read.map_err(|error| unreadable(&error))? == 0 {
            return Ok(upload);
        }
        if run(db, STORE_PIECE, &[&upload.key, &number, &piece]).await? == 0 {
            let text =
                "this server was thought dead while a large message was stored: what there was of it is gone";
            return Err(StoreError::Unavailable(text.to_owned()));
        }
        number += 1;
    }
}

/// What stands under these keys and is not of a message. By a statement of its own: it sees the pieces for which the one before had to wait.
const REMOVE_PIECES: &str = "DELETE FROM bodies WHERE message = ANY($1)";

/// Removes contents whose messages are not stored after all.
pub(super) async fn discard(db: &Client, keys: &[i64]) -> Result<(), Error> {
    remove(
        db,
        "DELETE FROM uploads WHERE message = ANY($1) RETURNING message",
        &[&keys],
    )
    .await
}

async fn remove(db: &Client, uploads: &str, params: Params<'_>) -> Result<(), Error> {
    let remove = || async {
        let rows = query(db, uploads, params).await?;
        let gone: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        if !gone.is_empty() {
            run(db, REMOVE_PIECES, &[&gone]).await?;
        }
        Ok(())
    };
    db.change_by_keys(remove).await
}

/// Removes contents whose message never came: of servers that are gone at once.
pub(super) async fn sweep(db: &Client) -> Result<(), Error> {
    let sql = format!(
        "DELETE FROM uploads AS u WHERE begun < {NOW} - $1 OR NOT EXISTS (SELECT 1 FROM servers AS s WHERE s.id = u.server)
         RETURNING message"
    );
    remove(db, &sql, &[&FORGOTTEN]).await
}

/// What is stored of a message's content.
pub(super) enum Content {
    Small(Vec<u8>),
    /// In pieces, of so many octets together; -1 when there is none.
    Large(i64),
    /// The message is not there any more.
    Gone,
}

/// Finds a message's content; a large one is not read yet.
pub(super) async fn find(db: &Client, key: i64, id: QueueId) -> Result<Content, Error> {
    let sql = "SELECT m.content, CASE WHEN m.content IS NULL
                   THEN (SELECT coalesce(sum(octet_length(b.content)), -1)::bigint FROM bodies AS b WHERE b.message = m.key) END
               FROM messages AS m WHERE m.key = $1 AND m.id = $2";
    let rows = query(db, sql, &[&key, &id.to_bytes().as_slice()]).await?;
    let Some(row) = rows.first() else {
        return Ok(Content::Gone);
    };
    Ok(match row.get::<_, Option<Vec<u8>>>(0) {
        Some(content) => Content::Small(content),
        None => Content::Large(row.get::<_, Option<i64>>(1).unwrap_or(-1)),
    })
}

/// Copies a large content into a file that goes when nobody has it any more.
///
/// # Errors
/// [`StoreError::left`] when it went meanwhile: its pieces are asked for one after the other, and an operator may delete the message between two of
/// them. Who had the beginning only would send that.
pub(super) async fn download(shop: &Shop, spool: &Spool, message: &Message) -> Result<Body, StoreError> {
    let (db, _place) = connection(shop).await?;
    let (key, id) = (message.key, message.id);
    let mut writer = spool.writer_for_delivery(id, message.size);
    let failed = |error: io::Error| file_error(&format!("cannot copy the content of {id} here"), &error);
    let sql = "SELECT content FROM bodies WHERE message = $1 AND number = $2";
    for number in 0_i32.. {
        let rows = query(&db, sql, &[&key, &number]).await?;
        let Some(row) = rows.first() else { break };
        writer.write(row.get::<_, &[u8]>(0)).await.map_err(failed)?;
    }
    if writer.size() != message.size {
        return Err(StoreError::left(id));
    }
    writer.finish().await.map_err(failed)
}
