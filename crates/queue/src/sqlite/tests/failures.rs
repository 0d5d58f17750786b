//! Torn and garbled logs, full disks, operations that fail.

use super::super::commit::{Change, Failure, Operation, Step};
use super::*;

/// Copies a spool as a power cut would leave it: as its files are now.
fn snapshot(folder: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    for name in ["smtp.db", "smtp.db-wal"] {
        fs::copy(folder.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

#[tokio::test]
async fn a_torn_log_keeps_what_was_committed_before() {
    let folder = TempDir::new().unwrap();
    let (store, _) = open(folder.path());
    let log = folder.path().join("smtp.db-wal");
    let mut committed = Vec::new();
    for _ in 0..20 {
        let new = small();
        let id = new.id;
        store.insert(new, Beginning::Due).await.unwrap();
        committed.push((id, fs::metadata(&log).unwrap().len()));
    }
    let expected: Vec<QueueId> = committed.iter().map(|(id, _)| *id).collect();
    let end = committed.last().unwrap().1;
    for cut in (0..end).step_by(40_009).chain([end - 1, end]) {
        let copy = snapshot(folder.path());
        let file = fs::OpenOptions::new()
            .write(true)
            .open(copy.path().join("smtp.db-wal"))
            .unwrap();
        file.set_len(cut).unwrap();
        // What a disk may leave behind the last write that it finished.
        let mut torn = fs::read(copy.path().join("smtp.db-wal")).unwrap();
        torn.extend([0xa5; 9000]);
        fs::write(copy.path().join("smtp.db-wal"), torn).unwrap();
        let whole = committed.iter().filter(|(_, length)| *length <= cut).count();
        let (store, _) = open(copy.path());
        assert_eq!(ids(&store).await, expected[..whole], "cut at {cut} of {end}");
        assert_eq!(store.stats().await.unwrap().messages, whole as u64);
        store.insert(small(), Beginning::Due).await.unwrap();
    }
}

#[tokio::test]
async fn a_garbled_log_keeps_what_was_committed_before() {
    let folder = TempDir::new().unwrap();
    let (store, _) = open(folder.path());
    let log = folder.path().join("smtp.db-wal");
    let mut expected = Vec::new();
    let mut middle = 0;
    for number in 0..20 {
        let new = small();
        if number == 10 {
            middle = usize::try_from(fs::metadata(&log).unwrap().len()).unwrap();
        }
        if number < 10 {
            expected.push(new.id);
        }
        store.insert(new, Beginning::Due).await.unwrap();
    }
    let copy = snapshot(folder.path());
    let path = copy.path().join("smtp.db-wal");
    let mut garbled = fs::read(&path).unwrap();
    garbled[middle + 100] ^= 1;
    fs::write(&path, garbled).unwrap();
    assert_eq!(ids(&open(copy.path()).0).await, expected);
}

/// Limits the database to the pages it has and some more, as a full disk would.
struct LimitPages(i64);

impl Operation for LimitPages {
    type Output = ();
    const NAME: &'static str = "limit pages";

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<()> {
        let pages: i64 = change
            .db
            .pragma_query_value(None, "page_count", |row| row.get(0))?;
        change
            .db
            .pragma_update_and_check(None, "max_page_count", pages + self.0, |_| Ok(()))
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let folder = TempDir::new().unwrap();
    let (store, spool) = open(folder.path());
    store.commit(LimitPages(10)).await.unwrap();
    let mut stored = Vec::new();
    let error = loop {
        let new = small();
        let id = new.id;
        match store.insert(new, Beginning::Due).await {
            Ok(_) => stored.push(id),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert_eq!(ids(&store).await, stored, "nothing half kept");
    assert_eq!(store.stats().await.unwrap().messages, stored.len() as u64);
    let mut big = large(&spool).await;
    // More rows than there is room for.
    big.recipients = vec![big.recipients[0].clone(); 3000];
    let path = path_of(&big);
    assert!(path.exists());
    assert!(store.insert(big, Beginning::Due).await.is_err());
    assert!(!path.exists(), "a refused body goes");
    // Delivery goes on, and what it frees can be used again.
    for claim in store.claim(due_now(1000)).await.unwrap() {
        assert_eq!(deliver(&store, &claim).await.removed.len(), 1);
    }
    store.insert(small(), Beginning::Due).await.unwrap();
    store.commit(LimitPages(100_000)).await.unwrap();
    for _ in 0..50 {
        store.insert(small(), Beginning::Due).await.unwrap();
    }
    assert_eq!(store.stats().await.unwrap().messages, 51);
}

/// A body is removed only when its message will certainly not be found after a crash.
#[test]
fn what_a_failure_leaves_is_known_but_for_a_broken_commit() {
    use rusqlite::ffi::{SQLITE_BUSY, SQLITE_FULL, SQLITE_IOERR};
    let known = |code, step| {
        let error = rusqlite::ffi::Error::new(code);
        Failure::new(&rusqlite::Error::SqliteFailure(error, None), step).known
    };
    assert!(known(SQLITE_BUSY, Step::Begin));
    assert!(known(SQLITE_IOERR, Step::Change));
    assert!(
        known(SQLITE_FULL, Step::Commit),
        "the ending frame was not written"
    );
    assert!(!known(SQLITE_IOERR, Step::Commit), "it was perhaps written");
}

/// Fails after it has changed something.
struct Spoilsport;

impl Operation for Spoilsport {
    type Output = ();
    const NAME: &'static str = "spoilsport";

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<()> {
        change.execute("DELETE FROM recipients", [])?;
        change.effects.counters.message(1000, 1);
        Err(rusqlite::Error::InvalidQuery)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_does_not_hurt_its_neighbours() {
    let folder = TempDir::new().unwrap();
    let (store, _) = open(folder.path());
    let tasks: Vec<_> = (0..200)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                if number % 10 == 0 {
                    assert!(store.commit(Spoilsport).await.is_err());
                } else {
                    store.insert(small(), Beginning::Due).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.messages, stats.recipients[0]), (180, 180));
    assert_eq!(ids(&store).await.len(), 180);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_database_is_waited_for_once_by_all_together() {
    let folder = TempDir::new().unwrap();
    let (store, spool) = open(folder.path());
    let other = rusqlite::Connection::open(folder.path().join("smtp.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let start = std::time::Instant::now();
    let big = large(&spool).await;
    let path = path_of(&big);
    let mut tasks = Vec::new();
    for new in (0..9).map(|_| small()).chain([big]) {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(
            async move { store.insert(new, Beginning::Due).await },
        ));
    }
    for task in tasks {
        let error = task.await.unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert!(!path.exists(), "a refused body goes");
    other.execute_batch("ROLLBACK").unwrap();
    store.insert(small(), Beginning::Due).await.unwrap();
}
