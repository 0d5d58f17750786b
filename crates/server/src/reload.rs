//! Reload: the configuration is read again from the same sources, and taken whole or not at all.
//!
//! In two steps. First everything is read and made that can fail, by every room, while the old configuration is in force for all
//! of them. Then it is put in force, which cannot fail and waits for nothing: nobody ever sees a part of a configuration that is refused, nor
//! one half taken.
//!
//! Asked for by a signal, by the API, and by files that change (`smtp_config::Watched` says why they are looked at, and how).

use crate::history;
use crate::house::{House, log_settings};
use crate::people::{Plan, PreparedPeople};
use crate::storage::server_name;
use smtp_config::{Config, Loaded, Watched};
use smtp_export::{Receivers, Target};
use smtp_http::{Reloaded, Rooms};
use smtp_observe::Event;
use smtp_queue::AuditRecord;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often the files of the configuration are read. A change is taken when it was seen twice: within 6 s.
const LOOK: Duration = Duration::from_secs(3);
/// How long the store may take to record that the password is another.
const RECORDING: Duration = Duration::from_secs(10);

/// What was made of the sources without the directory, which is asked last.
struct Prepared {
    loaded: Loaded,
    /// The administrator's.
    password: Arc<str>,
    /// What of it needs no restart.
    new: Arc<Config>,
    delivery: Option<smtp_deliver::Prepared>,
    reception: Option<smtp_receive::Prepared>,
    /// Where spans go.
    target: Option<Target>,
    /// Whom webhooks tell.
    receivers: Receivers,
}

impl House {
    /// Reads the configuration again and puts in force what needs no restart. When anything is wrong the old one
    /// stays, and the error says what; log and metrics too.
    ///
    /// What is begun comes to its end, also when this future is dropped: who asked may be gone before a database answers.
    pub(crate) async fn reload_configuration(self: &Arc<Self>) -> Result<Reloaded, String> {
        let reloading = tokio::spawn(self.clone().reload_to_its_end());
        reloading.await.unwrap_or_else(|broken| Err(broken.to_string()))
    }

    async fn reload_to_its_end(self: Arc<Self>) -> Result<Reloaded, String> {
        // One at a time: a signal and a request may come together.
        let mut watched = self.reloading.lock().await;
        let (house, sources) = (self.clone(), self.sources.clone());
        let read = tokio::task::spawn_blocking(move || (Watched::look(&sources), house.prepare()));
        let (seen, prepared) = match read.await {
            Ok((seen, prepared)) => (Some(seen), prepared),
            Err(broken) => (None, Err(broken.to_string())),
        };
        let result = match prepared {
            Ok((plan, prepared)) => self.take(plan, prepared).await,
            Err(faults) => Err(faults),
        };
        if let Some(seen) = seen {
            *watched = seen.refused(result.is_err());
        }
        if let Err(error) = &result
            && !self.stop.is_closing()
        {
            self.last_reload_succeeded.store(false, Ordering::Relaxed);
            self.observer.emit(Event::ConfigRefused { error });
        }
        result
    }

    /// Reloads whenever the files of the configuration have changed. Never ends.
    pub(crate) async fn follow_files(self: Arc<Self>) {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if self.files_have_changed().await {
                // The outcome is in the log.
                let _ = self.reload_configuration().await;
            }
        }
    }

    async fn files_have_changed(self: &Arc<Self>) -> bool {
        let house = self.clone();
        // Reading may wait for a disk. A panic in there is a panic of one look.
        let look = tokio::task::spawn_blocking(move || house.reloading.blocking_lock().has_changed());
        look.await.unwrap_or(false)
    }

    /// Reads and makes everything that can fail; blocking.
    fn prepare(&self) -> Result<(Plan, Prepared), String> {
        let loaded = Config::load(&self.sources).map_err(|errors| errors.to_string())?;
        let new = Arc::new(loaded.config.live_part(&self.config.load()));
        let password = self.password_of(&new);
        let delivery = self.delivery().map(|delivery| delivery.prepare(new.clone()));
        let reception = self.reception().map(|reception| reception.prepare(&new));
        let plan = Plan::read(&new, &password)?;
        let prepared = Prepared {
            password,
            delivery: delivery.transpose()?,
            reception: reception.transpose()?,
            target: Target::new(&new)?,
            receivers: Receivers::new(&new)?,
            loaded,
            new,
        };
        Ok((plan, prepared))
    }

    /// Writes into the audit trail that the administrator has another password. Each server of a shared queue does, when it has it.
    async fn record_password(self: Arc<Self>) {
        let (who, action, target) = ("configuration", "admin.password", server_name());
        let record = |at| AuditRecord {
            number: 0,
            at,
            who: who.to_owned(),
            peer: String::new(),
            action: action.to_owned(),
            target: target.clone(),
            touched: 1,
            before: None,
            after: None,
        };
        let failed = match self.store() {
            None => Some("the store is not open yet".to_owned()),
            Some(store) => match timeout(RECORDING, store.audit(record(store.now()))).await {
                Ok(recorded) => recorded.err().map(|error| error.to_string()),
                Err(_) => Some(format!("no answer within {} s", RECORDING.as_secs())),
            },
        };
        if let Some(error) = &failed {
            self.observer.emit(Event::AuditFailed {
                who,
                action,
                target: &target,
                error,
            });
        }
    }

    /// Has the directory prepare itself, the last that can fail; then all take what is new.
    async fn take(self: &Arc<Self>, plan: Plan, prepared: Prepared) -> Result<Reloaded, String> {
        let people = match self.people() {
            Some(people) => Some(people.prepare(plan).await?),
            None => None,
        };
        if self.stop.is_closing() {
            // The rooms are closed, and the log has its last line in a moment.
            return Err("the server stops".to_owned());
        }
        Ok(self.put_in_force(prepared, people))
    }

    /// Has everybody take what is new. Not `async`: between the first room and the last nothing may be waited for.
    fn put_in_force(self: &Arc<Self>, prepared: Prepared, people: Option<PreparedPeople<'_>>) -> Reloaded {
        let Prepared { loaded, new, .. } = prepared;
        let difference = self.config.load().diff(&loaded.config);
        let new_issuer = difference.changed.iter().any(|name| name.starts_with("oauth."));
        let doubts = people.map(|people| people.take(new_issuer)).unwrap_or_default();
        self.config.store(new.clone());
        let new_password = self.take_password(prepared.password);
        if let (Some(delivery), Some(prepared)) = (self.delivery(), prepared.delivery) {
            delivery.take(prepared);
        }
        if let (Some(reception), Some(prepared)) = (self.reception(), prepared.reception) {
            reception.take(prepared);
        }
        if let Some(queue) = self.queue() {
            queue.spool().set_largest(new.limits.max_message_size);
        }
        if let Some(traces) = self.traces() {
            traces.take(prepared.target);
        }
        if let Some(webhooks) = self.webhooks() {
            webhooks.take(prepared.receivers);
        }
        if let Some(history) = self.history() {
            history.set_limits(history::limits(&new));
        }
        self.observer.set_log(log_settings(&new));
        for warning in loaded.warnings.iter().chain(&doubts) {
            self.observer.emit(Event::ConfigWarning { warning });
        }
        let config = (*new).clone();
        self.loaded.store(Arc::new(Loaded { config, ..loaded }));
        self.last_reload_succeeded.store(true, Ordering::Relaxed);
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let (changed, needs_restart) = (difference.changed, difference.needs_restart);
        self.observer.emit(Event::ConfigReloaded {
            changed: &changed,
            needs_restart: &needs_restart,
        });
        if new_password {
            // By a task of its own: the password is in force whether or not the database answers.
            tokio::spawn(self.clone().record_password());
        }
        Reloaded {
            generation,
            changed,
            needs_restart,
        }
    }
}
