//! A store that takes no results for a while, or never those of some messages.

use async_trait::async_trait;
use jiff::Timestamp;
use parking_lot::Mutex;
use smtp_queue::{ApiToken, AuditRecord, Shape, ShapeBy, Suspension, SuspensionKind, TokenAdded};
use smtp_queue::{
    Attempt, Body, Claim, ClaimRequest, Filter, Message, MessageDetail, MessageSummary, NewMessage, QueueId,
    RecipientResult, Stats, Store, StoreError, Term,
};
use smtp_queue::{Beginning, Finished, Released, State};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

#[derive(Debug)]
pub(super) struct Flaky {
    store: Arc<dyn Store>,
    failures_left: AtomicUsize,
    /// Results of the messages with these keys are never taken.
    poisoned: Arc<Mutex<HashSet<i64>>>,
    /// No lease is renewed.
    keeps_no_leases: Arc<AtomicBool>,
    /// It is somewhere else, and tells when it is back.
    returns: Option<watch::Sender<u64>>,
    /// How long the first answer about suspensions is on its way.
    suspensions_take: Mutex<Duration>,
    /// Results are written at once, and answered when there is a permit.
    answers: Option<Arc<Semaphore>>,
}

impl Flaky {
    /// A store without a fault.
    fn over(store: Arc<dyn Store>) -> Flaky {
        Flaky {
            store,
            failures_left: AtomicUsize::new(0),
            poisoned: Arc::default(),
            keeps_no_leases: Arc::default(),
            returns: None,
            suspensions_take: Mutex::default(),
            answers: None,
        }
    }

    /// The first results are refused so many times.
    pub(super) fn wrap(store: Arc<dyn Store>, failures: usize) -> Arc<dyn Store> {
        Arc::new(Flaky {
            failures_left: AtomicUsize::new(failures),
            ..Flaky::over(store)
        })
    }

    /// The same of a store that is somewhere else.
    pub(super) fn elsewhere(
        store: Arc<dyn Store>,
        failures: usize,
        returns: watch::Sender<u64>,
    ) -> Arc<dyn Store> {
        Arc::new(Flaky {
            failures_left: AtomicUsize::new(failures),
            returns: Some(returns),
            ..Flaky::over(store)
        })
    }

    /// The first answer about suspensions is so long on its way.
    pub(super) fn slow_to_tell(store: Arc<dyn Store>, suspensions_take: Duration) -> Arc<dyn Store> {
        Arc::new(Flaky {
            suspensions_take: Mutex::new(suspensions_take),
            ..Flaky::over(store)
        })
    }

    /// Results are written at once, and each write is answered when it is permitted.
    pub(super) fn slow_to_answer(store: Arc<dyn Store>, answers: Arc<Semaphore>) -> Arc<dyn Store> {
        Arc::new(Flaky {
            answers: Some(answers),
            ..Flaky::over(store)
        })
    }

    /// The results of messages with these keys are never taken, and leases only unless `keeps_no_leases`.
    pub(super) fn poisoned(
        store: Arc<dyn Store>,
        keys: Arc<Mutex<HashSet<i64>>>,
        keeps_no_leases: Arc<AtomicBool>,
    ) -> Arc<dyn Store> {
        Arc::new(Flaky {
            poisoned: keys,
            keeps_no_leases,
            ..Flaky::over(store)
        })
    }
}

#[async_trait]
impl Store for Flaky {
    fn now(&self) -> Timestamp {
        self.store.now()
    }
    async fn insert(&self, message: NewMessage, beginning: Beginning) -> Result<Option<Claim>, StoreError> {
        self.store.insert(message, beginning).await
    }
    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claim>, StoreError> {
        self.store.claim(request).await
    }
    async fn renew(&self, attempts: Vec<Attempt>, lease: Term) -> Result<Vec<Attempt>, StoreError> {
        if self.keeps_no_leases.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("locked".into()));
        }
        self.store.renew(attempts, lease).await
    }
    async fn finish(
        &self,
        results: Vec<RecipientResult>,
        reports: Vec<NewMessage>,
    ) -> Result<Finished, StoreError> {
        let one_less = |left: usize| left.checked_sub(1);
        if self
            .failures_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
            .is_ok()
        {
            return Err(StoreError::Full("no space".into()));
        }
        let poisoned = results
            .iter()
            .any(|result| self.poisoned.lock().contains(&result.attempt.message));
        if poisoned {
            return Err(StoreError::Unavailable("datatype mismatch".into()));
        }
        let finished = self.store.finish(results, reports).await;
        if let Some(answers) = &self.answers {
            answers.acquire().await.unwrap().forget();
        }
        finished
    }
    async fn body(&self, message: &Message) -> Result<Body, StoreError> {
        self.store.body(message).await
    }
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.store.next_due().await
    }
    async fn list(
        &self,
        filter: Filter,
        after: Option<QueueId>,
        limit: usize,
    ) -> Result<Vec<MessageSummary>, StoreError> {
        self.store.list(filter, after, limit).await
    }
    async fn show(&self, id: QueueId) -> Result<Option<MessageDetail>, StoreError> {
        self.store.show(id).await
    }
    async fn retry(&self, filter: Filter, now: Timestamp) -> Result<u64, StoreError> {
        self.store.retry(filter, now).await
    }
    async fn hold(&self, filter: Filter) -> Result<u64, StoreError> {
        self.store.hold(filter).await
    }
    async fn unhold(&self, filter: Filter, now: Timestamp) -> Result<u64, StoreError> {
        self.store.unhold(filter, now).await
    }
    async fn claim_selected(
        &self,
        filter: Filter,
        after: Option<i64>,
        request: ClaimRequest,
    ) -> Result<(Vec<Claim>, Option<i64>), StoreError> {
        self.store.claim_selected(filter, after, request).await
    }
    async fn portion(&self, filter: Filter, limit: usize) -> Result<Option<i64>, StoreError> {
        self.store.portion(filter, limit).await
    }
    async fn count(&self, filter: Filter, states: Vec<State>) -> Result<u64, StoreError> {
        self.store.count(filter, states).await
    }
    async fn suspend(&self, suspension: Suspension) -> Result<bool, StoreError> {
        self.store.suspend(suspension).await
    }
    async fn resume(
        &self,
        kind: SuspensionKind,
        name: String,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        self.store.resume(kind, name, now).await
    }
    async fn unpark(&self, kind: SuspensionKind, name: String, now: Timestamp) -> Result<u64, StoreError> {
        self.store.unpark(kind, name, now).await
    }
    async fn parked(&self, kind: SuspensionKind, name: String) -> Result<u64, StoreError> {
        self.store.parked(kind, name).await
    }
    async fn suspensions(&self) -> Result<Vec<Suspension>, StoreError> {
        let told = self.store.suspensions().await;
        let take = std::mem::take(&mut *self.suspensions_take.lock());
        tokio::time::sleep(take).await;
        told
    }
    async fn audit(&self, record: AuditRecord) -> Result<(), StoreError> {
        self.store.audit(record).await
    }
    async fn audited(&self, before: Option<i64>, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        self.store.audited(before, limit).await
    }
    async fn add_token(&self, token: ApiToken) -> Result<TokenAdded, StoreError> {
        self.store.add_token(token).await
    }
    async fn remove_token(&self, name: String) -> Result<bool, StoreError> {
        self.store.remove_token(name).await
    }
    async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        self.store.tokens().await
    }
    async fn shape(&self, filter: Filter, by: ShapeBy, now: Timestamp) -> Result<Shape, StoreError> {
        self.store.shape(filter, by, now).await
    }
    async fn release(&self, filter: Filter, now: Timestamp) -> Result<Released, StoreError> {
        self.store.release(filter, now).await
    }
    async fn delete(&self, filter: Filter) -> Result<u64, StoreError> {
        self.store.delete(filter).await
    }
    async fn stats(&self) -> Result<Stats, StoreError> {
        self.store.stats().await
    }
    fn returns(&self) -> Option<watch::Receiver<u64>> {
        self.returns.as_ref().map(watch::Sender::subscribe)
    }
    async fn writable(&self) -> Result<(), StoreError> {
        self.store.writable().await
    }
    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}
