//! What a drain has to wait for, by name: every task that holds it up has a token here as long as it runs.

use super::Entry;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::timeout;

/// How often the end of all is looked for, besides being told.
const LOOK: Duration = Duration::from_millis(100);

/// Something that delivery still does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What, for people.
    pub what: String,
    /// Since when; `None` where that is not known.
    pub since: Option<Instant>,
}

/// Who holds a drain up.
#[derive(Debug)]
pub(super) enum Holder {
    /// A lane of this destination.
    Lane(Arc<Entry>),
    /// A question whether an address exists.
    Probe,
    /// Claiming what is due.
    Scheduler,
}

/// A task on the books.
#[derive(Debug)]
pub(super) struct Token {
    number: u64,
    holder: Holder,
    began: Instant,
    /// Since when a lane has its job, and of how many recipients.
    job: Mutex<Option<(Instant, usize)>>,
    /// The job's final dot is on its way.
    pub(super) dot: Arc<AtomicBool>,
}

impl Token {
    /// It has a job of so many recipients.
    pub(super) fn works(&self, recipients: usize) {
        *self.job.lock() = Some((Instant::now(), recipients));
    }

    /// It is done with it.
    pub(super) fn rests(&self) {
        *self.job.lock() = None;
    }

    fn recipients(&self) -> usize {
        self.job.lock().map_or(0, |(_, recipients)| recipients)
    }

    fn held(&self) -> Held {
        let job = *self.job.lock();
        let what = match (&self.holder, job) {
            (Holder::Probe, _) => "a question whether an address exists".to_owned(),
            (Holder::Scheduler, _) => "the scheduler".to_owned(),
            (Holder::Lane(entry), None) => format!("{}: between two messages", entry.name),
            (Holder::Lane(entry), Some((_, recipients))) => {
                let at = match self.dot.load(Ordering::Acquire) {
                    true => "the reply to it is awaited",
                    false => "before its final dot",
                };
                format!(
                    "{}: a message for {recipients} of its recipients, {at}",
                    entry.name
                )
            }
        };
        Held {
            what,
            since: Some(job.map_or(self.began, |(since, _)| since)),
        }
    }
}

/// All tokens, oldest first.
#[derive(Debug, Default)]
pub(super) struct Holders {
    tokens: Mutex<BTreeMap<u64, Arc<Token>>>,
    last: AtomicU64,
    ended: Notify,
}

impl Holders {
    /// A task begins; [`Holders::end`] is its duty.
    pub(super) fn begin(&self, holder: Holder) -> Arc<Token> {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let token = Arc::new(Token {
            number,
            holder,
            began: Instant::now(),
            job: Mutex::new(None),
            dot: Arc::default(),
        });
        self.tokens.lock().insert(number, token.clone());
        token
    }

    /// It ended.
    pub(super) fn end(&self, token: &Token) {
        self.tokens.lock().remove(&token.number);
        self.ended.notify_one();
    }

    /// Waits until none is left.
    pub(super) async fn all_ended(&self) {
        while !self.tokens.lock().is_empty() {
            // Running out of time is what makes it look again.
            let _ = timeout(LOOK, self.ended.notified()).await;
        }
    }

    /// Everything that is held, and the recipients of all jobs.
    pub(super) fn held(&self) -> (Vec<Held>, usize) {
        let tokens: Vec<Arc<Token>> = self.tokens.lock().values().cloned().collect();
        let recipients = tokens.iter().map(|token| token.recipients()).sum();
        (tokens.iter().map(|token| token.held()).collect(), recipients)
    }
}
