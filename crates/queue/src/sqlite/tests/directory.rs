//! The directory in the database: its promises, databases of the version before it, what a damaged record does.

use super::*;
use crate::conformance::directory::{ShelfSubject, run_shelf};
use smtp_directory::testing::MemoryShelf;
use smtp_directory::{Change, Declarations, Directory, Edit, Kind, NewLogin, Record, Resolution, Shelf};

#[async_trait]
impl ShelfSubject for Sqlite {
    async fn fresh(&self) -> Arc<dyn Shelf> {
        self.new_store()
    }
    async fn crash(&self, shelf: Arc<dyn Shelf>) -> Arc<dyn Shelf> {
        self.after_a_crash(shelf)
    }
}

/// The shelf that other crates test with keeps the same promises, but survives nothing.
#[derive(Default)]
struct Memory {
    made: std::sync::atomic::AtomicU8,
}

#[async_trait]
impl ShelfSubject for Memory {
    async fn fresh(&self) -> Arc<dyn Shelf> {
        let number = self.made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Arc::new(MemoryShelf::with(smtp_directory::Contents {
            secret: [number; 32],
            ..Default::default()
        }))
    }
    async fn crash(&self, shelf: Arc<dyn Shelf>) -> Arc<dyn Shelf> {
        shelf
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shelf_keeps_every_promise() {
    run_shelf(&Sqlite::default()).await;
    run_shelf(&Memory::default()).await;
}

fn no_declarations() -> Declarations {
    Declarations::read(&smtp_config::Config::defaults(smtp_config::Profile::Testing)).unwrap()
}

#[tokio::test]
async fn a_database_of_version_1_keeps_its_mail_and_gets_a_directory() {
    let folder = TempDir::new().unwrap();
    let db = Connection::open(folder.path().join("smtp.db")).unwrap();
    db.execute_batch(include_str!("../migrations/0001.sql")).unwrap();
    db.execute(
        "INSERT INTO spool (id) VALUES (?1)",
        [QueueId::generate().to_bytes()],
    )
    .unwrap();
    let id = QueueId::generate();
    db.execute(
        "INSERT INTO messages VALUES (1, ?1, 1700000000000, 'a@x.example', 2, 0, 0, 0, 0, 0, NULL, NULL, 'client')",
        [id.to_bytes()],
    )
    .unwrap();
    db.execute_batch(
        "INSERT INTO bodies VALUES (1, x'0d0a');
         INSERT INTO recipients VALUES (1, 0, 'b@y.example', 'y.example', NULL, NULL, 0, 0, 0, 0, 0, NULL);
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(db);
    let (store, _) = open(folder.path());
    assert_eq!(ids(&store).await, [id]);
    assert_eq!(store.load().await.unwrap().records, []);
    let (directory, warnings) = Directory::open(store.clone(), no_declarations()).await.unwrap();
    assert_eq!(warnings, [""; 0]);
    let change = Change::AddDomain {
        name: "X.example".to_owned(),
        deliver: smtp_config::LocalDelivery::Capture,
        recipients: None,
    };
    directory.apply(change).await.unwrap();
    drop((directory, store));
    let (store, _) = open(folder.path());
    let (directory, _) = Directory::open(store.clone(), no_declarations()).await.unwrap();
    assert!(directory.snapshot().domain("x.example").is_some());
    assert_eq!(ids(&store).await, [id]);
}

#[tokio::test]
async fn a_damaged_record_is_left_out_said_and_kept() {
    let folder = TempDir::new().unwrap();
    let (store, _) = open(folder.path());
    let edits = [
        (
            Kind::Domain,
            "x.example",
            r#"{"deliver":"capture","recipients":"known"}"#,
        ),
        (Kind::Account, "ann@x.example", "{ no JSON"),
    ];
    let put = |(kind, name, value): (Kind, &str, &str)| {
        Edit::Put(Record {
            kind,
            name: name.to_owned(),
            value: value.to_owned(),
        })
    };
    store
        .apply(0, edits.into_iter().map(put).collect())
        .await
        .unwrap();
    let (directory, warnings) = Directory::open(store.clone(), no_declarations()).await.unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].contains("account ann@x.example in the database is left out"),
        "{warnings:?}"
    );
    let ann = smtp::Address::parse("ann@x.example").unwrap();
    assert!(
        matches!(directory.snapshot().recipient(&ann), Resolution::Trouble(_)),
        "not refused for good"
    );
    let add = Change::AddAccount {
        name: "ann@x.example".to_owned(),
        login: NewLogin::None,
        senders: Vec::new(),
        identities: Vec::new(),
        quotas: Vec::new(),
    };
    let refused = directory.apply(add.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("remove it first"), "{refused}");
    let remove = Change::RemoveAccount {
        name: "ann@x.example".to_owned(),
    };
    directory.apply(remove).await.unwrap();
    directory.apply(add).await.unwrap();
    assert_eq!(directory.snapshot().recipient(&ann), Resolution::Local(vec![ann]));
}

#[tokio::test]
async fn a_closed_store_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let (store, _) = open(folder.path());
    let (directory, _) = Directory::open(store.clone(), no_declarations()).await.unwrap();
    store.close().await.unwrap();
    let change = Change::AddDomain {
        name: "x.example".to_owned(),
        deliver: smtp_config::LocalDelivery::Capture,
        recipients: None,
    };
    let error = directory.apply(change).await.unwrap_err().to_string();
    assert!(error.contains("the store is closed"), "{error}");
    assert!(directory.snapshot().domain("x.example").is_none());
}
