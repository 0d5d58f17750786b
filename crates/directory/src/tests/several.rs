//! Several changes at once, and several servers on one shelf.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_at_once_come_one_after_another() {
    let directory = open(SMALL).await;
    let adding = |number: usize| {
        let directory = Arc::clone(&directory);
        // Each name is asked for twice.
        let change = add_account(&format!("user{}", number / 2), NewLogin::None);
        tokio::spawn(async move { directory.apply(change).await })
    };
    let adding: Vec<_> = (0..40).map(adding).collect();
    let mut revisions = Vec::new();
    for task in adding {
        match task.await.unwrap() {
            Ok(applied) => revisions.push(applied.revision),
            Err(error) => assert!(matches!(error, DirectoryError::Exists { .. }), "{error}"),
        }
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=20).collect::<Vec<u64>>());
    assert_eq!(directory.snapshot().accounts("", 100).len(), 21);
}

#[tokio::test]
async fn servers_see_each_others_changes() {
    let shelf = Arc::new(MemoryShelf::default());
    let open = || Directory::open(shelf.clone(), declarations(SMALL));
    let ((one, _), (other, _)) = (open().await.unwrap(), open().await.unwrap());
    apply(&one, add_account("bob", NewLogin::None)).await;
    assert!(other.snapshot().account("bob").is_none());
    assert_eq!(other.refresh().await.unwrap(), Some(Vec::new()));
    assert!(other.snapshot().account("bob").is_some());
    assert_eq!(other.refresh().await.unwrap(), None);
    // One that lags behind looks again before it changes anything.
    apply(
        &one,
        Change::RemoveAccount {
            name: "bob".to_owned(),
        },
    )
    .await;
    let disable = Change::SetEnabled {
        name: "bob".to_owned(),
        enabled: false,
    };
    let error = other.apply(disable).await.unwrap_err();
    assert!(matches!(error, DirectoryError::NotFound { .. }), "{error}");
    apply(&one, add_account("joe", NewLogin::None)).await;
    apply(&other, add_account("ada", NewLogin::None)).await;
    assert!(other.snapshot().account("joe").is_some());
}

#[tokio::test]
async fn a_change_that_nobody_awaits_any_more_is_made_to_its_end() {
    let directory = open(SMALL).await;
    let abandoned = directory.apply(add_account("bob", NewLogin::None));
    tokio::select! {
        biased;
        _ = abandoned => panic!("it takes a task of its own"),
        () = std::future::ready(()) => {}
    }
    for _ in 0..1000 {
        if directory.snapshot().account("bob").is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(directory.snapshot().revision(), 1);
}
