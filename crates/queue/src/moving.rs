//! Moves everything from one store to another: queue, directory, suspensions, tokens, what webhooks are to be told.
//!
//! Portion by portion: what is in the new store is taken from the old one. Broken off at any moment it goes on where it was: what is in
//! both is not stored twice. Neither store may be in use meanwhile, or what was delivered from the new one would come again.

use crate::id::QueueId;
use crate::limits;
use crate::message::{Beginning, Body, NewMessage, NewRecipient};
use crate::operator::TokenAdded;
use crate::outbox::{CallOutcome, CallResult, MOST_CALLS, NewCall, Outbox};
use crate::spool::Spool;
use crate::store::{Filter, MessageDetail, StoreError, Unreadable};
use jiff::{SignedDuration, Timestamp};
use smtp_directory::{Edit, Shelf, ShelfError};
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Messages in a portion.
const PORTION: usize = 100;
/// Octets of a large content that are copied at a time.
const BLOCK: usize = 256 << 10;
/// How long calls are claimed that are being moved.
const CLAIM: Duration = Duration::from_secs(600);

/// A store to move from or to.
pub struct Side {
    /// Its queue, and what webhooks are to be told.
    pub outbox: Arc<dyn Outbox>,
    /// Its directory.
    pub shelf: Arc<dyn Shelf>,
    /// Where bodies are written for it.
    pub spool: Spool,
}

/// What was moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Messages.
    pub messages: u64,
    /// Those that were in the new store already: an earlier attempt was broken off.
    pub already: u64,
    /// Records of the directory.
    pub records: u64,
    /// Suspensions and tokens of the admin API.
    pub settings: u64,
    /// Calls of webhooks.
    pub calls: u64,
    /// Messages that stay where they are, because they cannot be read.
    pub left: Vec<Unreadable>,
}

/// Moves everything. `tell` is told how far it is, after each portion.
///
/// # Errors
/// The stores'; [`StoreError::Unsuitable`] when the new store's directory has an object of the old one's name with other contents, or when the new
/// store has no room for a suspension or a token: without it mail would go that is to wait. No message was moved then.
pub async fn move_all(from: &Side, to: &Side, mut tell: impl FnMut(&Moved)) -> Result<Moved, StoreError> {
    let mut moved = Moved {
        records: directory(from, to).await?,
        settings: settings(from, to).await?,
        ..Moved::default()
    };
    let mut after = None;
    loop {
        let page = from.outbox.list(Filter::default(), after, PORTION).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.message.id);
        let mut there = Vec::with_capacity(page.len());
        for summary in page {
            let id = summary.message.id;
            match message(from, to, id).await? {
                Step::Moved => moved.messages += 1,
                Step::Already => moved.already += 1,
                Step::Gone => continue,
                Step::Unreadable(reason) => {
                    moved.left.push(Unreadable {
                        id: id.to_string(),
                        reason,
                    });
                    continue;
                }
            }
            there.push(id);
        }
        if !there.is_empty() {
            let filter = Filter {
                ids: there,
                ..Filter::default()
            };
            from.outbox.delete(filter).await?;
        }
        tell(&moved);
    }
    moved.calls = calls(from, to).await?;
    Ok(moved)
}

enum Step {
    Moved,
    Already,
    Gone,
    Unreadable(String),
}

async fn message(from: &Side, to: &Side, id: QueueId) -> Result<Step, StoreError> {
    let Some(detail) = from.outbox.show(id).await? else {
        return Ok(Step::Gone);
    };
    if to.outbox.show(id).await?.is_some() {
        return Ok(Step::Already);
    }
    // What is shown to people in place of what cannot be read is not moved as if it were that.
    let spoilt = detail.message.options.origin.starts_with("unreadable (");
    let spoilt = spoilt
        || detail
            .recipients
            .iter()
            .any(|one| one.address.as_str() == "unreadable@invalid");
    if spoilt || detail.recipients.is_empty() {
        return Ok(Step::Unreadable("its envelope cannot be read".into()));
    }
    let body = match from.outbox.body(&detail.message).await {
        Ok(body) => copy(&body, &to.spool, id).await?,
        Err(StoreError::Damaged(reason)) => return Ok(Step::Unreadable(reason)),
        Err(error) => return Err(error),
    };
    let (new, beginning) = as_new(detail, body, Apart::between(from, to));
    to.outbox.insert(new, beginning).await?;
    Ok(Step::Moved)
}

/// How far the clock of one store is ahead of another's: what is due in an hour there is due in an hour here.
#[derive(Clone, Copy)]
struct Apart(SignedDuration);

impl Apart {
    /// Less than a second is none: what is in both stores then is alike to the millisecond.
    fn between(from: &Side, to: &Side) -> Apart {
        let apart = to.outbox.now().duration_since(from.outbox.now());
        let seconds = apart.as_millis() / 1000;
        Apart(SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(0)))
    }

    fn there(self, time: Timestamp) -> Timestamp {
        time.saturating_add(self.0).unwrap_or(time)
    }
}

fn as_new(detail: MessageDetail, body: Body, apart: Apart) -> (NewMessage, Beginning) {
    let (message, mut recipients) = (detail.message, detail.recipients);
    recipients.sort_by_key(|one| one.index);
    for one in &mut recipients {
        one.due = apart.there(one.due);
    }
    let new = NewMessage {
        id: message.id,
        received_at: apart.there(message.received_at),
        sender: message.sender,
        options: message.options,
        recipients: recipients
            .iter()
            .map(|one| NewRecipient {
                address: one.address.clone(),
                notify: one.notify,
                orcpt: one.orcpt.clone(),
            })
            .collect(),
        body,
    };
    (new, Beginning::AsBefore(recipients))
}

/// A body as the new store wants it.
async fn copy(body: &Body, spool: &Spool, id: QueueId) -> Result<Body, StoreError> {
    let failed =
        |error: io::Error| crate::spool::file_error(&format!("cannot copy the content of {id}"), &error);
    let path = match body {
        Body::Memory(octets) => return Ok(Body::Memory(octets.clone())),
        Body::File { path, .. } => path,
    };
    let mut writer = spool.writer(id);
    let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut block = vec![0; BLOCK];
    loop {
        let count = file.read(&mut block).await.map_err(failed)?;
        match block.get(..count) {
            None | Some([]) => break,
            Some(read) => writer.write(read).await.map_err(failed)?,
        }
    }
    writer.finish().await.map_err(failed)
}

/// Moves the directory: what the new one has not. Nothing is taken from the old one, which is of no use without its queue.
async fn directory(from: &Side, to: &Side) -> Result<u64, StoreError> {
    let unavailable = |error: ShelfError| StoreError::Unavailable(error.to_string());
    let (old, new) = (
        from.shelf.load().await.map_err(unavailable)?,
        to.shelf.load().await.map_err(unavailable)?,
    );
    let mut edits = Vec::new();
    for record in old.records {
        let same = new
            .records
            .iter()
            .find(|one| one.kind == record.kind && one.name == record.name);
        match same {
            None => edits.push(Edit::Put(record)),
            Some(there) if there.value == record.value => {}
            Some(_) => {
                return Err(StoreError::Unsuitable(format!(
                    "both directories have {} {}, and not alike: remove one of them first",
                    record.kind.word(),
                    record.name
                )));
            }
        }
    }
    let count = edits.len() as u64;
    if count > 0 {
        to.shelf.apply(new.revision, edits).await.map_err(unavailable)?;
    }
    Ok(count)
}

async fn settings(from: &Side, to: &Side) -> Result<u64, StoreError> {
    let mut count = 0;
    let there = to.outbox.suspensions().await?;
    let apart = Apart::between(from, to);
    for mut suspension in from.outbox.suspensions().await? {
        suspension.since = apart.there(suspension.since);
        suspension.until = suspension.until.map(|until| apart.there(until));
        if there.contains(&suspension) {
            continue;
        }
        let what = format!("suspension of {} {}", suspension.kind.name(), suspension.name);
        if !to.outbox.suspend(suspension).await? {
            return Err(no_room(&what, limits::SUSPENSIONS));
        }
        count += 1;
    }
    for token in from.outbox.tokens().await? {
        let what = format!("token {}", token.name);
        match to.outbox.add_token(token).await? {
            TokenAdded::Added => count += 1,
            // It stays as it is.
            TokenAdded::Exists => {}
            TokenAdded::TooMany => return Err(no_room(&what, limits::TOKENS)),
        }
    }
    Ok(count)
}

fn no_room(what: &str, most: impl Display) -> StoreError {
    StoreError::Unsuitable(format!(
        "the new database has no room for the {what}: it has {most} of them already; remove some first"
    ))
}

/// Moves what webhooks are to be told, due as soon as there is somebody to tell it.
async fn calls(from: &Side, to: &Side) -> Result<u64, StoreError> {
    let mut count = 0;
    for waiting in from.outbox.calls_waiting().await? {
        loop {
            let (webhook, now) = (waiting.webhook.clone(), from.outbox.now());
            from.outbox.retry_calls(webhook.clone(), now).await?;
            let claimed = from
                .outbox
                .claim_calls(webhook.clone(), now, CLAIM, PORTION)
                .await?;
            if claimed.is_empty() {
                break;
            }
            let new = claimed.iter().map(|call| NewCall {
                webhook: webhook.clone(),
                event: call.event,
                body: call.body.clone(),
            });
            let left = to.outbox.add_calls(new.collect()).await?;
            // Those that are there now are known when they come again.
            let outcome = if left > 0 {
                CallOutcome::Released(now)
            } else {
                CallOutcome::Done
            };
            let done = claimed.iter().map(|call| CallResult {
                key: call.key,
                tries: call.tries,
                outcome,
            });
            from.outbox.finish_calls(done.collect()).await?;
            if left > 0 {
                return Err(no_room(&format!("calls of webhook {webhook}"), MOST_CALLS));
            }
            count += claimed.len() as u64;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::{ApiToken, Suspension, SuspensionKind};
    use crate::sqlite::{SqliteSettings, SqliteStore};
    use futures_util::future::join_all;
    use smtp_observe::Observer;
    use std::path::Path;

    fn side(folder: &Path) -> Side {
        let settings = SqliteSettings {
            path: folder.join("smtp.db"),
            min_free: 0,
            memory_budget: 1 << 20,
        };
        let (store, spool) = SqliteStore::open(settings, Observer::silent()).unwrap();
        Side {
            outbox: store.clone(),
            shelf: store,
            spool,
        }
    }

    async fn suspend(side: &Side, number: i64) {
        let suspension = Suspension {
            kind: SuspensionKind::Domain,
            name: format!("d{number}.example"),
            reason: String::new(),
            who: "admin".into(),
            since: Timestamp::UNIX_EPOCH,
            until: None,
        };
        assert!(side.outbox.suspend(suspension).await.unwrap());
    }

    async fn add_token(side: &Side, number: i64) {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        let token = ApiToken {
            name: format!("t{number}"),
            hash,
            scope: "read".into(),
            created: Timestamp::UNIX_EPOCH,
            created_by: "admin".into(),
            expires: None,
        };
        assert_eq!(side.outbox.add_token(token).await.unwrap(), TokenAdded::Added);
    }

    #[tokio::test]
    async fn what_has_no_room_is_not_left_out_in_silence() {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [from, to] = folders.each_ref().map(|folder| side(folder.path()));
        add_token(&from, -1).await;
        join_all((0..limits::TOKENS).map(|number| add_token(&to, number))).await;
        let refused = move_all(&from, &to, |_| {}).await.unwrap_err().to_string();
        assert!(
            refused.contains("token t-1") && refused.contains("1000"),
            "{refused}"
        );
        suspend(&from, -1).await;
        join_all((0..limits::SUSPENSIONS).map(|number| suspend(&to, number))).await;
        let refused = move_all(&from, &to, |_| {}).await.unwrap_err().to_string();
        assert!(refused.contains("domain d-1.example"), "{refused}");
    }

    #[tokio::test]
    async fn calls_that_have_no_room_stay_where_they_are() {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [from, to] = folders.each_ref().map(|folder| side(folder.path()));
        let new = |number: u64| NewCall {
            webhook: "told".into(),
            event: QueueId::generate(),
            body: number.to_string(),
        };
        let many = to.outbox.add_calls((0..MOST_CALLS).map(new).collect()).await;
        assert_eq!(many.unwrap(), 0);
        from.outbox.add_calls(vec![new(1), new(2)]).await.unwrap();
        let refused = move_all(&from, &to, |_| {}).await.unwrap_err().to_string();
        assert!(
            refused.contains("webhook told") && refused.contains("100000"),
            "{refused}"
        );
        let (told, now) = ("told".to_owned(), from.outbox.now());
        let left = from.outbox.claim_calls(told, now, CLAIM, 9).await;
        assert_eq!(left.unwrap().len(), 2, "due, and nobody's");
    }
}
