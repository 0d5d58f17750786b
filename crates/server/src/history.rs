//! The history of messages: opened beside the queue, or in its database, with what the configuration says of it.

use crate::house::House;
use smtp_config::Config;
use smtp_history::{Archive, History, Limits, Settings};
use smtp_observe::Event;
use smtp_queue::Spool;
use std::path::PathBuf;
use std::sync::Arc;

/// Opens it, unless it is not wanted. The server takes mail without it too, when it cannot be opened.
pub(crate) async fn open(house: &Arc<House>, spool: Spool, archive: Option<Arc<dyn Archive>>) {
    let config = house.config.load_full();
    if !config.history.enabled {
        return;
    }
    let (observer, limits) = (house.observer.clone(), limits(&config));
    let settings = Settings {
        path: path(&config),
        limits,
        has_room: Box::new(move || spool.has_room(0)),
    };
    let opened = tokio::task::spawn_blocking(move || match archive {
        Some(archive) => History::in_archive(archive, limits, observer),
        None => History::open(settings, observer),
    });
    let opened = opened.await;
    match opened {
        Ok(Ok(history)) => house.history_opened(history),
        Ok(Err(error)) => house.observer.emit(Event::HistoryFailed { error: &error }),
        Err(broken) => house.observer.emit(Event::HistoryFailed {
            error: &broken.to_string(),
        }),
    }
}

/// Writes out what was seen until now, while there is still a database to write to.
pub(crate) async fn flush(house: &House) {
    if let Some(history) = house.history().cloned() {
        // It waits 2 seconds at most; what is left is dropped.
        let _ = tokio::task::spawn_blocking(move || history.flush()).await;
    }
}

/// How much the configuration wants to be kept.
pub(crate) fn limits(config: &Config) -> Limits {
    Limits {
        retention: config.history.retention,
        max_size: config.history.max_size,
    }
}

fn path(config: &Config) -> PathBuf {
    config.storage.path.with_file_name("history.db")
}
