//! Large contents, in pieces: in before their message is stored, out into a file of the spool.

use super::error::Error;
use super::link::{Client, query, query_one, run};
use super::servers::NOW;
use super::writer::Shop;
use crate::id::QueueId;
use crate::message::Body;
use crate::spool::{Spool, file_error};
use crate::store::StoreError;
use std::io;
use std::path::Path;
use tokio::io::AsyncReadExt;

/// Octets of a piece of a content.
const PIECE: usize = 256 << 10;
/// A content whose message did not come within that time, in milliseconds, was forgotten.
const FORGOTTEN: i64 = 6 * 3_600_000;

/// Stores the content of a file. Gives the key for its message.
///
/// COMMIT does not wait for the disk here: the message is committed later, and with it everything before it in the log.
pub(super) async fn upload(db: &Client, shop: &Shop, path: &Path) -> Result<i64, StoreError> {
    // The key is known before anything is stored under it: whatever is lost after that, it can be removed.
    let row = query_one(db, "SELECT nextval('message_keys')", &[]).await?;
    let key: i64 = row.get(0);
    let begin = format!("INSERT INTO uploads (message, server, begun) VALUES ($1, $2, {NOW})");
    let sql = "WITH relaxed AS (SELECT set_config('synchronous_commit', 'off', true))
               INSERT INTO bodies (message, number, content) SELECT $1, $2, $3 FROM relaxed";
    let unreadable = |error: &io::Error| file_error(&format!("cannot read {}", path.display()), error);
    let sent = async {
        let mut file = tokio::fs::File::open(path)
            .await
            .map_err(|error| unreadable(&error))?;
        run(db, &begin, &[&key, &shop.server]).await?;
        let (mut piece, mut number) = (Vec::with_capacity(PIECE), 0_i32);
        loop {
            piece.clear();
            let mut next = (&mut file).take(PIECE as u64);
            if next
                .read_to_end(&mut piece)
                .await
                .map_err(|error| unreadable(&error))?
                == 0
            {
                return Ok(key);
            }
            run(db, sql, &[&key, &number, &piece]).await?;
            number += 1;
        }
    };
    let sent: Result<i64, StoreError> = sent.await;
    if sent.is_err() {
        shop.unneeded.lock().push(key);
    }
    sent
}

/// Removes contents whose messages are not stored after all.
pub(super) async fn discard(db: &Client, keys: &[i64]) -> Result<(), Error> {
    let sql = "WITH gone AS (DELETE FROM uploads WHERE message = ANY($1) RETURNING message)
               DELETE FROM bodies AS b USING gone WHERE b.message = gone.message";
    run(db, sql, &[&keys]).await?;
    Ok(())
}

/// Removes contents whose message never came: of servers that are gone at once.
pub(super) async fn sweep(db: &Client) -> Result<(), Error> {
    let sql = format!(
        "WITH gone AS (DELETE FROM uploads AS u WHERE begun < {NOW} - $1 OR NOT EXISTS (SELECT 1 FROM servers AS s WHERE s.id = u.server)
                   RETURNING message)
         DELETE FROM bodies AS b USING gone WHERE b.message = gone.message"
    );
    run(db, &sql, &[&FORGOTTEN]).await?;
    Ok(())
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
pub(super) async fn download(db: &Client, spool: &Spool, key: i64, id: QueueId) -> Result<Body, StoreError> {
    let mut writer = spool.writer(id);
    let failed = |error: io::Error| file_error(&format!("cannot copy the content of {id} here"), &error);
    let sql = "SELECT content FROM bodies WHERE message = $1 AND number = $2";
    for number in 0_i32.. {
        let rows = query(db, sql, &[&key, &number]).await?;
        let Some(row) = rows.first() else { break };
        writer.write(row.get::<_, &[u8]>(0)).await.map_err(failed)?;
    }
    writer.finish().await.map_err(failed)
}
