//! One holder at a time; who lost a lease cannot write.

use super::*;

pub(super) async fn run(subject: &dyn Subject) {
    the_oldest_due_come_first(subject).await;
    unwanted_domains_are_passed_over(subject).await;
    a_lease_that_ended_is_fenced(subject).await;
    a_renewed_lease_is_kept(subject).await;
    leases_begin_when_they_are_given(subject).await;
    giving_back_counts_no_attempt(subject).await;
    next_due_is_the_earliest(subject).await;
    keys_are_not_used_again(subject).await;
}

async fn the_oldest_due_come_first(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let third = insert(&store, message(30, &["a@x.example"])).await;
    let first = insert(&store, message(10, &["a@x.example", "b@x.example"])).await;
    let second = insert(&store, message(20, &["a@x.example"])).await;
    let claims = store.claim(request(at(25), 2)).await.unwrap();
    assert_eq!(
        claims.iter().map(|claim| claim.message.id).collect::<Vec<_>>(),
        [first]
    );
    assert_eq!(
        claims[0].recipients.len(),
        2,
        "recipients of one message come as one claim"
    );
    assert_eq!(claims[0].recipients[0].recipient.due, at(85));
    let claims = store.claim(request(at(25), 2)).await.unwrap();
    assert_eq!(
        claims.iter().map(|claim| claim.message.id).collect::<Vec<_>>(),
        [second]
    );
    assert!(
        store.claim(request(at(29), 2)).await.unwrap().is_empty(),
        "what is not due is not claimed"
    );
    assert_eq!(
        store.claim(request(at(30), 2)).await.unwrap()[0].message.id,
        third
    );
    assert!(store.claim(request(at(84), 0)).await.unwrap().is_empty());
}

async fn unwanted_domains_are_passed_over(subject: &dyn Subject) {
    let store = subject.fresh().await;
    for _ in 0..5 {
        insert(&store, message(0, &["a@Slow.Example", "b@good.example"])).await;
    }
    let mut unwanted = request(at(1), 100);
    unwanted.exclude_domains = vec!["slow.example".to_owned(), "o'dd\"]".to_owned()];
    let claims = store.claim(unwanted).await.unwrap();
    assert_eq!(claims.len(), 5);
    let domains = claims
        .iter()
        .flat_map(|claim| &claim.recipients)
        .map(|one| one.recipient.address.domain());
    assert!(domains.eq(["good.example"; 5]));
    assert_eq!(
        claim_all(&store, at(1)).await.len(),
        5,
        "they are there for whoever wants them"
    );
}

async fn a_lease_that_ended_is_fenced(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let id = insert(&store, message(0, &["a@x.example"])).await;
    let lost = attempts(&claim_all(&store, at(0)).await.remove(0))[0];
    assert!(claim_all(&store, at(59)).await.is_empty());
    let held = attempts(&claim_all(&store, at(60)).await.remove(0))[0];
    assert!(held.epoch > lost.epoch);
    for outcome in [
        Outcome::Delivered,
        deferred(at(9)),
        Outcome::Released { due: at(9) },
        Outcome::Quarantined,
    ] {
        let finished = finish(&store, lost, outcome).await;
        assert_eq!((finished.fenced, finished.removed.len()), (vec![lost], 0));
    }
    assert_eq!(
        store.renew(vec![lost, held], until(at(500))).await.unwrap(),
        [lost]
    );
    assert_eq!(states(&store, id).await, [State::Leased]);
    assert_eq!(finish(&store, held, Outcome::Delivered).await.removed, [id]);
    assert_eq!(
        finish(&store, held, Outcome::Delivered).await.fenced,
        [held],
        "a result counts once"
    );
    assert_eq!(store.renew(vec![held], until(at(900))).await.unwrap(), [held]);
    assert_counted(&store).await;
}

async fn a_renewed_lease_is_kept(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let id = insert(&store, message(0, &["a@x.example"])).await;
    let attempt = attempts(&claim_all(&store, at(0)).await.remove(0))[0];
    assert!(
        store
            .renew(vec![attempt], until(at(200)))
            .await
            .unwrap()
            .is_empty()
    );
    assert!(claim_all(&store, at(199)).await.is_empty());
    assert_eq!(store.next_due().await.unwrap(), Some(at(200)));
    // Late, but nobody else took it: the result is as good as ever.
    assert_eq!(finish(&store, attempt, Outcome::Delivered).await.removed, [id]);
}

/// Of whoever says nothing of the time, the store's clock decides what is due and when leases end.
async fn leases_begin_when_they_are_given(subject: &dyn Subject) {
    let (store, length) = (subject.fresh().await, Duration::from_secs(60));
    let (began, before) = (Steady::now(), store.now());
    let ends = |due: Timestamp| {
        let first = in_seconds(before, 60);
        // What the store shows of its clock, and what it stores, is not always of the same millisecond.
        let tolerance = SignedDuration::from_secs(1);
        assert!(
            due >= first - tolerance && due <= in_seconds(store.now(), 60) + tolerance,
            "{due} {first}"
        );
    };
    let holds = |claim: &Claim| {
        assert!(claim.until >= began + length && claim.until <= Steady::now() + length);
    };
    let born = message(0, &["a@x.example"]);
    let born = store
        .insert(born, Beginning::Leased(Term::of(length)))
        .await
        .unwrap()
        .unwrap();
    ends(born.recipients[0].recipient.due);
    ends(show(&store, born.message.id).await.recipients[0].due);
    holds(&born);
    insert(&store, message(0, &["b@x.example"])).await;
    let later = NewMessage {
        received_at: in_seconds(before, 60),
        ..message(0, &["c@x.example"])
    };
    let later = insert(&store, later).await;
    let request = ClaimRequest {
        lease: Term::of(length),
        limit: 10,
        exclude_domains: Vec::new(),
    };
    let claims = store.claim(request.clone()).await.unwrap();
    assert_eq!(
        claims.len(),
        1,
        "neither what is leased nor what is due in a minute"
    );
    ends(claims[0].recipients[0].recipient.due);
    holds(&claims[0]);
    let attempt = attempts(&claims[0]);
    assert!(
        store
            .renew(attempt.clone(), until(at(0)))
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        store
            .renew(attempt.clone(), Term::of(length))
            .await
            .unwrap()
            .is_empty()
    );
    ends(show(&store, claims[0].message.id).await.recipients[0].due);
    let filter = by_id(later);
    let (selected, _) = store.claim_selected(filter, None, request).await.unwrap();
    ends(selected[0].recipients[0].recipient.due);
    holds(&selected[0]);
}

async fn giving_back_counts_no_attempt(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let id = insert(&store, message(0, &["a@x.example"])).await;
    let first = attempts(&claim_all(&store, at(1)).await.remove(0))[0];
    finish(&store, first, Outcome::Released { due: at(2) }).await;
    assert_eq!(states(&store, id).await, [State::Queued]);
    let second = claim_all(&store, at(2)).await.remove(0);
    assert_eq!(second.recipients[0].recipient.attempts, 0);
    let outcome = Outcome::Deferred {
        due: at(400),
        delay_notified: true,
    };
    finish(&store, attempts(&second)[0], outcome).await;
    let third = claim_all(&store, at(400)).await.remove(0);
    finish(&store, attempts(&third)[0], Outcome::Released { due: at(401) }).await;
    let recipient = show(&store, id).await.recipients.remove(0);
    assert_eq!(
        (recipient.state, recipient.attempts, recipient.due),
        (State::Deferred, 1, at(401))
    );
    assert!(
        recipient.delay_notified,
        "once told, its sender is not told again"
    );
    assert_counted(&store).await;
}

async fn next_due_is_the_earliest(subject: &dyn Subject) {
    let store = subject.fresh().await;
    assert_eq!(store.next_due().await.unwrap(), None);
    assert_eq!(store.stats().await.unwrap().oldest_due, None);
    insert(&store, message(50, &["a@x.example"])).await;
    insert(&store, message(20, &["a@x.example"])).await;
    assert_eq!(store.next_due().await.unwrap(), Some(at(20)));
    store.claim(request(at(20), 1)).await.unwrap();
    assert_eq!(store.next_due().await.unwrap(), Some(at(50)));
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.oldest_due, stats.due), (Some(at(50)), 1));
    store.claim(request(at(50), 1)).await.unwrap();
    assert_eq!(
        store.next_due().await.unwrap(),
        Some(at(80)),
        "when the first lease ends"
    );
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.oldest_due, stats.due), (None, 0), "nothing waits");
}

async fn keys_are_not_used_again(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let claim = store
        .insert(message(0, &["a@x.example"]), Beginning::Leased(minute(at(0))))
        .await
        .unwrap()
        .unwrap();
    let late = attempts(&claim)[0];
    finish(&store, late, Outcome::Delivered).await;
    let next = message(0, &["b@x.example"]);
    let id = next.id;
    store
        .insert(next, Beginning::Leased(minute(at(0))))
        .await
        .unwrap();
    assert_eq!(finish(&store, late, Outcome::Delivered).await.fenced, [late]);
    assert_eq!(
        states(&store, id).await,
        [State::Leased],
        "a late result hits no newer message"
    );
}
