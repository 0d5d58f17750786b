//! The suite of promises, against a real PostgreSQL.

use super::*;
use crate::conformance::directory::{ShelfSubject, run_shelf};
use crate::conformance::outbox::{OutboxSubject, run_outbox};
use crate::conformance::shared::{SharedSubject, run_shared};
use crate::conformance::{Subject, run_all};
use crate::outbox::Outbox;
use parking_lot::Mutex;
use smtp_directory::Shelf;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;
use tokio_postgres::NoTls;

/// A PostgreSQL of the test's own, on a socket in a folder of its own. Dropped, it is ended.
struct Cluster {
    folder: TempDir,
    /// Folders of servers.
    folders: TempDir,
    /// Servers reach it as if a pooler were before it.
    pooler: bool,
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
    async fn start() -> Cluster {
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

    fn settings(&self, database: &str) -> PostgresSettings {
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

    async fn client(&self, database: &str) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.url(database), NoTls).await.unwrap();
        tokio::spawn(async { connection.await.unwrap_or_default() });
        client
    }

    async fn sql(&self, database: &str, sql: &str) {
        self.client(database).await.batch_execute(sql).await.unwrap();
    }

    async fn open(&self, database: String) -> Arc<PostgresStore> {
        let (store, _) = PostgresStore::open(self.settings(&database), Observer::silent())
            .await
            .unwrap();
        self.of.lock().insert(place(&store), database);
        store
    }

    async fn new_store(&self) -> Arc<PostgresStore> {
        let name = format!("queue{}", self.made.fetch_add(1, Ordering::SeqCst));
        self.sql("postgres", &format!("CREATE DATABASE {name}")).await;
        self.open(name).await
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_servers_keep_every_promise() {
    run_shared(&Cluster::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_start_together_migrate_once() {
    let cluster = Cluster::start().await;
    cluster.sql("postgres", "CREATE DATABASE together").await;
    let opened = tokio::join!(
        cluster.open("together".into()),
        cluster.open("together".into()),
        cluster.open("together".into())
    );
    assert!(opened.0.stats().await.is_ok() && opened.2.stats().await.is_ok());
    // One that leaves in good order leaves nothing behind.
    let client = cluster.client("together").await;
    let servers = async || client.query("SELECT id FROM servers", &[]).await.unwrap().len();
    assert_eq!(servers().await, 3);
    opened.1.close().await.unwrap();
    assert_eq!(servers().await, 2);
    assert!(matches!(opened.1.stats().await, Err(StoreError::Closed)));
    cluster
        .sql("together", "UPDATE schema_version SET version = 99")
        .await;
    let newer = PostgresStore::open(cluster.settings("together"), Observer::silent()).await;
    let error = newer.unwrap_err().to_string();
    assert!(error.contains("newer version"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_that_mean_something_to_sql_mean_nothing() {
    let cluster = Cluster::start().await;
    let store = cluster.new_store().await;
    for text in [
        "'; DROP TABLE messages; --",
        "%' OR '1'='1",
        "$1",
        "\\",
        "\0",
        "\u{0}x",
        "$$;DELETE FROM recipients;$$",
    ] {
        let filters = [
            Filter {
                domain: Some(text.into()),
                ..Filter::default()
            },
            Filter {
                sender: Some(text.into()),
                ..Filter::default()
            },
            Filter {
                sender: Some(format!("@{text}")),
                ..Filter::default()
            },
            Filter {
                recipient: Some(text.into()),
                ..Filter::default()
            },
            Filter {
                reason: Some(text.into()),
                ..Filter::default()
            },
            Filter {
                account: Some(text.into()),
                ..Filter::default()
            },
        ];
        for filter in filters {
            assert!(store.list(filter.clone(), None, 10).await.unwrap().is_empty());
            assert_eq!(store.delete(filter.clone()).await.unwrap(), 0);
            assert_eq!(store.hold(filter).await.unwrap(), 0);
        }
        assert!(!store.remove_token(text.into()).await.unwrap());
        assert!(store.next_call(text.into()).await.unwrap().is_none());
    }
    assert_eq!(store.stats().await.unwrap().messages, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_every_promise() {
    run_all(&Cluster::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_every_promise_without_prepared_statements() {
    let mut cluster = Cluster::start().await;
    cluster.pooler = true;
    run_all(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outbox_keeps_every_promise() {
    run_outbox(&Cluster::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shelf_keeps_every_promise() {
    run_shelf(&Cluster::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_claims_are_by_domain_the_longest_due_first() {
    let cluster = Cluster::start().await;
    let store = cluster.new_store().await;
    for number in 0..300 {
        let to = format!("b@{}.example", ["x", "y", "z"][number % 3]);
        let new = crate::conformance::message(i64::try_from(number).unwrap() / 100, &[&to]);
        store.insert(new, Beginning::Due).await.unwrap();
    }
    let request = |limit| ClaimRequest {
        now: Timestamp::now(),
        lease: Duration::from_secs(60),
        limit,
        exclude_domains: Vec::new(),
    };
    let domains = |claims: &[Claim]| -> Vec<String> {
        let of = |claim: &Claim| claim.recipients[0].recipient.address.domain().to_owned();
        let mut all: Vec<String> = claims.iter().map(of).collect();
        all.sort();
        all.dedup();
        all
    };
    assert_eq!(domains(&store.claim(request(100)).await.unwrap()).len(), 1);
    assert_eq!(domains(&store.claim(request(100)).await.unwrap()).len(), 1);
    // A small one takes what is due longest, whatever it is.
    let rest = store.claim(request(63)).await.unwrap();
    assert_eq!(
        (rest.len(), store.claim(request(100)).await.unwrap().len()),
        (63, 37)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_kept_found_bounded_and_forgotten() {
    use smtp_history::{Addition, Archive, Old};
    let cluster = Cluster::start().await;
    let store = cluster.new_store().await;
    let history = store.history();
    let work = move || {
        let id = |number: u64| format!("{:0>10}{:016}", "01M8", number);
        let addition = |number: u64, text: &str| Addition {
            id: id(number),
            ended: Some(1000),
            sender: Some("a@x.example".into()),
            steps: format!("{text}\n"),
            last_steps: "last\n".into(),
            omissible: 1,
            terms: vec![7, i64::try_from(number).unwrap() + 100],
            ..Addition::default()
        };
        let all: Vec<Addition> = (0..50).map(|number| addition(number, "first")).collect();
        history.add(&all).unwrap();
        history.add(&[addition(3, "second")]).unwrap();
        let third = history.by_id(&id(3)).unwrap().unwrap();
        assert_eq!((third.steps.as_str(), third.omitted), ("first\nsecond\n", 0));
        // Much of it is only counted, but not how it ended.
        history.add(&[addition(3, &"x".repeat(200_000))]).unwrap();
        history.add(&[addition(3, "too much")]).unwrap();
        let third = history.by_id(&id(3)).unwrap().unwrap();
        assert!(third.steps.ends_with("xxx\nlast\n") && third.omitted == 1);
        let newest = history.newest(Some(7), "", &id(40), 10).unwrap();
        assert_eq!(
            (newest.len(), &newest[0].id, &newest[9].id),
            (10, &id(39), &id(30))
        );
        assert_eq!(history.newest(Some(103), "", "Z", 10).unwrap().len(), 1);
        assert!(history.newest(Some(8), "", "Z", 10).unwrap().is_empty());
        assert_eq!(history.newest(None, &id(10), &id(20), 100).unwrap().len(), 10);
        // As much goes as is over the bound, the oldest first.
        let old = |max_size| Old {
            ended_before: 0,
            lost_before: 0,
            max_size,
        };
        assert_eq!(history.forget(&old(1 << 30)).unwrap(), 0);
        assert_eq!(
            history.forget(&old(200_000)).unwrap(),
            4,
            "the large one, and the three before it"
        );
        assert_eq!(history.forget(&old(200_000)).unwrap(), 0);
        assert!(history.by_id(&id(3)).unwrap().is_none() && history.by_id(&id(4)).unwrap().is_some());
        assert!(
            history.newest(Some(103), "", "Z", 10).unwrap().is_empty(),
            "and is not found any more"
        );
    };
    tokio::task::spawn_blocking(work).await.unwrap();
    store.close().await.unwrap();
}
