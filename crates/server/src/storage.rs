//! Where the queue is kept: SQLite here, or PostgreSQL with others; and what follows from what the others do.

use crate::exit::{Exit, Failure};
use crate::house::{House, VERSION};
use smtp_config::Config;
use smtp_directory::Shelf;
use smtp_history::Archive;
use smtp_observe::Event;
use smtp_queue::postgres::{Database, Patience, PostgresSettings, PostgresStore};
use smtp_queue::sqlite::{SqliteSettings, SqliteStore};
use smtp_queue::{Outbox, Queue, Shared, StoreError, folder_of};
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How soon what others did is followed once more, if that failed.
const AGAIN: Duration = Duration::from_secs(1);

/// An open store, as the rooms see it.
pub(crate) struct Opened {
    pub(crate) queue: Queue,
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) shelf: Arc<dyn Shelf>,
    /// Where histories are kept, if not beside it.
    pub(crate) archive: Option<Arc<dyn Archive>>,
}

/// The database of `storage.url`; `None` for SQLite.
///
/// # Errors
/// What is wrong with the settings.
pub(crate) fn database(config: &Config) -> Result<Option<Database>, String> {
    let Some(url) = &config.storage.url else {
        return Ok(None);
    };
    let database = Database {
        url: url.expose().to_owned(),
        password_file: config.storage.password_file.clone(),
        pool_size: config.storage.pool_size,
        pooler: config.storage.pooler,
    };
    database
        .check()
        .map_err(|reason| format!("storage.url: {reason}"))?;
    Ok(Some(database))
}

/// What the log calls it.
pub(crate) fn shown(config: &Config) -> String {
    match database(config) {
        Ok(None) => config.storage.path.display().to_string(),
        Ok(Some(database)) => format!("PostgreSQL, {}", database.shown()),
        Err(_) => "storage.url".into(),
    }
}

/// Opens the store that the configuration names.
pub(crate) async fn open(house: &House) -> Result<Opened, Failure> {
    let config = house.config.load_full();
    let database = database(&config).map_err(|reason| Failure::new(Exit::Config, reason))?;
    let opened = match database {
        Some(database) => in_postgres(house, &config, database).await,
        None => in_sqlite(house, &config).await?,
    };
    opened.map_err(|error| {
        let mut failure = failure(&config, &error);
        if let Some(waited) = house.waited() {
            failure.message += &format!("; it was waited for, {} s", waited.as_secs());
        }
        failure
    })
}

async fn in_postgres(house: &House, config: &Config, database: Database) -> Result<Opened, StoreError> {
    let settings = PostgresSettings {
        database,
        name: server_name(),
        version: VERSION,
        folder: folder_of(&config.storage.path),
        min_free: config.storage.min_free,
        memory_budget: config.storage.memory_budget,
        scratch_size: config.storage.scratch_size,
    };
    let patience = Patience {
        at_most: config.storage.wait,
        tell: &|waiting| house.waits(waiting, config.storage.wait),
    };
    let (store, spool) = PostgresStore::open(settings, house.observer.clone(), patience).await?;
    // The configuration in force: it may have been reloaded while the database was awaited.
    spool.set_largest(house.config.load().limits.max_message_size);
    Ok(Opened {
        queue: Queue::new(store.clone(), spool),
        outbox: store.clone(),
        archive: Some(store.history()),
        shelf: store,
    })
}

async fn in_sqlite(house: &House, config: &Config) -> Result<Result<Opened, StoreError>, Failure> {
    let settings = SqliteSettings {
        path: config.storage.path.clone(),
        min_free: config.storage.min_free,
        memory_budget: config.storage.memory_budget,
    };
    let observer = house.observer.clone();
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open(settings, observer)).await;
    let broken = |error| Failure::new(Exit::Io, format_args!("opening the store broke off: {error}"));
    Ok(opened.map_err(broken)?.map(|(store, spool)| Opened {
        queue: Queue::new(store.clone(), spool),
        outbox: store.clone(),
        shelf: store,
        archive: None,
    }))
}

/// What other servers and operators see: the machine, which is the pod, and the process.
pub(crate) fn server_name() -> String {
    let host = nix::unistd::gethostname().unwrap_or_default();
    format!("{} ({})", host.to_string_lossy(), std::process::id())
}

/// What cannot be opened now may be free later (75); what is damaged will not mend by itself (74).
pub(crate) fn failure(config: &Config, error: &StoreError) -> Failure {
    let exit = match error {
        StoreError::Full(_) | StoreError::Unavailable(_) => Exit::Temporary,
        StoreError::Unsuitable(_) => Exit::Config,
        StoreError::Damaged(_) | StoreError::Closed => Exit::Io,
    };
    let setting = match config.storage.url {
        Some(_) => "storage.url",
        None => "storage.path",
    };
    Failure::new(exit, format_args!("{setting} {}: {error}", shown(config)))
}

/// What other servers did with a store that is shared, as far as this one has followed it.
pub(crate) struct Others {
    shared: watch::Receiver<Shared>,
    known: Shared,
}

impl Others {
    /// As they are now: what they do from here on is followed, once somebody does. `None` for a store that is not shared.
    pub(crate) fn of(queue: &Queue) -> Option<Others> {
        let mut shared = queue.store().shared()?;
        let known = *shared.borrow_and_update();
        Some(Others { shared, known })
    }

    /// Follows what they do, as long as the store is there.
    pub(crate) async fn follow(mut self, house: Arc<House>, queue: Queue) {
        // Without news too: what could not be done is done again.
        while !matches!(timeout(AGAIN, self.shared.changed()).await, Ok(Err(_))) {
            let now = *self.shared.borrow_and_update();
            let known = std::mem::replace(&mut self.known, now);
            if now.due && (!known.due || now.announced != known.announced) {
                queue.wake();
            }
            if now.suspensions != known.suspensions
                && let Some(delivery) = house.delivery()
                && let Err(error) = delivery.suspensions_changed().await
            {
                // It asks by itself, too.
                say_failed(&house, "suspensions", &error);
            }
            if now.servers != known.servers {
                house
                    .observer
                    .emit(Event::ServersChanged { servers: now.servers });
                if let Some(delivery) = house.delivery() {
                    delivery.servers_changed();
                }
            }
            follow_directory(&house, now.directory).await;
            if now.reloads > house.reloads_seen.fetch_max(now.reloads, Ordering::AcqRel) {
                // The outcome is in the log.
                let _ = house.reload_configuration().await;
            }
        }
    }
}

/// Reads the directory again if it is not of this revision. If that fails it is done again, or this server would know accounts that were removed.
async fn follow_directory(house: &House, revision: u64) {
    let people = house.people();
    let Some(people) = people.filter(|people| people.directory.snapshot().revision() != revision) else {
        return;
    };
    match people.directory.refresh().await {
        Ok(warnings) => {
            for warning in warnings.iter().flatten() {
                house.observer.emit(Event::ConfigWarning { warning });
            }
        }
        Err(error) => say_failed(house, "directory", &error),
    }
}

fn say_failed(house: &House, operation: &'static str, error: &dyn Display) {
    let error = &error.to_string();
    house.observer.emit(Event::StoreFailed { operation, error });
}
