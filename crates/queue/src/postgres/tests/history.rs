//! History in the database of a store: kept, found, bounded, and forgotten by age, a portion at a time.

use super::cluster::Cluster;
use super::samples::record;
use crate::store::Store;
use smtp_history::{Addition, Archive, Old};
use ulid::Ulid;

const DAY: i64 = 86_400_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_audit_trail_the_last_hundred_thousand_records_are_kept() {
    let cluster = Cluster::start().await;
    let store = cluster.new_store().await;
    let client = cluster.client_of(&store).await;
    for target in ["1", "2", "3"] {
        store.audit(record(target)).await.unwrap();
    }
    // As if there had been that many between.
    client
        .batch_execute("ALTER TABLE audit ALTER COLUMN number RESTART WITH 100002")
        .await
        .unwrap();
    store.audit(record("100002")).await.unwrap();
    let kept = store.audited(None, 10).await.unwrap();
    let targets: Vec<&str> = kept.iter().map(|one| one.target.as_str()).collect();
    assert_eq!(targets, ["100002", "3"]);
}

/// What happened to a message that came and ended on these days.
fn told(number: u128, came: i64, ended: Option<i64>) -> Addition {
    Addition {
        id: Ulid::from_parts((came * DAY).unsigned_abs(), number).to_string(),
        ended: ended.map(|day| day * DAY),
        sender: Some("a@x.example".into()),
        steps: "first\n".into(),
        terms: vec![7, i64::try_from(number).unwrap() + 100],
        ..Addition::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_old_is_forgotten_a_portion_at_a_time_and_by_one_server() {
    let cluster = Cluster::start().await;
    let store = cluster.new_store().await;
    let client = cluster.client_of(&store).await;
    let history = store.history();
    // Old ones; those that waited long, that never ended, that are new.
    let old = (0..1_200).map(|number| told(number, 1, Some(2)));
    let others = [(1_200, 1, Some(95)), (1_300, 1, None), (1_400, 96, Some(96))];
    let others = others
        .into_iter()
        .flat_map(|(first, came, ended)| (first..first + 10).map(move |number| told(number, came, ended)));
    let all: Vec<Addition> = old.chain(others).collect();
    let forget = async |ended_before: i64, lost_before: i64| {
        let history = history.clone();
        let old = Old {
            ended_before: ended_before * DAY,
            lost_before: lost_before * DAY,
            max_size: 1 << 30,
        };
        let work = move || history.forget(&old).unwrap();
        tokio::task::spawn_blocking(work).await.unwrap()
    };
    let writer = history.clone();
    tokio::task::spawn_blocking(move || writer.add(&all).unwrap())
        .await
        .unwrap();
    let figures = async || -> [i64; 4] {
        let sql = "SELECT (SELECT count(*) FROM history), (SELECT count(*) FROM history_terms), (SELECT sum(octets)::bigint FROM history_size),
                          (SELECT sum(octet_length(steps) + 400)::bigint FROM history)";
        let row = client.query_one(sql, &[]).await.unwrap();
        [0, 1, 2, 3].map(|column| row.get(column))
    };
    assert_eq!(figures().await[..2], [1_230, 2_460]);
    // Another server is at it.
    let turn = "BEGIN; SELECT 1 FROM signals WHERE name = 'history' FOR UPDATE";
    client.batch_execute(turn).await.unwrap();
    assert_eq!(forget(93, 0).await, 0);
    client.batch_execute("COMMIT").await.unwrap();
    for portion in [500, 500, 200, 0] {
        assert_eq!(forget(93, 0).await, portion);
    }
    let [messages, terms, estimated, octets] = figures().await;
    assert_eq!((messages, terms, estimated), (30, 60, octets));
    let gone = "SELECT count(*) FROM history WHERE ended < 93 * 86400000::bigint";
    assert_eq!(client.query_one(gone, &[]).await.unwrap().get::<_, i64>(0), 0);
    // What never ended goes after a month more.
    assert_eq!(forget(93, 63).await, 10);
    assert_eq!(forget(93, 63).await, 0);
    assert_eq!(figures().await[..2], [20, 40]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_kept_found_bounded_and_forgotten() {
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
