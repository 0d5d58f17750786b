//! The history of messages: opened beside the queue, with what the configuration says of it.

use crate::house::House;
use smtp_config::Config;
use smtp_history::{History, Limits, Settings};
use smtp_observe::Event;
use smtp_queue::Spool;
use std::path::PathBuf;
use std::sync::Arc;

/// Opens it, unless it is not wanted. The server takes mail without it too, when it cannot be opened.
pub(crate) async fn open(house: &Arc<House>, spool: Spool) {
    let config = house.config.load_full();
    if !config.history.enabled {
        return;
    }
    let settings = Settings {
        path: path(&config),
        limits: limits(&config),
        has_room: Box::new(move || spool.has_room(0)),
    };
    let observer = house.observer.clone();
    let opened = tokio::task::spawn_blocking(move || History::open(settings, observer)).await;
    match opened {
        Ok(Ok(history)) => house.history_opened(history),
        Ok(Err(error)) => house.observer.emit(Event::HistoryFailed { error: &error }),
        Err(broken) => house.observer.emit(Event::HistoryFailed {
            error: &broken.to_string(),
        }),
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
