//! Opening the store: the schema, the server among the others, the folder for large contents.

use super::clock::Measured;
use super::connect::Database;
use super::lane::Lane;
use super::pulse::{self, Pulse};
use super::results::Results;
use super::schema::{self, Migration};
use super::writer::{LANES, Shop, Writer};
use super::{PostgresStore, servers};
use crate::spool::{Folders, Spool};
use crate::store::StoreError;
use smtp_observe::Observer;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;
use uuid::Uuid;

/// Where and how to open the store.
#[derive(Clone, Debug)]
pub struct PostgresSettings {
    /// The database.
    pub database: Database,
    /// This server's name, for people.
    pub name: String,
    /// A folder of this machine for large bodies while they are received or sent; nothing in it is needed after a restart.
    pub folder: PathBuf,
    /// Octets that must stay free on its disk.
    pub min_free: u64,
    /// Octets of received bodies held in memory at once.
    pub memory_budget: usize,
}

impl PostgresStore {
    /// Opens the store, on the current runtime: migrates, and takes over what dead servers had claimed.
    ///
    /// # Errors
    /// [`StoreError::Unsuitable`] when the settings make no sense; the database's; [`StoreError::Damaged`] when its schema is newer
    /// than this program.
    pub async fn open(
        settings: PostgresSettings,
        observer: Observer,
    ) -> Result<(Arc<PostgresStore>, Spool), StoreError> {
        let link = settings.database.link().map_err(StoreError::Unsuitable)?;
        let (spool, lock) = scratch(&settings)?;
        let (id, name): (_, Arc<str>) = (Uuid::new_v4(), settings.name.as_str().into());
        let client = link.client().await?;
        schema::check(&client).await?;
        schema::migrate(&client, false).await?;
        if let Some(before) = predecessor(&settings.folder, id)? {
            // It had this folder, so it is dead: what it had claimed need not wait for that to be noticed.
            servers::leave(&client, before).await?;
        }
        servers::beat(&client, id, &name).await?;
        servers::take_over(&client).await?;
        let clock = Measured::default();
        let shared = watch::Sender::new(pulse::look(&client, &clock).await?);
        drop(client);
        let shop = Shop {
            link: link.clone(),
            server: id,
            clock,
            observer,
            calls_stored: watch::Sender::new(()),
            overflow: Arc::default(),
            unneeded: Arc::default(),
        };
        let lane = |number| Lane::new(link.clone(), id, name.clone(), number);
        let pulse = Pulse {
            shop: shop.clone(),
            name: name.clone(),
            shared: shared.clone(),
        };
        let store = PostgresStore {
            writer: Writer::start(shop.clone(), (0..LANES).map(lane).collect()),
            results: tokio::sync::Mutex::new(Results::new(lane(LANES))),
            pulse: tokio::spawn(pulse.run()),
            link: link.clone(),
            id,
            shop,
            spool: spool.clone(),
            shared,
            _lock: lock,
        };
        Ok((Arc::new(store), spool))
    }

    /// Brings a database's schema up to date without opening a store, or only tries it. Gives the steps.
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    pub async fn migrate(database: &Database, only_try: bool) -> Result<Vec<Migration>, StoreError> {
        let link = database.link().map_err(StoreError::Unsuitable)?;
        let client = link.client().await?;
        schema::check(&client).await?;
        schema::migrate(&client, only_try).await
    }
}

/// The server that had the folder before, and now this one.
fn predecessor(folder: &Path, id: Uuid) -> Result<Option<Uuid>, StoreError> {
    let path = folder.join("server");
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    std::fs::write(&path, id.to_string())
        .map_err(|error| crate::spool::file_error(&format!("cannot write {}", path.display()), &error))?;
    Ok(Uuid::parse_str(before.trim()).ok())
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
        Spool::passing(folders, settings.min_free, settings.memory_budget),
        lock,
    ))
}
