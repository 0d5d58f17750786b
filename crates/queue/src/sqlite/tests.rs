//! The suite of promises, and what only this store can break: files, locks, schema, log.

use super::*;
use crate::conformance::outbox::{OutboxSubject, run_outbox};
use crate::conformance::{Subject, delivered, due_now, run_all};
use crate::id::QueueId;
use crate::message::{Beginning, Body, Claim, MailOptions, NewMessage, NewRecipient};
use crate::outbox::Outbox;
use crate::store::{Finished, Store, Term};
use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::Connection;
use smtp_observe::Observer;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

mod directory;
mod failures;

fn settings(folder: &Path) -> SqliteSettings {
    SqliteSettings {
        path: folder.join("smtp.db"),
        min_free: 0,
        memory_budget: 16 << 20,
    }
}

fn open(folder: &Path) -> (Arc<SqliteStore>, Spool) {
    SqliteStore::open(settings(folder), Observer::silent()).unwrap()
}

fn refusal(folder: &Path) -> String {
    SqliteStore::open(settings(folder), Observer::silent())
        .unwrap_err()
        .to_string()
}

fn message(body: Body, id: QueueId) -> NewMessage {
    NewMessage {
        id,
        received_at: Timestamp::now(),
        sender: None,
        options: MailOptions::default(),
        recipients: vec![NewRecipient {
            address: smtp::Address::parse("a@x.example").unwrap(),
            notify: None,
            orcpt: None,
        }],
        body,
    }
}

fn small() -> NewMessage {
    message(
        Body::Memory(Bytes::from_static(&[b'x'; 5000])),
        QueueId::generate(),
    )
}

async fn large(spool: &Spool) -> NewMessage {
    let id = QueueId::generate();
    let mut writer = spool.writer(id);
    for _ in 0..10 {
        writer.write(&[b'y'; 60_000]).await.unwrap();
    }
    message(writer.finish().await.unwrap(), id)
}

fn path_of(message: &NewMessage) -> PathBuf {
    match &message.body {
        Body::File { path, .. } => path.clone(),
        Body::Memory(_) => panic!("a large body is a file"),
    }
}

async fn deliver(store: &SqliteStore, claim: &Claim) -> Finished {
    let results = vec![delivered(claim)];
    store.finish(results, Vec::new()).await.unwrap()
}

async fn ids(store: &SqliteStore) -> Vec<QueueId> {
    let lines = store.list(Filter::default(), None, 1000).await.unwrap();
    lines.iter().map(|line| line.message.id).collect()
}

/// Makes stores for a suite, and keeps each one's folder, by the store's address.
#[derive(Default)]
struct Sqlite {
    folders: Mutex<HashMap<usize, TempDir>>,
}

fn place<T: ?Sized>(store: &Arc<T>) -> usize {
    Arc::as_ptr(store).cast::<()>() as usize
}

impl Sqlite {
    fn keep(&self, folder: TempDir) -> Arc<SqliteStore> {
        let store = open(folder.path()).0;
        self.folders.lock().insert(place(&store), folder);
        store
    }
    fn new_store(&self) -> Arc<SqliteStore> {
        self.keep(TempDir::new().unwrap())
    }
    fn after_a_crash<T: ?Sized>(&self, store: Arc<T>) -> Arc<SqliteStore> {
        let folder = self.folders.lock().remove(&place(&store)).unwrap();
        drop(store);
        self.keep(folder)
    }
    fn change(&self, store: &Arc<dyn Store>, sql: &str, params: impl rusqlite::Params) {
        let folders = self.folders.lock();
        let db = Connection::open(folders[&place(store)].path().join("smtp.db")).unwrap();
        assert_eq!(db.execute(sql, params).unwrap(), 1);
    }
}

#[async_trait]
impl Subject for Sqlite {
    async fn fresh(&self) -> Arc<dyn Store> {
        self.new_store()
    }
    async fn crash(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        self.after_a_crash(store)
    }
    async fn spoil_address(&self, store: &Arc<dyn Store>, message: i64, recipient: u32) {
        let sql = "UPDATE recipients SET address = 'no address' WHERE";
        self.change(
            store,
            &format!("{sql} message = ?1 AND idx = ?2"),
            (message, recipient),
        );
    }
    async fn spoil_content(&self, store: &Arc<dyn Store>, message: i64) {
        self.change(store, "DELETE FROM bodies WHERE message = ?1", [message]);
    }
    async fn mend_content(&self, store: &Arc<dyn Store>, message: i64, content: &[u8]) {
        let sql = "INSERT INTO bodies (message, content) VALUES (?1, ?2)";
        self.change(store, sql, (message, content));
    }
}

#[tokio::test]
async fn keeps_every_promise() {
    run_all(&Sqlite::default()).await;
}

#[async_trait]
impl OutboxSubject for Sqlite {
    async fn fresh(&self) -> Arc<dyn Outbox> {
        self.new_store()
    }
    async fn crash(&self, store: Arc<dyn Outbox>) -> Arc<dyn Outbox> {
        self.after_a_crash(store)
    }
}

#[tokio::test]
async fn an_outbox_keeps_every_promise() {
    run_outbox(&Sqlite::default()).await;
}

#[tokio::test]
async fn the_figures_match_a_count() {
    let folder = TempDir::new().unwrap();
    let (store, _) = open(folder.path());
    for _ in 0..5 {
        store.insert(small(), Beginning::Due).await.unwrap();
    }
    let db = Connection::open(folder.path().join("smtp.db")).unwrap();
    assert_eq!(Counters::count(&db).unwrap(), *store.counters.lock());
}

#[tokio::test]
async fn a_spool_has_one_process() {
    let folder = TempDir::new().unwrap();
    let (store, _) = open(folder.path());
    assert!(refusal(folder.path()).contains("another process has the spool"));
    let other = SqliteSettings {
        path: folder.path().join("other.db"),
        ..settings(folder.path())
    };
    assert!(
        SqliteStore::open(other, Observer::silent()).is_err(),
        "the bodies beside it are shared"
    );
    store.close().await.unwrap();
    open(folder.path());
}

#[tokio::test]
async fn what_is_not_our_spool_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("smtp.db");
    let (store, _) = open(folder.path());
    store.close().await.unwrap();
    let db = Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    assert!(refusal(folder.path()).contains("newer version"));
    drop(db);
    fs::remove_file(&path).unwrap();
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE photos (x)")
        .unwrap();
    assert!(refusal(folder.path()).contains("not a mail spool"));
    fs::write(&path, [b'#'; 8192]).unwrap();
    assert!(refusal(folder.path()).contains("damaged"));
    assert_eq!(fs::read(&path).unwrap(), [b'#'; 8192], "and left as it is");
}

#[test]
fn network_file_systems_are_refused() {
    assert_eq!(open::refused(0x6969), Some("NFS"));
    assert_eq!(open::refused(0x6573_5546), Some("FUSE"));
    assert_eq!(open::refused(0xef53), None, "ext4");
    assert_eq!(open::refused(0x0102_1994), None, "tmpfs");
    assert_eq!(
        open::refused(0xdead_beef),
        None,
        "a local one that nobody heard of"
    );
}

#[tokio::test]
async fn a_large_body_is_a_file_for_as_long_as_its_message() {
    let folder = TempDir::new().unwrap();
    let (store, spool) = open(folder.path());
    let new = large(&spool).await;
    let path = path_of(&new);
    let lease = Term::of(Duration::from_secs(60));
    let claim = store
        .insert(new, Beginning::Leased(lease))
        .await
        .unwrap()
        .unwrap();
    let Body::File {
        path: found, size, ..
    } = store.body(&claim.message).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(
        (&found, size, fs::metadata(&path).unwrap().len()),
        (&path, 600_000, 600_000)
    );
    assert_eq!(deliver(&store, &claim).await.removed.len(), 1);
    store.close().await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_missing_file_is_set_aside_and_a_short_one_too() {
    let folder = TempDir::new().unwrap();
    let (store, spool) = open(folder.path());
    for spoil in [
        |path: &Path| fs::remove_file(path).unwrap(),
        |path: &Path| fs::write(path, "x").unwrap(),
    ] {
        let new = large(&spool).await;
        let (id, path) = (new.id, path_of(&new));
        store.insert(new, Beginning::Due).await.unwrap();
        let message = store.show(id).await.unwrap().unwrap().message;
        spoil(&path);
        assert!(matches!(store.body(&message).await, Err(StoreError::Damaged(_))));
        let state = store.show(id).await.unwrap().unwrap().recipients[0].state;
        assert_eq!(state, crate::State::Quarantined);
    }
}

#[tokio::test]
async fn orphans_are_removed_beside_their_database_only() {
    let folder = TempDir::new().unwrap();
    let (store, spool) = open(folder.path());
    let (kept, orphan) = (large(&spool).await, large(&spool).await);
    let (kept_path, orphan_path) = (path_of(&kept), path_of(&orphan));
    fs::write(folder.path().join("bodies/tmp/half"), "half").unwrap();
    fs::write(kept_path.with_file_name("README"), "not ours").unwrap();
    store.insert(kept, Beginning::Due).await.unwrap();
    drop((store, spool));
    let (store, _) = open(folder.path());
    assert!(kept_path.exists() && !orphan_path.exists());
    let set_aside = || fs::read_dir(folder.path().join("quarantine")).unwrap().count();
    assert_eq!(set_aside(), 0, "a left-over of ours is no mail");
    assert!(!folder.path().join("bodies/tmp/half").exists());
    assert!(kept_path.with_file_name("README").exists());
    store.close().await.unwrap();
    // The database is lost; the mail beside it is not ours to delete.
    for name in ["smtp.db", "smtp.db-wal", "smtp.db-shm"] {
        let _ = fs::remove_file(folder.path().join(name));
    }
    open(folder.path());
    assert!(!kept_path.exists());
    assert_eq!(set_aside(), 1);
    let saved = folder
        .path()
        .join("quarantine")
        .join(kept_path.file_name().unwrap());
    assert_eq!(fs::metadata(saved).unwrap().len(), 600_000);
}

#[tokio::test]
async fn an_older_copy_of_the_database_deletes_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("smtp.db");
    let copy = || fs::read(&path).unwrap();
    let (store, _) = open(folder.path());
    store.close().await.unwrap();
    let older = copy();
    let (store, spool) = open(folder.path());
    let new = large(&spool).await;
    let (id, body) = (new.id, path_of(&new));
    store.insert(new, Beginning::Due).await.unwrap();
    store.close().await.unwrap();
    let newer = copy();
    fs::write(&path, older).unwrap();
    let (store, _) = open(folder.path());
    let saved = folder.path().join("quarantine").join(id.to_string());
    assert!(!body.exists() && saved.exists());
    store.close().await.unwrap();
    fs::write(&path, newer).unwrap();
    let (store, _) = open(folder.path());
    assert!(
        body.exists() && !saved.exists(),
        "the one that knows it has it again"
    );
    let message = store.show(id).await.unwrap().unwrap().message;
    assert!(store.body(&message).await.is_ok());
}

#[tokio::test]
async fn a_crash_while_the_mark_changes_parts_nobody() {
    let folder = TempDir::new().unwrap();
    let owner = folder.path().join("bodies/owner");
    let (store, _) = open(folder.path());
    store.close().await.unwrap();
    let before = fs::read_to_string(&owner).unwrap();
    // Written beside the bodies, not in the database yet.
    let next = QueueId::generate();
    fs::write(&owner, format!("{before}{next}\n")).unwrap();
    let (store, spool) = open(folder.path());
    let orphan = path_of(&large(&spool).await);
    store.close().await.unwrap();
    let mark = fs::read_to_string(&owner).unwrap();
    assert_eq!(mark.lines().count(), 1);
    // In the database too, and both still beside the bodies.
    fs::write(&owner, format!("{before}{mark}")).unwrap();
    let (store, _) = open(folder.path());
    assert!(!orphan.exists(), "it knows the bodies as its own");
    let quarantine = fs::read_dir(folder.path().join("quarantine")).unwrap();
    assert_eq!(quarantine.count(), 0);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_body_of_elsewhere_is_refused() {
    let folder = TempDir::new().unwrap();
    let (store, _) = open(folder.path());
    let path = folder.path().join("elsewhere");
    fs::write(&path, "x").unwrap();
    let new = message(Body::file(path.clone(), 1), QueueId::generate());
    assert!(store.insert(new, Beginning::Due).await.is_err());
    assert!(path.exists());
}

#[tokio::test]
async fn an_unknown_state_is_set_aside_at_open() {
    let folder = TempDir::new().unwrap();
    let (store, _) = open(folder.path());
    let new = small();
    let id = new.id;
    store.insert(new, Beginning::Due).await.unwrap();
    drop(store);
    let db = Connection::open(folder.path().join("smtp.db")).unwrap();
    db.execute("UPDATE recipients SET state = 42", []).unwrap();
    drop(db);
    let (store, _) = open(folder.path());
    let recipient = store.show(id).await.unwrap().unwrap().recipients.remove(0);
    assert_eq!(recipient.state, crate::State::Quarantined);
    assert_eq!(store.stats().await.unwrap().recipients[7], 1);
}

#[tokio::test]
async fn suspensions_survive_an_upgrade() {
    let folder = TempDir::new().unwrap();
    let db = Connection::open(folder.path().join("smtp.db")).unwrap();
    for sql in &open::MIGRATIONS[..5] {
        db.execute_batch(sql).unwrap();
    }
    db.execute(
        "INSERT INTO spool (id) VALUES (?1)",
        [QueueId::generate().to_bytes()],
    )
    .unwrap();
    db.execute_batch(
        "PRAGMA user_version = 5; INSERT INTO suspensions VALUES ('domain', 'x.example', 'moved', 'admin', 5000, NULL)",
    )
    .unwrap();
    drop(db);
    let (store, _) = open(folder.path());
    let suspensions = store.suspensions().await.unwrap();
    assert_eq!(
        (suspensions.len(), &*suspensions[0].name, &*suspensions[0].reason),
        (1, "x.example", "moved")
    );
}
