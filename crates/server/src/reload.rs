//! Reload: the configuration is read again from the same sources, and taken whole or not at all.

use crate::house::{House, log_settings};
use crate::people::Plan;
use smtp_config::{Config, Loaded};
use smtp_http::Reloaded;
use smtp_observe::Event;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl House {
    /// Reads the configuration again and puts in force what needs no restart. When anything is wrong the old one
    /// stays, and the error says what; log and metrics too.
    pub(crate) async fn reload_configuration(&self) -> Result<Reloaded, String> {
        // One at a time: a signal and a request may come together.
        let _turn = self.reloading.lock().await;
        let sources = self.sources.clone();
        let (old, password) = (self.config.load_full(), self.password.clone());
        let read = move || {
            let loaded = Config::load(&sources).map_err(|errors| errors.to_string())?;
            let new = loaded.config.live_part(&old);
            let plans = (Plan::read(&new, &password)?, Plan::read(&old, &password).ok());
            Ok((loaded, new, plans))
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok((loaded, new, plans))) => self.take(loaded, Arc::new(new), plans).await,
            Ok(Err(faults)) => Err(self.refuse(faults)),
            Err(broken) => Err(self.refuse(broken.to_string())),
        }
    }

    fn refuse(&self, error: String) -> String {
        self.last_reload_succeeded.store(false, Ordering::Relaxed);
        self.observer.emit(Event::ConfigRefused { error: &error });
        error
    }

    /// Puts a plan in force. Gives warnings.
    async fn meet(&self, plan: Plan, new_issuer: bool) -> Result<Vec<String>, String> {
        match self.people() {
            Some(people) => people.take(plan, new_issuer).await,
            None => Ok(Vec::new()),
        }
    }

    /// Tells the rooms that keep something derived from the configuration.
    fn inform_rooms(&self, config: &Config) -> Result<(), String> {
        self.delivery()
            .map_or(Ok(()), |delivery| delivery.reconfigured())?;
        self.reception()
            .map_or(Ok(()), |reception| reception.reconfigured(config))
    }

    /// People first, since they can fail; `plans` are the new one, and the old one to go back to.
    async fn take(
        &self,
        loaded: Loaded,
        new: Arc<Config>,
        plans: (Plan, Option<Plan>),
    ) -> Result<Reloaded, String> {
        let old = self.config.load_full();
        let difference = old.diff(&loaded.config);
        let new_issuer = difference.changed.iter().any(|name| name.starts_with("oauth."));
        let doubts = self
            .meet(plans.0, new_issuer)
            .await
            .map_err(|reason| self.refuse(reason))?;
        self.config.store(new.clone());
        if let Err(reason) = self.inform_rooms(&new) {
            self.config.store(old.clone());
            // What was good before is good again.
            let _ = self.inform_rooms(&old);
            if let Some(plan) = plans.1 {
                let _ = self.meet(plan, new_issuer).await;
            }
            return Err(self.refuse(reason));
        }
        self.observer.set_log(log_settings(&new));
        for warning in loaded.warnings.iter().chain(&doubts) {
            self.observer.emit(Event::ConfigWarning { warning });
        }
        self.loaded.store(Arc::new(Loaded {
            config: (*new).clone(),
            ..loaded
        }));
        self.last_reload_succeeded.store(true, Ordering::Relaxed);
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let (changed, needs_restart) = (difference.changed, difference.needs_restart);
        self.observer.emit(Event::ConfigReloaded {
            changed: &changed,
            needs_restart: &needs_restart,
        });
        Ok(Reloaded {
            generation,
            changed,
            needs_restart,
        })
    }
}
