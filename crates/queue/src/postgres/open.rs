//! Opening the store: the schema, the server among the others, the folder for large contents.

use super::PostgresStore;
use super::address::Database;
use super::calm::Calm;
use super::clock::Clock;
use super::due::Due;
use super::error::Unopened;
use super::hints::{self, Heard, Hint, Listener};
use super::lane::Lane;
use super::link::Link;
use super::pulse::{self, LOOK, Pulse};
use super::results::Results;
use super::schema::{self, Migration};
use super::servers::{self, Me};
use super::turns::Turns;
use super::wait::{self, Patience};
use super::writer::{LANES, Shop, Writer};
use crate::spool::{Folders, Spool};
use crate::store::{Shared, StoreError};
use smtp_observe::Observer;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

/// Where and how to open the store.
#[derive(Clone, Debug)]
pub struct PostgresSettings {
    /// The database.
    pub database: Database,
    /// This server's name, for people.
    pub name: String,
    /// Its version, for people.
    pub version: &'static str,
    /// A folder of this machine for large bodies while they are received or sent; nothing in it is needed after a restart.
    pub folder: PathBuf,
    /// Octets that must stay free on its disk.
    pub min_free: u64,
    /// Octets of received bodies held in memory at once.
    pub memory_budget: usize,
    /// Octets that large bodies on their way take of it at most; 0: as many as there are.
    pub scratch_size: u64,
}

impl PostgresStore {
    /// Opens the store, on the current runtime: migrates, and takes over what dead servers had claimed, if others lived. A database that is away is
    /// waited for with `patience`.
    ///
    /// # Errors
    /// [`StoreError::Unsuitable`] when the settings make no sense; the database's; [`StoreError::Damaged`] when its schema is newer
    /// than this program.
    pub async fn open(
        settings: PostgresSettings,
        observer: Observer,
        patience: Patience<'_>,
    ) -> Result<(Arc<PostgresStore>, Spool), StoreError> {
        Self::open_looking(settings, observer, patience, LOOK).await
    }

    /// The same, which looks what others do so often.
    pub(super) async fn open_looking(
        settings: PostgresSettings,
        observer: Observer,
        patience: Patience<'_>,
        every: Duration,
    ) -> Result<(Arc<PostgresStore>, Spool), StoreError> {
        let listener = settings.database.listener().map_err(StoreError::Unsuitable)?;
        let (spool, lock) = scratch(&settings)?;
        let joining = Joining {
            me: Arc::new(Me::new(&settings.name, settings.version)),
            before: predecessor(&settings.folder),
            observer: &observer,
            settings: &settings,
        };
        let Joined {
            link,
            clock,
            calm,
            heard,
            shared,
        } = wait::until_there(patience, || joining.join()).await?;
        let me = joining.me;
        let shop = Shop {
            link: link.clone(),
            me: me.clone(),
            clock,
            calm,
            observer: observer.clone(),
            calls_stored: watch::Sender::new(()),
            overflow: Arc::default(),
            large: Arc::new(Semaphore::new((settings.database.pool_size / 3).max(1))),
            unneeded: Arc::default(),
        };
        let lane = |number| Lane::new(link.clone(), me.clone(), number);
        let pulse = Pulse {
            shop: shop.clone(),
            heard: heard.clone(),
            every,
            shared: shared.clone(),
        };
        let mut tasks = vec![tokio::spawn(pulse.run())];
        if let Some(connector) = listener {
            let listener = Listener {
                connector,
                server: me.id,
                heard,
                observer,
            };
            tasks.push(tokio::spawn(listener.run()));
        }
        let store = PostgresStore {
            writer: Writer::start(shop.clone(), (0..LANES).map(lane).collect()),
            results: tokio::sync::Mutex::new(Results::new(lane(LANES))),
            tasks,
            link: link.clone(),
            shop,
            spool: spool.clone(),
            turns: Arc::new(Turns::new(shared.subscribe())),
            shared,
            due: Due::default(),
            _lock: lock,
        };
        Ok((Arc::new(store), spool))
    }

    /// Brings a database's schema up to date without opening a store, or only tries it. Gives the steps. A database that is away is waited
    /// for with `patience`.
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    pub async fn migrate(
        database: &Database,
        only_try: bool,
        patience: Patience<'_>,
    ) -> Result<Vec<Migration>, StoreError> {
        let migrate = || async {
            let link = database.link().map_err(StoreError::Unsuitable)?;
            let client = link.client().await?;
            schema::check(&client).await?;
            schema::migrate(&client, only_try).await
        };
        wait::until_there(patience, migrate).await
    }
}

/// A server that is not yet among those that share the queue.
struct Joining<'s> {
    me: Arc<Me>,
    /// The server that had its folder before.
    before: Option<Uuid>,
    observer: &'s Observer,
    settings: &'s PostgresSettings,
}

/// What it has when it is.
struct Joined {
    link: Arc<Link>,
    clock: Clock,
    calm: Calm,
    heard: Heard,
    shared: watch::Sender<Shared>,
}

impl Joining<'_> {
    /// Can be done again when it broke off.
    async fn join(&self) -> Result<Joined, Unopened> {
        let (settings, me) = (self.settings, &self.me);
        // Anew with each attempt: files that it names may have been mended meanwhile.
        let link = settings.database.link().map_err(StoreError::Unsuitable)?;
        let client = link.client().await?;
        schema::check(&client).await?;
        schema::migrate(&client, false).await?;
        drop(client);
        let client = link.client().await?;
        if let Some(before) = self.before {
            // It had this folder, so it is dead: what it had claimed need not wait for that to be noticed.
            servers::leave(&client, before).await?;
        }
        take_folder(&settings.folder, me.id)?;
        me.beat(&client).await?;
        hints::say(&client, me.id, Hint::Servers).await;
        servers::say_taken_over(self.observer, servers::take_over(&client, me.id).await?);
        let (clock, calm, heard) = (Clock::unknown(), Calm::default(), Heard::default());
        let shared = watch::Sender::new(pulse::look(&client, &clock, &calm, &heard).await?);
        drop(client);
        Ok(Joined {
            link,
            clock,
            calm,
            heard,
            shared,
        })
    }
}

/// Names the server that has a folder.
const SERVER: &str = "server";

/// The server that had the folder before.
fn predecessor(folder: &Path) -> Option<Uuid> {
    let before = std::fs::read_to_string(folder.join(SERVER)).unwrap_or_default();
    Uuid::parse_str(before.trim()).ok()
}

/// From now on it is this one's.
fn take_folder(folder: &Path, id: Uuid) -> Result<(), StoreError> {
    let path = folder.join(SERVER);
    std::fs::write(&path, id.to_string())
        .map_err(|error| crate::spool::file_error(&format!("cannot write {}", path.display()), &error))
}

/// Opens the folder for large bodies.
fn scratch(settings: &PostgresSettings) -> Result<(Spool, File), StoreError> {
    let folder = &settings.folder;
    let failed = |error: std::io::Error| {
        StoreError::Unsuitable(format!(
            "cannot use {} for large messages (the folder of storage.path): {error}",
            folder.display()
        ))
    };
    crate::spool::make_folder(folder).map_err(failed)?;
    let lock = crate::spool::lock(folder)?;
    let folders = Folders::create(folder).map_err(failed)?;
    folders.clear_temporary().map_err(failed)?;
    Ok((
        Spool::passing(
            folders,
            settings.min_free,
            settings.memory_budget,
            settings.scratch_size,
        ),
        lock,
    ))
}
