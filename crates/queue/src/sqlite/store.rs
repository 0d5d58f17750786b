//! The contract of a store, kept by operations and questions of the other files.

use super::filter::Condition;
use super::read::{self, Content};
use super::writer::Request;
use super::{SqliteStore, attest, audit, claim, finish, insert, shape, suspensions, tokens};
use crate::id::QueueId;
use crate::limits;
use crate::message::{Attempt, Beginning, Body, Claim, Message, NewMessage, RecipientResult, State};
use crate::operator::{
    Action, ApiToken, AuditRecord, Shape, ShapeBy, Suspension, SuspensionKind, TokenAdded,
};
use crate::parking;
use crate::steady::Steady;
use crate::store::{
    ClaimRequest, Filter, Finished, MessageDetail, MessageSummary, Released, Stats, Store, StoreError, Term,
};
use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::oneshot;

#[async_trait]
impl Store for SqliteStore {
    async fn insert(&self, message: NewMessage, beginning: Beginning) -> Result<Option<Claim>, StoreError> {
        insert::check(&message, &self.spool)?;
        let (asked, now) = (Steady::now(), Timestamp::now());
        let insert = insert::Insert {
            message,
            beginning,
            asked,
            now,
        };
        self.commit(insert).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claim>, StoreError> {
        self.commit(claim::ClaimDue(claim::Wanted::new(request))).await
    }

    async fn renew(&self, attempts: Vec<Attempt>, lease: Term) -> Result<Vec<Attempt>, StoreError> {
        let until = lease.end(self.now());
        self.commit(claim::Renew { attempts, until }).await
    }

    async fn finish(
        &self,
        results: Vec<RecipientResult>,
        reports: Vec<NewMessage>,
    ) -> Result<Finished, StoreError> {
        for report in &reports {
            insert::check(report, &self.spool)?;
        }
        self.commit(finish::Finish { results, reports }).await
    }

    async fn body(&self, message: &Message) -> Result<Body, StoreError> {
        let (spool, asked) = (self.spool.clone(), message.clone());
        let content = self
            .readers
            .ask(move |db| read::content(db, &spool, &asked))
            .await?;
        match read::check_file(content).await? {
            Content::Found(body) => Ok(body),
            Content::Gone => Err(StoreError::left(message.id)),
            Content::Unreadable(reason) => {
                let error = StoreError::quarantined(message.id, &reason);
                self.commit(claim::Quarantine {
                    key: message.key,
                    id: message.id.to_string(),
                    reason,
                })
                .await?;
                Err(error)
            }
        }
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.readers.ask(|db| read::next_due(db, false)).await
    }

    async fn list(
        &self,
        filter: Filter,
        after: Option<QueueId>,
        limit: usize,
    ) -> Result<Vec<MessageSummary>, StoreError> {
        let condition = Condition::new(&filter);
        self.readers
            .ask(move |db| read::list(db, &condition, after, limit))
            .await
    }

    async fn show(&self, id: QueueId) -> Result<Option<MessageDetail>, StoreError> {
        self.readers.ask(move |db| read::show(db, id)).await
    }

    async fn retry(&self, filter: Filter, now: Timestamp) -> Result<u64, StoreError> {
        self.operate(&filter, Action::Retry { now }).await
    }

    async fn delete(&self, filter: Filter) -> Result<u64, StoreError> {
        self.operate(&filter, Action::Delete).await
    }

    async fn hold(&self, filter: Filter) -> Result<u64, StoreError> {
        self.operate(&filter, Action::Hold).await
    }

    async fn unhold(&self, filter: Filter, now: Timestamp) -> Result<u64, StoreError> {
        self.operate(&filter, Action::Unhold { now }).await
    }

    async fn claim_selected(
        &self,
        filter: Filter,
        after: Option<i64>,
        request: ClaimRequest,
    ) -> Result<(Vec<Claim>, Option<i64>), StoreError> {
        let condition = Condition::new(&filter);
        let (found, limit) = (condition.clone(), request.limit.min(limits::OPERATED));
        let after = after.unwrap_or(i64::MIN);
        let keys = self
            .readers
            .ask(move |db| read::keys(db, &found, after, limit))
            .await?;
        let Some(&last) = keys.last() else {
            return Ok((Vec::new(), None));
        };
        let operation = claim::ClaimSelected {
            condition,
            keys,
            wanted: claim::Wanted::new(request),
        };
        Ok((self.commit(operation).await?, Some(last)))
    }

    async fn portion(&self, filter: Filter, limit: usize) -> Result<Option<i64>, StoreError> {
        let condition = Condition::new(&filter);
        let keys = self
            .readers
            .ask(move |db| read::keys(db, &condition, i64::MIN, limit));
        Ok(keys.await?.last().copied())
    }

    async fn count(&self, filter: Filter, states: Vec<State>) -> Result<u64, StoreError> {
        let condition = Condition::new(&filter).in_states(&states);
        self.readers.ask(move |db| read::count(db, &condition)).await
    }

    async fn release(&self, filter: Filter, now: Timestamp) -> Result<Released, StoreError> {
        let quarantined = Condition::new(&filter).in_states(&[State::Quarantined]);
        self.release_readable(quarantined, now).await
    }

    async fn suspend(&self, suspension: Suspension) -> Result<bool, StoreError> {
        self.commit(suspensions::Suspend(suspension)).await
    }

    async fn resume(
        &self,
        kind: SuspensionKind,
        name: String,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        parking::resume(self, kind, &name, now).await
    }

    async fn unpark(&self, kind: SuspensionKind, name: String, now: Timestamp) -> Result<u64, StoreError> {
        parking::unpark(self, kind, &name, now).await
    }

    async fn parked(&self, kind: SuspensionKind, name: String) -> Result<u64, StoreError> {
        parking::count(self, kind, &name).await
    }

    async fn suspensions(&self) -> Result<Vec<Suspension>, StoreError> {
        self.readers.ask(|db| suspensions::all(db)).await
    }

    async fn audit(&self, record: AuditRecord) -> Result<(), StoreError> {
        self.commit(audit::Append(record)).await
    }

    async fn audited(&self, before: Option<i64>, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        self.readers.ask(move |db| audit::page(db, before, limit)).await
    }

    async fn add_token(&self, token: ApiToken) -> Result<TokenAdded, StoreError> {
        self.commit(tokens::Add(token)).await
    }

    async fn remove_token(&self, name: String) -> Result<bool, StoreError> {
        self.commit(tokens::Remove(name)).await
    }

    async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        self.readers.ask(|db| tokens::all(db)).await
    }

    async fn shape(&self, filter: Filter, by: ShapeBy, now: Timestamp) -> Result<Shape, StoreError> {
        let condition = Condition::new(&filter);
        self.readers
            .ask(move |db| shape::shape(db, &condition, by, now))
            .await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        let now = self.now();
        let (oldest, due) = self
            .readers
            .ask(move |db| Ok((read::next_due(db, true)?, read::due(db, now)?)))
            .await?;
        let mut stats = self.counters.lock().stats();
        stats.oldest_due = oldest.filter(|due| *due <= now);
        stats.due = due;
        Ok(stats)
    }

    async fn writable(&self) -> Result<(), StoreError> {
        self.commit(attest::Attest).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        // Readers first: the log can only be folded in when nobody reads it.
        self.readers.close();
        let (reply, answer) = oneshot::channel();
        self.send(Request::Close(reply))?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}
