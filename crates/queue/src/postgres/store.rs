//! The contract of a store, kept by statements of the other files.

use super::bodies::{self, Content};
use super::client::query_durably;
use super::filter::Condition;
use super::hints::{self, Hint};
use super::insert::Insert;
use super::{PostgresStore, claim, operate, read, records, servers};
use crate::id::QueueId;
use crate::limits;
use crate::message::{Attempt, Beginning, Body, Claim, Message, NewMessage, RecipientResult, State};
use crate::operator::{
    Action, ApiToken, AuditRecord, Shape, ShapeBy, Suspension, SuspensionKind, TokenAdded,
};
use crate::parking;
use crate::steady::Steady;
use crate::store::{
    ClaimRequest, Filter, Finished, MessageDetail, MessageSummary, Released, ServerInfo, Shared, Stats,
    Store, StoreError, Term,
};
use async_trait::async_trait;
use jiff::Timestamp;
use smtp_observe::Event;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[async_trait]
impl Store for PostgresStore {
    fn now(&self) -> Timestamp {
        self.shop.clock.now()
    }

    async fn insert(&self, message: NewMessage, beginning: Beginning) -> Result<Option<Claim>, StoreError> {
        self.is_open()?;
        self.writer.store(Insert::new(message, beginning)).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claim>, StoreError> {
        let _turn = self.turns.take().await;
        let asked = Steady::now();
        let client = self.client().await?;
        let calm = self.shop.calm.is_known();
        let due = claim::due(&client, self.id(), &request, asked, calm).await?;
        self.report(due.unreadable);
        servers::say_taken_over(&self.shop.observer, due.taken_over);
        Ok(due.claims)
    }

    async fn renew(&self, attempts: Vec<Attempt>, lease: Term) -> Result<Vec<Attempt>, StoreError> {
        let client = self.client().await?;
        Ok(claim::renew(&client, &attempts, lease).await?)
    }

    async fn finish(
        &self,
        results: Vec<RecipientResult>,
        reports: Vec<NewMessage>,
    ) -> Result<Finished, StoreError> {
        self.is_open()?;
        if results.is_empty() && reports.is_empty() {
            return Ok(Finished::default());
        }
        let mut inserts = Vec::with_capacity(reports.len());
        for message in reports {
            message.check()?;
            let uploaded = match &message.body {
                Body::Memory(_) => None,
                Body::File { path, .. } => Some(bodies::upload(&self.shop, path).await?),
            };
            inserts.push(Insert {
                uploaded,
                ..Insert::new(message, Beginning::Due)
            });
        }
        let (start, count) = (Instant::now(), results.len());
        let told = results.iter().any(|result| !result.calls.is_empty());
        let mut lane = self.results.lock().await;
        let _turn = self.turns.take().await;
        let written = lane.write(results, inserts, self.now()).await?;
        drop(lane);
        self.shop.observer.emit(Event::Committed {
            messages: 0,
            results: count,
            duration: start.elapsed(),
        });
        if told {
            self.shop.calls_stored.send_replace(());
        }
        let named = written.set_aside.into_iter();
        self.report(
            named
                .map(|(key, reason)| (format!("key {key}"), reason))
                .collect(),
        );
        self.shop.say_dropped(&written.dropped);
        Ok(written.finished)
    }

    async fn body(&self, message: &Message) -> Result<Body, StoreError> {
        let client = self.client().await?;
        let (found, small) = match bodies::find(&client, message.key, message.id).await? {
            Content::Gone => return Err(StoreError::left(message.id)),
            Content::Small(content) => (content.len() as i64, Some(content)),
            Content::Large(found) => (found, None),
        };
        if let Err(reason) = operate::check_size(message.size, found) {
            let touched = claim::quarantine_all(&client, message.key, &reason).await?;
            let error = StoreError::quarantined(message.id, &reason);
            if touched > 0 {
                self.report(vec![(message.id.to_string(), reason)]);
            }
            return Err(error);
        }
        match small {
            Some(content) => Ok(Body::Memory(self.spool.read_back(content))),
            None => {
                // There may be none for a while.
                drop(client);
                bodies::download(&self.shop, &self.spool, message).await
            }
        }
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let unclaimed = !self.shop.calm.is_known();
        Ok(read::next_due(&self.client().await?, unclaimed).await?)
    }

    async fn list(
        &self,
        filter: Filter,
        after: Option<QueueId>,
        limit: usize,
    ) -> Result<Vec<MessageSummary>, StoreError> {
        let condition = Condition::new(&filter);
        Ok(read::list(&self.client().await?, &condition, after, limit).await?)
    }

    async fn show(&self, id: QueueId) -> Result<Option<MessageDetail>, StoreError> {
        Ok(read::show(&self.client().await?, id).await?)
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
        let (condition, asked) = (Condition::new(&filter), Steady::now());
        let client = self.client().await?;
        let limit = request.limit.min(limits::OPERATED);
        let keys = read::keys(&client, &condition, after.unwrap_or(i64::MIN), limit).await?;
        let Some(&last) = keys.last() else {
            return Ok((Vec::new(), None));
        };
        let (claims, unreadable) =
            claim::selected(&client, self.id(), &condition, &keys, request.lease, asked).await?;
        self.report(unreadable);
        Ok((claims, Some(last)))
    }

    async fn portion(&self, filter: Filter, limit: usize) -> Result<Option<i64>, StoreError> {
        let condition = Condition::new(&filter);
        let keys = read::keys(&self.client().await?, &condition, i64::MIN, limit).await?;
        Ok(keys.last().copied())
    }

    async fn count(&self, filter: Filter, states: Vec<State>) -> Result<u64, StoreError> {
        let condition = Condition::new(&filter).in_states(&states);
        Ok(read::count(&self.client().await?, &condition).await?)
    }

    async fn release(&self, filter: Filter, now: Timestamp) -> Result<Released, StoreError> {
        let condition = Condition::new(&filter).in_states(&[State::Quarantined]);
        let (mut released, mut after) = (Released::default(), i64::MIN);
        let client = self.client().await?;
        loop {
            let keys = read::keys(&client, &condition, after, limits::OPERATED).await?;
            let Some(&last) = keys.last() else {
                if released.messages > 0 {
                    hints::say(&client, self.id(), Hint::Due).await;
                }
                return Ok(released);
            };
            after = last;
            let now = now.as_millisecond();
            let (queued, unreadable) = operate::release(&client, &condition, &keys, now).await?;
            released.add(Released {
                messages: queued,
                still: unreadable.len() as u64,
                unreadable,
            });
        }
    }

    async fn suspend(&self, suspension: Suspension) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let taken = records::suspend(&client, &suspension).await?;
        hints::say(&client, self.id(), Hint::Suspensions).await;
        Ok(taken)
    }

    async fn resume(
        &self,
        kind: SuspensionKind,
        name: String,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        parking::resume(&self.parks().await?, kind, &name, now).await
    }

    async fn unpark(&self, kind: SuspensionKind, name: String, now: Timestamp) -> Result<u64, StoreError> {
        parking::unpark(&self.parks().await?, kind, &name, now).await
    }

    async fn parked(&self, kind: SuspensionKind, name: String) -> Result<u64, StoreError> {
        parking::count(&self.parks().await?, kind, &name).await
    }

    async fn suspensions(&self) -> Result<Vec<Suspension>, StoreError> {
        Ok(records::suspensions(&self.client().await?).await?)
    }

    async fn audit(&self, record: AuditRecord) -> Result<(), StoreError> {
        Ok(records::audit(&self.client().await?, &record).await?)
    }

    async fn audited(&self, before: Option<i64>, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        Ok(records::audited(&self.client().await?, before, limit).await?)
    }

    async fn add_token(&self, token: ApiToken) -> Result<TokenAdded, StoreError> {
        Ok(records::add_token(&self.client().await?, &token).await?)
    }

    async fn remove_token(&self, name: String) -> Result<bool, StoreError> {
        Ok(records::remove_token(&self.client().await?, &name).await?)
    }

    async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        Ok(records::tokens(&self.client().await?).await?)
    }

    async fn shape(&self, filter: Filter, by: ShapeBy, now: Timestamp) -> Result<Shape, StoreError> {
        let condition = Condition::new(&filter);
        Ok(read::shape(&self.client().await?, &condition, by, now).await?)
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        let (client, now) = (self.client().await?, self.now());
        let due = self.due.count(&client, now).await?;
        Ok(read::stats(&client, now, due).await?)
    }

    async fn writable(&self) -> Result<(), StoreError> {
        let client = self.client().await?;
        Ok(self.shop.me.beat(&client).await?)
    }

    fn away(&self) -> Option<Duration> {
        self.link.away()
    }

    fn returns(&self) -> Option<watch::Receiver<u64>> {
        Some(self.link.returns.subscribe())
    }

    fn shared(&self) -> Option<watch::Receiver<Shared>> {
        Some(self.shared.subscribe())
    }

    async fn ask_all_to_reload(&self) -> Result<u64, StoreError> {
        let client = self.client().await?;
        let sql = "UPDATE signals SET number = number + 1 WHERE name = 'reload' RETURNING number";
        let rows = query_durably(&client, sql, &[]).await?;
        hints::say(&client, self.id(), Hint::Reload).await;
        Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0).unsigned_abs()))
    }

    async fn announce_due(&self) -> Result<(), StoreError> {
        hints::say(&self.client().await?, self.id(), Hint::Due).await;
        Ok(())
    }

    async fn servers(&self) -> Result<Option<Vec<ServerInfo>>, StoreError> {
        Ok(Some(self.shop.me.and_others(&self.client().await?).await?))
    }

    async fn draining(&self) -> Result<(), StoreError> {
        Ok(self.shop.me.drain(&self.client().await?).await?)
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.is_open()?;
        self.tasks.iter().for_each(JoinHandle::abort);
        let left = match self.link.client().await {
            Ok(client) => self.shop.me.leave(&client).await,
            Err(error) => Err(error),
        };
        // Also when the others could not be told: what it had is theirs in a minute.
        self.link.pool.close();
        Ok(left?)
    }
}
