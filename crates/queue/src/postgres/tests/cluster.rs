//! A PostgreSQL with the stores of a test.

use crate::conformance::Subject;
use crate::conformance::directory::ShelfSubject;
use crate::conformance::outbox::OutboxSubject;
use crate::conformance::shared::SharedSubject;
use crate::outbox::Outbox;
use crate::postgres::{Database, PostgresSettings, PostgresStore, servers};
use crate::store::Store;
use async_trait::async_trait;
use parking_lot::Mutex;
use smtp_directory::Shelf;
use smtp_observe::Observer;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;
use tokio_postgres::NoTls;
use uuid::Uuid;

/// A PostgreSQL of the test's own, on a socket in a folder of its own. Dropped, it is ended.
pub(super) struct Cluster {
    folder: TempDir,
    /// Folders of servers.
    folders: TempDir,
    /// Servers reach it as if a pooler were before it.
    pub(super) pooler: bool,
    child: Child,
    made: AtomicUsize,
    /// The database of each store, by the store's address.
    of: Mutex<HashMap<usize, String>>,
}

/// Debian's newest.
fn program(name: &str) -> PathBuf {
    let versions =
        std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL: `cargo xtask peers` installs it");
    let mut folders: Vec<PathBuf> = versions.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders.last().expect("a version").join("bin").join(name)
}

/// PostgreSQL does not run as root: then as its own user.
fn unprivileged(program: &Path) -> Command {
    if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
            .arg(program);
        return command;
    }
    Command::new(program)
}

impl Cluster {
    pub(super) async fn start() -> Cluster {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        if nix::unistd::geteuid().is_root() {
            let owner = Command::new("chown")
                .arg("postgres")
                .arg(folder.path())
                .status()
                .unwrap();
            assert!(owner.success());
        }
        let mut initdb = unprivileged(&program("initdb"));
        initdb
            .args([
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--no-sync",
                "--pgdata",
            ])
            .arg(&data);
        assert!(initdb.stdout(Stdio::null()).status().unwrap().success());
        let mut server = unprivileged(&program("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(folder.path());
        server.args([
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
            "-c",
            "log_min_messages=fatal",
        ]);
        let child = server.stdout(Stdio::null()).spawn().unwrap();
        let cluster = Cluster {
            folder,
            folders: TempDir::new().unwrap(),
            pooler: false,
            child,
            made: AtomicUsize::new(0),
            of: Mutex::default(),
        };
        for _ in 0..300 {
            if tokio_postgres::connect(&cluster.url("postgres"), NoTls)
                .await
                .is_ok()
            {
                return cluster;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("PostgreSQL does not start");
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
            folder,
            min_free: 0,
            memory_budget: 1 << 20,
        }
    }

    fn url(&self, database: &str) -> String {
        let folder = self.folder.path().to_str().unwrap().replace('/', "%2F");
        format!("postgresql://postgres@{folder}/{database}")
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
        let (store, _) = PostgresStore::open(self.settings(&database), Observer::silent())
            .await
            .unwrap();
        self.of.lock().insert(place(&store), database);
        store
    }

    pub(super) async fn new_store(&self) -> Arc<PostgresStore> {
        let name = format!("queue{}", self.made.fetch_add(1, Ordering::SeqCst));
        self.sql("postgres", &format!("CREATE DATABASE {name}")).await;
        self.open(name).await
    }

    /// A connection to the database of a store.
    pub(super) async fn client_of<T: ?Sized>(&self, store: &Arc<T>) -> tokio_postgres::Client {
        let database = self.of.lock()[&place(store)].clone();
        self.client(&database).await
    }

    /// Its process died, and so long ago that the others know.
    async fn after_a_crash<T: ?Sized>(&self, store: Arc<T>) -> Arc<PostgresStore> {
        let database = self.of.lock().remove(&place(&store)).unwrap();
        drop(store);
        self.sql(&database, "UPDATE servers SET seen = 0").await;
        self.open(database).await
    }

    async fn change(&self, store: &Arc<dyn Store>, sql: &str) {
        let database = self.of.lock()[&place(store)].clone();
        self.sql(&database, sql).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGQUIT);
        let _ = self.child.wait();
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
        let database = self.of.lock()[&place(&one)].clone();
        [one, self.open(database).await]
    }
    async fn bury(&self, dead: Arc<dyn Store>, other: &Arc<dyn Store>) {
        let database = self.of.lock()[&place(&dead)].clone();
        drop(dead);
        let sql = "UPDATE servers SET seen = 0 WHERE id = (SELECT owner FROM recipients WHERE state = 1 ORDER BY message LIMIT 1)";
        self.sql(&database, sql).await;
        let living = self.open(database).await;
        servers::take_over(&living.client().await.unwrap()).await.unwrap();
        living.close().await.unwrap();
        other.writable().await.unwrap();
    }
}
