//! The promises of [`smtp_directory::Shelf`], one case each.

use async_trait::async_trait;
use smtp_directory::{Edit, Kind, Record, Shelf, ShelfError};
use std::sync::Arc;

/// Makes shelves for the suite.
#[async_trait]
pub trait ShelfSubject: Send + Sync {
    /// An empty shelf, apart from all others.
    async fn fresh(&self) -> Arc<dyn Shelf>;
    /// The same shelf again, after its process died without closing it.
    async fn crash(&self, shelf: Arc<dyn Shelf>) -> Arc<dyn Shelf>;
}

/// Runs every case; panics with what was not kept.
pub async fn run_shelf(subject: &dyn ShelfSubject) {
    starts_empty(subject).await;
    keeps_records_and_revisions(subject).await;
    edits_are_made_in_order(subject).await;
    an_old_revision_changes_nothing(subject).await;
    one_of_many_at_once_comes_first(subject).await;
    texts_come_back_as_they_were(subject).await;
}

fn put(kind: Kind, name: &str, value: &str) -> Edit {
    Edit::Put(Record {
        kind,
        name: name.to_owned(),
        value: value.to_owned(),
    })
}

/// What is there, sorted.
async fn found(shelf: &Arc<dyn Shelf>) -> Vec<(Kind, String, String)> {
    let contents = shelf.load().await.unwrap();
    assert_eq!(contents.revision, shelf.revision().await.unwrap());
    let parts = |record: Record| (record.kind, record.name, record.value);
    let mut records: Vec<_> = contents.records.into_iter().map(parts).collect();
    records.sort();
    records
}

fn record(kind: Kind, name: &str, value: &str) -> (Kind, String, String) {
    (kind, name.to_owned(), value.to_owned())
}

async fn starts_empty(subject: &dyn ShelfSubject) {
    let (one, other) = (subject.fresh().await, subject.fresh().await);
    assert_eq!(found(&one).await, []);
    assert_eq!(one.revision().await.unwrap(), 0);
    let secret = one.load().await.unwrap().secret;
    assert_ne!(secret, other.load().await.unwrap().secret);
    let again = subject.crash(one).await;
    assert_eq!(again.load().await.unwrap().secret, secret);
}

async fn keeps_records_and_revisions(subject: &dyn ShelfSubject) {
    let mut shelf = subject.fresh().await;
    let mut revision = 0;
    for (number, kind) in Kind::ALL.into_iter().enumerate() {
        // One name for all: the kind is part of it.
        let next = shelf
            .apply(revision, vec![put(kind, "name", &number.to_string())])
            .await;
        revision = next.unwrap();
        assert_eq!(revision, number as u64 + 1);
        shelf = subject.crash(shelf).await;
    }
    let numbered = Kind::ALL.into_iter().enumerate();
    let expected: Vec<_> = numbered
        .map(|(number, kind)| record(kind, "name", &number.to_string()))
        .collect();
    assert_eq!(found(&shelf).await, expected);
    assert_eq!(shelf.revision().await.unwrap(), revision);
}

async fn edits_are_made_in_order(subject: &dyn ShelfSubject) {
    let shelf = subject.fresh().await;
    let edits = vec![
        put(Kind::Alias, "a", "old"),
        put(Kind::Alias, "b", "gone"),
        put(Kind::Alias, "a", "new"),
        Edit::Delete(Kind::Alias, "b".to_owned()),
        Edit::Delete(Kind::Alias, "never there".to_owned()),
        Edit::Delete(Kind::Domain, "a".to_owned()),
    ];
    assert_eq!(shelf.apply(0, edits).await.unwrap(), 1, "one revision for all");
    let shelf = subject.crash(shelf).await;
    assert_eq!(found(&shelf).await, [record(Kind::Alias, "a", "new")]);
    let nothing = vec![Edit::Delete(Kind::Alias, "b".to_owned())];
    assert_eq!(shelf.apply(1, nothing).await.unwrap(), 2, "it grows all the same");
}

async fn an_old_revision_changes_nothing(subject: &dyn ShelfSubject) {
    let shelf = subject.fresh().await;
    shelf
        .apply(0, vec![put(Kind::Account, "ann", "1")])
        .await
        .unwrap();
    for wrong in [0, 2, 77] {
        let edits = vec![put(Kind::Account, "ann", "2"), put(Kind::Account, "bob", "2")];
        assert_eq!(shelf.apply(wrong, edits).await, Err(ShelfError::Moved));
    }
    assert_eq!(found(&shelf).await, [record(Kind::Account, "ann", "1")]);
    assert_eq!(shelf.revision().await.unwrap(), 1);
}

async fn one_of_many_at_once_comes_first(subject: &dyn ShelfSubject) {
    let shelf = subject.fresh().await;
    let writers = (0..20).map(|number| {
        let shelf = Arc::clone(&shelf);
        tokio::spawn(async move {
            let edit = put(Kind::Domain, "x.example", &number.to_string());
            shelf
                .apply(0, vec![edit])
                .await
                .map(|revision| (number, revision))
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut winners = Vec::new();
    for writer in writers {
        match writer.await.unwrap() {
            Ok((number, revision)) => winners.push((number, revision)),
            Err(error) => assert_eq!(error, ShelfError::Moved),
        }
    }
    let [(number, 1)] = winners[..] else {
        panic!("{winners:?}")
    };
    let expected = record(Kind::Domain, "x.example", &number.to_string());
    assert_eq!(found(&shelf).await, [expected]);
}

async fn texts_come_back_as_they_were(subject: &dyn ShelfSubject) {
    let shelf = subject.fresh().await;
    let name = "\u{fc}nal o'brien\"@x.example";
    let value = format!(
        "{{\"text\":\"'; -- \\u0000 \u{1f4e8}\",\"long\":\"{}\"}}",
        "x".repeat(100_000)
    );
    shelf
        .apply(0, vec![put(Kind::Account, name, &value)])
        .await
        .unwrap();
    let shelf = subject.crash(shelf).await;
    assert_eq!(found(&shelf).await, [record(Kind::Account, name, &value)]);
}
