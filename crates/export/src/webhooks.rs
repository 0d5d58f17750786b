//! Webhooks: calls on their way from the outbox to their receivers.
//!
//! * [`caller`] is the task that makes one webhook's calls; there is one for each, so that none waits for another's receiver.
//! * [`request`] is a call as it is made and signed.
//!
//! Promises: a call goes when its receiver took it, or was tried for 3 days; its id and its text are the same each time. Mail
//! waits for none of this: calls are stored with the results that they are about, and made afterwards.

mod caller;
mod request;

use caller::Caller;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use request::Target;
use smtp_config::{Config, Webhook};
use smtp_observe::{Event, Observer};
use smtp_queue::{CallsWaiting, Outbox, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

/// How long calls are tried, since their events.
const PATIENCE: SignedDuration = SignedDuration::from_hours(72);
/// How often old ones are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// How a webhook's receiver stands.
#[derive(Clone, Debug, Default)]
pub struct WebhookStanding {
    /// It takes no calls.
    pub down: bool,
    /// Calls that it took since the start.
    pub taken: u64,
    /// When it took the last.
    pub last_taken: Option<Timestamp>,
    /// When it did not take one, and why.
    pub last_error: Option<(Timestamp, String)>,
    /// Calls under way, by the outbox's keys: since when.
    pub under_way: BTreeMap<i64, std::time::Instant>,
}

/// The webhooks of a configuration, ready to be called.
#[derive(Debug)]
pub struct Receivers(Vec<Arc<Target>>);

impl Receivers {
    /// Reads the `ca_file` of each: blocking.
    ///
    /// # Errors
    /// What is wrong, with the setting's name.
    pub fn new(config: &Config) -> Result<Receivers, String> {
        let targets = config
            .webhooks
            .iter()
            .map(Target::new)
            .map(|target| target.map(Arc::new));
        targets.collect::<Result<_, _>>().map(Receivers)
    }
}

/// All webhooks. Runs from [`Webhooks::start`] to [`Webhooks::stop`].
#[derive(Debug)]
pub struct Webhooks {
    outbox: Arc<dyn Outbox>,
    observer: Observer,
    version: &'static str,
    running: Mutex<BTreeMap<String, Running>>,
    sweeper: JoinHandle<()>,
}

#[derive(Debug)]
struct Running {
    webhook: Webhook,
    target: watch::Sender<Option<Arc<Target>>>,
    standing: Arc<Mutex<WebhookStanding>>,
    /// Until it is waited for.
    task: Option<JoinHandle<()>>,
}

impl Webhooks {
    /// Starts on the current runtime.
    pub fn start(
        receivers: Receivers,
        outbox: Arc<dyn Outbox>,
        observer: Observer,
        version: &'static str,
    ) -> Webhooks {
        let webhooks = Webhooks {
            sweeper: tokio::spawn(sweep(outbox.clone(), observer.clone())),
            outbox,
            observer,
            version,
            running: Mutex::default(),
        };
        webhooks.take(receivers);
        webhooks
    }

    /// From now on these are called. Of one that is gone, what waits is kept for as long as it would have been tried.
    pub fn take(&self, Receivers(targets): Receivers) {
        let mut running = self.running.lock();
        running.retain(|name, one| {
            let stays = targets.iter().any(|target| target.webhook.name == *name);
            if !stays {
                one.target.send_replace(None);
            }
            stays
        });
        for target in targets {
            match running.get_mut(&target.webhook.name) {
                Some(one) => {
                    one.webhook = target.webhook.clone();
                    one.target.send_replace(Some(target));
                }
                None => {
                    running.insert(target.webhook.name.clone(), self.run(target));
                }
            }
        }
    }

    fn run(&self, target: Arc<Target>) -> Running {
        let standing = Arc::<Mutex<WebhookStanding>>::default();
        let sender = watch::Sender::new(Some(target.clone()));
        let webhook = target.webhook.clone();
        let caller = Caller::new(
            target,
            sender.subscribe(),
            self.outbox.clone(),
            self.observer.clone(),
            standing.clone(),
            self.version,
        );
        Running {
            webhook,
            target: sender,
            standing,
            task: Some(tokio::spawn(caller.run())),
        }
    }

    /// Each webhook, and how its receiver stands.
    pub fn standings(&self) -> Vec<(Webhook, WebhookStanding)> {
        let running = self.running.lock();
        let standing = |one: &Running| (one.webhook.clone(), one.standing.lock().clone());
        running.values().map(standing).collect()
    }

    /// What waits, by webhook.
    ///
    /// # Errors
    /// The store's.
    pub async fn waiting(&self) -> Result<Vec<CallsWaiting>, StoreError> {
        self.outbox.calls_waiting().await
    }

    /// Makes what waits for a webhook now, also while its receiver is left alone. Gives how many calls; `None` when it is not configured.
    ///
    /// # Errors
    /// The store's.
    pub async fn retry(&self, name: &str) -> Result<Option<u64>, StoreError> {
        if !self.running.lock().contains_key(name) {
            return Ok(None);
        }
        let touched = self
            .outbox
            .retry_calls(name.to_owned(), self.outbox.now())
            .await?;
        if let Some(one) = self.running.lock().get(name) {
            one.target.send_modify(|_| {});
        }
        Ok(Some(touched))
    }

    /// Begins no more calls, and waits at most so long for those that are under way. The others stay stored.
    pub async fn stop(&self, limit: Duration) {
        self.sweeper.abort();
        let end = Instant::now() + limit;
        let mut tasks = Vec::new();
        for one in self.running.lock().values_mut() {
            one.target.send_replace(None);
            tasks.extend(one.task.take());
        }
        for mut task in tasks {
            if timeout_at(end, &mut task).await.is_err() {
                // What it had claimed is due again at the next start.
                task.abort();
            }
        }
    }
}

/// Forgets calls that were tried for too long. Never ends.
async fn sweep(outbox: Arc<dyn Outbox>, observer: Observer) {
    loop {
        let before = outbox.now().saturating_sub(PATIENCE).unwrap_or(Timestamp::MIN);
        // A store that fails says so itself.
        for (webhook, calls) in outbox.expire_calls(before).await.unwrap_or_default() {
            observer.emit(Event::WebhookDropped {
                webhook: &webhook,
                calls,
                reason: "they were not taken in 3 days",
            });
        }
        sleep(SWEEP).await;
    }
}
