//! The crate from outside: events in, messages out.

use crate::{History, Limits, Page, Query, Settings};
use smtp_observe::{DeliveryStatus, Event, Listener, Observer, Tap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const DAY: u64 = 86_400;

struct Stage {
    folder: TempDir,
    room: Arc<AtomicBool>,
    observer: Observer,
}

impl Stage {
    fn new() -> Stage {
        Stage {
            folder: tempfile::tempdir().unwrap(),
            room: Arc::new(AtomicBool::new(true)),
            observer: Observer::silent(),
        }
    }

    fn open(&self, max_size: u64) -> Arc<History> {
        let room = self.room.clone();
        let settings = Settings {
            path: self.folder.path().join("history.db"),
            limits: Limits {
                retention: Duration::from_secs(7 * DAY),
                max_size,
            },
            has_room: Box::new(move || room.load(Ordering::SeqCst)),
        };
        History::open(settings, self.observer.clone()).unwrap()
    }

    fn dropped(&self) -> String {
        let text = self.observer.metrics(&smtp_observe::Gauges::default());
        let line = text
            .lines()
            .find(|line| line.starts_with("smtp_history_steps_dropped_total "));
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    }
}

/// The id of a message that came so many seconds ago.
fn id(seconds_ago: u64, number: u128) -> String {
    let now = jiff::Timestamp::now().as_millisecond().unsigned_abs();
    ulid::Ulid::from_parts(now - seconds_ago * 1000, number).to_string()
}

fn received(history: &History, id: &str, from: &str, message_id: &str) {
    history.saw(&Event::Received {
        id,
        listener: Listener::Submission,
        peer: "192.0.2.1:5".parse().unwrap(),
        helo: "client",
        account: Some("billing"),
        from,
        size: 100,
        recipients: 1,
        protocol: "ESMTPSA",
        tls: None,
        message_id: Some(message_id),
        unsigned: None,
        commit: Duration::from_millis(2),
        trace: None,
    });
}

fn delivery(history: &History, id: &str, to: &str, status: DeliveryStatus, text: &str) {
    history.saw(&Event::Delivery {
        id,
        to,
        orig_to: Some("Alias@x.test"),
        relay: "mx.test[192.0.2.2]:25",
        delay: Duration::from_secs(1),
        attempt: Duration::from_millis(40),
        connection_use: 1,
        dsn: "2.0.0",
        status,
        text,
        tls: None,
        phases: None,
    });
}

fn list(history: &History, query: Query) -> Page {
    history.ask(|search| search.list(&query, 100)).unwrap()
}

fn ids(page: &Page) -> Vec<&str> {
    page.entries.iter().map(|entry| entry.id.as_str()).collect()
}

#[test]
fn a_message_is_found_by_everything_that_is_known_of_it() {
    let stage = Stage::new();
    let history = stage.open(1 << 30);
    let (one, other) = (id(100, 1), id(50, 2));
    received(&history, &one, "Ann@x.test", "<1@x.test>");
    received(&history, &other, "bob@x.test", "<2@x.test>");
    delivery(&history, &one, "B@y.test", DeliveryStatus::Deferred, "451 later");
    history.flush();
    delivery(&history, &one, "b@y.test", DeliveryStatus::Sent, "250 ok");
    history.saw(&Event::Removed { id: &one });
    for query in [
        Query {
            message_id: Some("1@X.test".into()),
            ..Query::default()
        },
        Query {
            sender: Some("ann@x.test".into()),
            ..Query::default()
        },
        Query {
            recipient: Some("b@Y.test".into()),
            ..Query::default()
        },
        Query {
            recipient: Some("alias@x.test".into()),
            ..Query::default()
        },
        Query {
            until: Some(jiff::Timestamp::now() - Duration::from_secs(75)),
            ..Query::default()
        },
    ] {
        assert_eq!(ids(&list(&history, query.clone())), [&one], "{query:?}");
    }
    let by_account = Query {
        account: Some("billing".into()),
        ..Query::default()
    };
    assert_eq!(
        ids(&list(&history, by_account.clone())),
        [&other, &one],
        "newest first"
    );
    assert_eq!(ids(&list(&history, Query::default())), [&other, &one]);
    let both = Query {
        recipient: Some("b@y.test".into()),
        sender: Some("bob@x.test".into()),
        ..Query::default()
    };
    assert!(list(&history, both).entries.is_empty());
    // Page by page.
    let first = history.ask(|search| search.list(&by_account, 1)).unwrap();
    assert_eq!(ids(&first), [&other]);
    let rest = Query {
        before: first.next,
        ..by_account
    };
    assert_eq!(ids(&list(&history, rest)), [&one]);

    let entry = history
        .ask(|search| search.show(&one.to_lowercase()))
        .unwrap()
        .unwrap();
    let events: Vec<&str> = entry
        .steps
        .iter()
        .map(|step| step["event"].as_str().unwrap())
        .collect();
    assert_eq!(events, ["received", "delivery", "delivery", "removed"]);
    assert_eq!(
        (
            entry.steps[1]["text"].as_str(),
            entry.steps[0]["account"].as_str()
        ),
        (Some("451 later"), Some("billing"))
    );
    assert_eq!(entry.recipients["b@y.test"].status, "sent");
    assert!(entry.ended_at.is_some());
    let other = history.ask(|search| search.show(&other)).unwrap().unwrap();
    assert!(other.ended_at.is_none() && other.recipients.is_empty());
}

#[test]
fn a_report_is_a_step_of_what_it_is_about() {
    let stage = Stage::new();
    let history = stage.open(1 << 30);
    let (about, report) = (id(10, 1), id(9, 2));
    received(&history, &about, "ann@x.test", "<1@x.test>");
    history.saw(&Event::DsnQueued {
        id: &report,
        about: &about,
        kind: smtp_observe::DsnKind::Failure,
        to: "ann@x.test",
    });
    let show = |id: &str| history.ask(|search| search.show(id)).unwrap().unwrap();
    assert_eq!(show(&about).steps[1]["id"], report);
    assert_eq!(
        (show(&report).sender.as_deref(), show(&report).steps.len()),
        (Some(""), 1)
    );
    let to = Query {
        recipient: Some("ann@x.test".into()),
        ..Query::default()
    };
    assert_eq!(ids(&list(&history, to)), [&report]);
}

#[test]
fn what_ended_long_ago_is_forgotten() {
    let stage = Stage::new();
    let (old, waiting, new) = (id(9 * DAY, 1), id(9 * DAY, 2), id(10, 3));
    let history = stage.open(1 << 30);
    for id in [&old, &waiting, &new] {
        received(&history, id, "ann@x.test", "<1@x.test>");
    }
    history.saw(&Event::Removed { id: &old });
    history.saw(&Event::Removed { id: &new });
    history.flush();
    // The clock of the end is ours.
    let long_ago = jiff::Timestamp::now() - Duration::from_secs(8 * DAY);
    let database = stage.folder.path().join("history.db");
    let db = rusqlite::Connection::open(&database).unwrap();
    db.execute(
        "UPDATE messages SET ended = ?1 WHERE id = ?2",
        rusqlite::params![long_ago.as_millisecond(), old],
    )
    .unwrap();
    drop((history, db));
    let mut database = crate::database::Database::open(&database, &stage.observer).unwrap();
    let limits = |days, max_size| Limits {
        retention: Duration::from_secs(days * DAY),
        max_size,
    };
    database
        .forget(&limits(7, 1 << 30), jiff::Timestamp::now())
        .unwrap();
    drop(database);
    let history = stage.open(1 << 30);
    let by_sender = Query {
        sender: Some("ann@x.test".into()),
        ..Query::default()
    };
    assert_eq!(
        ids(&list(&history, by_sender)),
        [&new, &waiting],
        "what waits is kept, however old"
    );
}

#[test]
fn the_oldest_go_when_there_is_too_much() {
    let stage = Stage::new();
    let history = stage.open(1 << 30);
    for number in 0..4000 {
        let id = id(4000 - number, u128::from(number));
        received(
            &history,
            &id,
            &format!("{number}@x.test"),
            &format!("<{number}@{}.test>", "x".repeat(200)),
        );
        history.saw(&Event::Removed { id: &id });
    }
    history.flush();
    drop(history);
    let path = stage.folder.path().join("history.db");
    let mut database = crate::database::Database::open(&path, &stage.observer).unwrap();
    let limits = Limits {
        retention: Duration::from_secs(7 * DAY),
        max_size: 1 << 20,
    };
    database.forget(&limits, jiff::Timestamp::now()).unwrap();
    drop(database);
    let history = stage.open(1 << 30);
    let mut kept = 0;
    let mut query = Query::default();
    loop {
        let page = list(&history, query.clone());
        kept += page.entries.len();
        query.before = page.next;
        if query.before.is_none() {
            break;
        }
    }
    assert!((500..2500).contains(&kept), "{kept}");
    let of = |number: u32| Query {
        sender: Some(format!("{number}@x.test")),
        ..Query::default()
    };
    assert_eq!(list(&history, of(3999)).entries.len(), 1);
    assert_eq!(list(&history, of(0)).entries.len(), 0);
    let db = rusqlite::Connection::open(&path).unwrap();
    let count = |table: &str| {
        db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
            row.get::<_, i64>(0)
        })
        .unwrap()
    };
    // Sender, account and message id of each: no term is left behind.
    assert_eq!(count("terms"), 3 * count("messages"));
}

#[test]
fn only_its_owner_reads_who_writes_to_whom() {
    use std::os::unix::fs::PermissionsExt;
    let stage = Stage::new();
    let history = stage.open(u64::MAX);
    received(&history, &id(5, 1), "a@x.test", "<m@x.test>");
    history.flush();
    for file in ["history.db", "history.db-wal", "history.db-shm"] {
        let mode = std::fs::metadata(stage.folder.path().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_database_that_cannot_be_read_is_set_aside() {
    let stage = Stage::new();
    let path = stage.folder.path().join("history.db");
    std::fs::write(&path, "this is no database, however long it may be".repeat(100)).unwrap();
    let history = stage.open(1 << 30);
    let message = id(1, 1);
    received(&history, &message, "ann@x.test", "<1@x.test>");
    assert_eq!(ids(&list(&history, Query::default())), [&message]);
    let names: Vec<String> = std::fs::read_dir(stage.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        names.iter().any(|name| name.starts_with("history.db.damaged-")),
        "{names:?}"
    );
    // And one that is damaged while it is in use.
    drop(history);
    let history = stage.open(1 << 30);
    let mut octets = std::fs::read(&path).unwrap();
    octets.iter_mut().for_each(|octet| *octet = 0x55);
    std::fs::write(&path, octets).unwrap();
    for round in 0..3 {
        received(&history, &id(1, 10 + round), "ann@x.test", "<1@x.test>");
        history.flush();
    }
    assert!(!list(&history, Query::default()).entries.is_empty());
}

#[test]
fn without_room_steps_are_dropped_and_counted() {
    let stage = Stage::new();
    let history = stage.open(1 << 30);
    stage.room.store(false, Ordering::SeqCst);
    received(&history, &id(1, 1), "ann@x.test", "<1@x.test>");
    history.flush();
    assert_eq!(stage.dropped(), "1");
    stage.room.store(true, Ordering::SeqCst);
    let later = id(1, 2);
    received(&history, &later, "ann@x.test", "<1@x.test>");
    assert_eq!(ids(&list(&history, Query::default())), [&later]);
    assert_eq!(stage.dropped(), "1");
}

#[test]
fn a_message_that_is_tried_for_ever_stays_small() {
    let stage = Stage::new();
    let history = stage.open(1 << 30);
    let message = id(1000, 1);
    received(&history, &message, "ann@x.test", "<1@x.test>");
    for _ in 0..800 {
        delivery(
            &history,
            &message,
            "b@y.test",
            DeliveryStatus::Deferred,
            &"451 later ".repeat(20),
        );
        history.flush();
    }
    delivery(&history, &message, "b@y.test", DeliveryStatus::Expired, "too old");
    // Written at different times.
    history.flush();
    history.saw(&Event::Removed { id: &message });
    let entry = history.ask(|search| search.show(&message)).unwrap().unwrap();
    assert!(
        entry.omitted > 300 && entry.steps.len() < 500,
        "{} {}",
        entry.omitted,
        entry.steps.len()
    );
    assert_eq!(
        entry.recipients["b@y.test"].status, "expired",
        "how it ended is always told"
    );
}

#[test]
fn what_was_seen_before_the_end_is_kept() {
    let stage = Stage::new();
    let history = stage.open(1 << 30);
    let message = id(1, 1);
    received(&history, &message, "ann@x.test", "<1@x.test>");
    drop(history);
    assert_eq!(ids(&list(&stage.open(1 << 30), Query::default())), [&message]);
}
