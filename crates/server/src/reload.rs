//! Reload: the configuration is read again from the same sources, and taken whole or not at all.

use crate::house::{House, log_settings};
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
        let loaded = match tokio::task::spawn_blocking(move || Config::load(&sources)).await {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(errors)) => return Err(self.refuse(errors.to_string())),
            Err(broken) => return Err(self.refuse(broken.to_string())),
        };
        self.take(loaded)
    }

    fn refuse(&self, error: String) -> String {
        self.last_reload_succeeded.store(false, Ordering::Relaxed);
        self.observer.emit(Event::ConfigRefused { error: &error });
        error
    }

    fn take(&self, loaded: Loaded) -> Result<Reloaded, String> {
        let old = self.config.load_full();
        let difference = old.diff(&loaded.config);
        let new = Arc::new(loaded.config.live_part(&old));
        self.config.store(new.clone());
        if let Some(Err(reason)) = self.delivery().map(|delivery| delivery.reconfigured()) {
            self.config.store(old);
            return Err(self.refuse(reason));
        }
        self.observer.set_log(log_settings(&new));
        for warning in &loaded.warnings {
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
