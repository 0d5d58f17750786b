//! A PostgreSQL with the stores of a test.

use crate::conformance::Subject;
use crate::conformance::directory::ShelfSubject;
use crate::conformance::outbox::OutboxSubject;
use crate::conformance::shared::SharedSubject;
use crate::outbox::Outbox;
use crate::postgres::pulse::LOOK;
use crate::postgres::{Database, Patience, PostgresSettings, PostgresStore, servers};
use crate::store::Store;
use async_trait::async_trait;
use parking_lot::Mutex;
use real_postgres::{Server, Version};
use smtp_directory::Shelf;
use smtp_observe::Observer;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio_postgres::NoTls;
use uuid::Uuid;

/// Names a socket; there is no other port.
const PORT: u16 = 5432;

/// A PostgreSQL of the test's own, on a socket in a folder of its own. Dropped, it is ended.
pub(in crate::postgres) struct Cluster {
    server: Server,
    /// Of its data.
    _folder: TempDir,
    /// Folders of servers.
    folders: TempDir,
    /// Servers reach it as if a pooler were before it.
    pub(super) pooler: bool,
    made: AtomicUsize,
    /// The database of each store, by the store's address.
    of: Mutex<HashMap<usize, String>>,
}

impl Cluster {
    pub(in crate::postgres) async fn start() -> Cluster {
        Cluster::of(Version::Debian).await
    }

    /// Of a version.
    pub(super) async fn of(version: Version) -> Cluster {
        Cluster::with(version, &[]).await
    }

    /// One that counts statements, in databases that have the extension `pg_stat_statements`.
    pub(super) async fn counting() -> Cluster {
        Cluster::with(Version::Debian, &["shared_preload_libraries=pg_stat_statements"]).await
    }

    /// With more settings of the server.
    async fn with(version: Version, more: &'static [&'static str]) -> Cluster {
        let started = tokio::task::spawn_blocking(move || {
            let folder = real_postgres::new_folder()?;
            let data = folder.path().join("data");
            real_postgres::initialise(version, &data, false)?;
            let settings = ["listen_addresses=", "fsync=off", "log_min_messages=fatal"];
            let settings = [&settings, more].concat();
            Ok::<_, String>((Server::start(version, &data, PORT, &settings)?, folder))
        });
        let (server, folder) = started.await.unwrap().unwrap();
        Cluster {
            server,
            _folder: folder,
            folders: TempDir::new().unwrap(),
            pooler: false,
            made: AtomicUsize::new(0),
            of: Mutex::default(),
        }
    }

    pub(super) fn settings(&self, database: &str) -> PostgresSettings {
        let folder = self.folders.path().join(Uuid::new_v4().to_string());
        PostgresSettings {
            database: Database {
                url: self.url(database),
                password_file: None,
                pool_size: 6,
                pooler: self.pooler,
            },
            name: "test".into(),
            version: "1.2.3",
            folder,
            min_free: 0,
            memory_budget: 1 << 20,
            scratch_size: 0,
        }
    }

    pub(super) fn url(&self, database: &str) -> String {
        let sockets = self.server.sockets().to_str().unwrap().replace('/', "%2F");
        format!("postgresql://postgres@{sockets}:{PORT}/{database}")
    }

    /// The socket that it listens on.
    pub(super) fn socket(&self) -> PathBuf {
        self.server.sockets().join(format!(".s.PGSQL.{PORT}"))
    }

    pub(super) async fn client(&self, database: &str) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.url(database), NoTls).await.unwrap();
        tokio::spawn(async { connection.await.unwrap_or_default() });
        client
    }

    pub(super) async fn sql(&self, database: &str, sql: &str) {
        self.client(database).await.batch_execute(sql).await.unwrap();
    }

    pub(super) async fn open(&self, database: String) -> Arc<PostgresStore> {
        self.open_looking(database, LOOK).await
    }

    /// Opens a store that looks so often what others do.
    pub(super) async fn open_looking(&self, database: String, every: Duration) -> Arc<PostgresStore> {
        let opened = PostgresStore::open_looking(
            self.settings(&database),
            Observer::silent(),
            Patience::NONE,
            every,
        );
        let (store, _) = opened.await.unwrap();
        self.of.lock().insert(place(&store), database);
        store
    }

    pub(in crate::postgres) async fn new_store(&self) -> Arc<PostgresStore> {
        let name = format!("queue{}", self.made.fetch_add(1, Ordering::SeqCst));
        self.sql("postgres", &format!("CREATE DATABASE {name}")).await;
        self.open(name).await
    }

    /// The database of a store.
    pub(super) fn database_of<T: ?Sized>(&self, store: &Arc<T>) -> String {
        self.of.lock()[&place(store)].clone()
    }

    /// A connection to it.
    pub(super) async fn client_of<T: ?Sized>(&self, store: &Arc<T>) -> tokio_postgres::Client {
        self.client(&self.database_of(store)).await
    }

    /// Its process died, and so long ago that the others know.
    async fn after_a_crash<T: ?Sized>(&self, store: Arc<T>) -> Arc<PostgresStore> {
        let database = self.of.lock().remove(&place(&store)).unwrap();
        drop(store);
        // Another one lived all the time: otherwise it would be the database that was away.
        self.sql(
            &database,
            "UPDATE servers SET seen = 0; INSERT INTO servers (id, name, seen) VALUES ('00000000-0000-0000-0000-000000000000', 'witness', 9e15)",
        )
        .await;
        let opened = self.open(database.clone()).await;
        self.sql(&database, "DELETE FROM servers WHERE name = 'witness'")
            .await;
        opened
    }

    async fn change(&self, store: &Arc<dyn Store>, sql: &str) {
        let database = self.database_of(store);
        self.sql(&database, sql).await;
    }
}

fn place<T: ?Sized>(store: &Arc<T>) -> usize {
    Arc::as_ptr(store).cast::<()>() as usize
}

#[async_trait]
impl Subject for Cluster {
    async fn fresh(&self) -> Arc<dyn Store> {
        self.new_store().await
    }
    async fn crash(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        self.after_a_crash(store).await
    }
    async fn spoil_address(&self, store: &Arc<dyn Store>, message: i64, recipient: u32) {
        let sql = "UPDATE recipients SET address = 'no address' WHERE";
        self.change(store, &format!("{sql} message = {message} AND idx = {recipient}"))
            .await;
    }
    async fn spoil_content(&self, store: &Arc<dyn Store>, message: i64) {
        self.change(
            store,
            &format!("UPDATE messages SET content = NULL WHERE key = {message}"),
        )
        .await;
    }
    async fn mend_content(&self, store: &Arc<dyn Store>, message: i64, content: &[u8]) {
        let hex: String = content.iter().map(|octet| format!("{octet:02x}")).collect();
        self.change(
            store,
            &format!("UPDATE messages SET content = '\\x{hex}' WHERE key = {message}"),
        )
        .await;
    }
}

#[async_trait]
impl OutboxSubject for Cluster {
    async fn fresh(&self) -> Arc<dyn Outbox> {
        self.new_store().await
    }
    async fn crash(&self, store: Arc<dyn Outbox>) -> Arc<dyn Outbox> {
        self.after_a_crash(store).await
    }
}

#[async_trait]
impl ShelfSubject for Cluster {
    async fn fresh(&self) -> Arc<dyn Shelf> {
        self.new_store().await
    }
    async fn crash(&self, shelf: Arc<dyn Shelf>) -> Arc<dyn Shelf> {
        self.after_a_crash(shelf).await
    }
}

#[async_trait]
impl SharedSubject for Cluster {
    async fn pair(&self) -> [Arc<dyn Store>; 2] {
        let one = self.new_store().await;
        let database = self.database_of(&one);
        [one, self.open(database).await]
    }
    async fn bury(&self, dead: Arc<dyn Store>, other: &Arc<dyn Store>) {
        let database = self.database_of(&dead);
        drop(dead);
        let sql = "UPDATE servers SET seen = 0 WHERE id = (SELECT owner FROM recipients WHERE state = 1 ORDER BY message LIMIT 1)";
        self.sql(&database, sql).await;
        let living = self.open(database).await;
        servers::take_over(&living.client().await.unwrap(), Uuid::nil())
            .await
            .unwrap();
        living.close().await.unwrap();
        other.writable().await.unwrap();
    }
}
