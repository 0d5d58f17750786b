//! What an operator does to mail that waits: hold, release, give up, suspend; and the trail of it.

use super::*;
use crate::operator::{AuditRecord, Suspension, SuspensionKind};

pub(super) async fn run(subject: &dyn Subject) {
    filters_look_at_one_recipient(subject).await;
    held_mail_waits_until_it_is_released(subject).await;
    selected_mail_is_claimed_before_it_is_due(subject).await;
    suspended_mail_is_parked_and_resumed(subject).await;
    a_destination_lets_go_of_what_nothing_else_keeps(subject).await;
    suspensions_are_bounded_and_kept(subject).await;
    the_trail_is_read_from_its_end(subject).await;
}

fn of_domain(domain: &str) -> Filter {
    Filter {
        domain: Some(domain.to_owned()),
        ..Filter::default()
    }
}

async fn filters_look_at_one_recipient(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let mut new = message(100, &["a@x.example", "B@y.example"]);
    new.options.account = Some("shop".into());
    let id = insert(&store, new).await;
    insert(&store, message(200, &["c@z.example"])).await;
    for claim in claim_all(&store, at(300)).await {
        if claim.message.id == id {
            let result = RecipientResult {
                text: "mx.x.example: 451 4.7.1 Greylisted".into(),
                ..ended(&claim, deferred(at(500)))
            };
            store.finish(vec![result], Vec::new()).await.unwrap();
        }
    }
    let everything = Filter::default;
    let reason = |text: &str| Filter {
        reason: Some(text.into()),
        ..everything()
    };
    let yes = [
        reason("greyLISTED"),
        Filter {
            domain: Some("x.example".into()),
            ..reason("4.7.1")
        },
        Filter {
            recipient: Some("b@Y.example".into()),
            ..everything()
        },
        Filter {
            account: Some("shop".into()),
            ..everything()
        },
        Filter {
            received_before: Some(at(101)),
            received_after: Some(at(100)),
            ..everything()
        },
    ];
    for filter in yes {
        let found = store.list(filter.clone(), None, 10).await.unwrap();
        let found: Vec<QueueId> = found.iter().map(|line| line.message.id).collect();
        assert_eq!(found, [id], "{filter:?}");
    }
    let no = [
        // Of two recipients.
        Filter {
            domain: Some("y.example".into()),
            ..reason("greylisted")
        },
        reason("%"),
        Filter {
            account: Some("SHOP".into()),
            ..everything()
        },
        Filter {
            received_before: Some(at(100)),
            ..everything()
        },
    ];
    for filter in no {
        assert!(
            store.list(filter.clone(), None, 10).await.unwrap().is_empty(),
            "{filter:?}"
        );
    }
    let count = async |filter: Filter, states: &[State]| store.count(filter, states.to_vec()).await.unwrap();
    assert_eq!(count(everything(), &[State::Leased]).await, 2);
    assert_eq!(count(everything(), &[State::Deferred, State::Held]).await, 1);
    assert_eq!(count(of_domain("y.example"), &[State::Deferred]).await, 0);
    assert_eq!(count(everything(), &[]).await, 0);
}

async fn held_mail_waits_until_it_is_released(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let id = insert(&store, message(0, &["a@x.example", "b@y.example", "c@x.example"])).await;
    let claim = claim_all(&store, at(1)).await.remove(0);
    let leases = attempts(&claim);
    finish(&store, leases[0], deferred(at(50))).await;
    finish(&store, leases[1], deferred(at(50))).await;
    // Only those that are meant, and not the one that is being tried.
    assert_eq!(store.hold(of_domain("x.example")).await.unwrap(), 1);
    assert_eq!(
        states(&store, id).await,
        [State::Held, State::Deferred, State::Leased]
    );
    assert_eq!(store.hold(of_domain("x.example")).await.unwrap(), 0);
    finish(&store, leases[2], Outcome::Delivered).await;
    assert_counted(&store).await;
    let due = claim_all(&store, at(100_000)).await;
    assert_eq!(due.len(), 1, "what is held is not claimed, whenever");
    finish(&store, attempts(&due[0])[0], Outcome::Delivered).await;
    let store = subject.crash(store).await;
    assert_eq!(states(&store, id).await[0], State::Held, "it holds the message");
    assert_eq!(store.unhold(of_domain("y.example"), at(200)).await.unwrap(), 0);
    assert_eq!(store.unhold(Filter::default(), at(200)).await.unwrap(), 1);
    assert_counted(&store).await;
    let claim = claim_all(&store, at(200)).await.remove(0);
    assert_eq!(claim.recipients[0].recipient.attempts, 1);
    let done = finish(&store, attempts(&claim)[0], Outcome::Delivered).await;
    assert_eq!(done.removed, [id]);
}

async fn selected_mail_is_claimed_before_it_is_due(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        let new = message(0, &["a@x.example", "b@y.example"]);
        ids.push(new.id);
        let deferral = Deferral {
            due: at(5000),
            text: "451 away".into(),
            status: smtp::Enhanced(4, 4, 1),
            calls: Vec::new(),
        };
        let beginning = Beginning::Deferred(vec![deferral; 2]);
        store.insert(new, beginning).await.unwrap();
    }
    store.hold(by_id(ids[0])).await.unwrap();
    let (mut claimed, mut after) = (Vec::new(), None);
    loop {
        let request = request(at(10), 2);
        let (claims, next) = store
            .claim_selected(of_domain("y.example"), after, request)
            .await
            .unwrap();
        assert!(claims.len() <= 2);
        claimed.extend(claims);
        after = next;
        if after.is_none() {
            break;
        }
    }
    let found: Vec<QueueId> = claimed.iter().map(|claim| claim.message.id).collect();
    assert_eq!(found, ids, "held ones too");
    for claim in &claimed {
        assert_eq!(claim.recipients.len(), 1);
        assert_eq!(claim.recipients[0].recipient.address.as_str(), "b@y.example");
        finish(&store, attempts(claim)[0], Outcome::Bounced).await;
    }
    assert_eq!(
        states(&store, ids[1]).await,
        [State::Deferred, State::Bounced],
        "the others wait as before"
    );
    assert_counted(&store).await;
}

fn suspension(kind: SuspensionKind, name: &str) -> Suspension {
    Suspension {
        kind,
        name: name.into(),
        reason: "their server is moved".into(),
        who: "admin".into(),
        since: at(5),
        until: None,
    }
}

async fn suspended_mail_is_parked_and_resumed(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let domain = suspension(SuspensionKind::Domain, "x.example");
    assert!(store.suspend(domain.clone()).await.unwrap());
    let sender = suspension(SuspensionKind::Sender, "@from.example");
    assert!(store.suspend(sender.clone()).await.unwrap());
    // One that came while it was suspended, one that was tried before, one of nobody's business.
    let new = message(0, &["a@x.example"]);
    let parked = new.id;
    store.insert(new, Beginning::Parked(at(90_000))).await.unwrap();
    let tried = insert(&store, message(1, &["b@y.example", "c@x.example"])).await;
    let claim = claim_all(&store, at(2)).await.remove(0);
    let park = Outcome::Parked { until: at(90_000) };
    finish(&store, attempts(&claim)[0], deferred(at(50))).await;
    finish(&store, attempts(&claim)[1], park.clone()).await;
    let mut other = message(2, &["d@z.example"]);
    other.sender = Some(address("ann@elsewhere.example"));
    let other = other;
    let other_id = other.id;
    store.insert(other, Beginning::Parked(at(90_000))).await.unwrap();
    let recipient = show(&store, tried).await.recipients.remove(1);
    assert_eq!(
        (recipient.state, recipient.attempts, recipient.parked),
        (State::Queued, 0, true),
        "no attempt is counted"
    );
    assert_counted(&store).await;
    let store = subject.crash(store).await;
    assert_eq!(store.suspensions().await.unwrap(), [domain, sender]);
    let due = claim_all(&store, at(100)).await;
    assert_eq!(
        (due.len(), due[0].recipients.len()),
        (1, 1),
        "only what is not parked"
    );
    let waiting = |kind, name: &str| store.parked(kind, name.to_owned());
    assert_eq!(waiting(SuspensionKind::Domain, "x.example").await.unwrap(), 2);
    assert_eq!(
        waiting(SuspensionKind::Sender, "@elsewhere.example")
            .await
            .unwrap(),
        1
    );
    assert_eq!(waiting(SuspensionKind::Account, "shop").await.unwrap(), 0);
    let resume = |kind, name: &str| store.resume(kind, name.to_owned(), at(200));
    let x = resume(SuspensionKind::Domain, "x.example").await.unwrap();
    assert_eq!(x, Some(2));
    assert_eq!(resume(SuspensionKind::Domain, "x.example").await.unwrap(), None);
    let unpark = |kind, name: &str| store.unpark(kind, name.to_owned(), at(200));
    assert_eq!(unpark(SuspensionKind::Domain, "x.example").await.unwrap(), 0);
    let due = claim_all(&store, at(200)).await;
    let mut ids: Vec<QueueId> = due.iter().map(|claim| claim.message.id).collect();
    ids.sort_unstable();
    // Still leased from before, and of the same message.
    assert!(ids.contains(&parked) && ids.contains(&tried), "{ids:?}");
    assert!(!ids.contains(&other_id));
    assert!(!show(&store, parked).await.recipients[0].parked);
    // What is parked by who has not heard of the end is let go later; but not while the suspension is in force.
    let claim = due.iter().find(|claim| claim.message.id == parked).unwrap();
    finish(&store, attempts(claim)[0], park.clone()).await;
    assert_eq!(unpark(SuspensionKind::Sender, "@from.example").await.unwrap(), 0);
    assert_eq!(unpark(SuspensionKind::Domain, "x.example").await.unwrap(), 1);
    assert_eq!(claim_all(&store, at(200)).await.len(), 1);
    // An operator's retry, and the end by itself, are ends too.
    let filter = by_id(other_id);
    assert_eq!(store.retry(filter, at(300)).await.unwrap(), 1);
    let is_other = |claim: &Claim| claim.message.id == other_id;
    let due = claim_all(&store, at(300)).await;
    let claim = due.into_iter().find(is_other).unwrap();
    finish(&store, attempts(&claim)[0], park).await;
    assert!(!claim_all(&store, at(89_999)).await.iter().any(is_other));
    assert!(claim_all(&store, at(90_000)).await.iter().any(is_other));
    assert_counted(&store).await;
}

async fn a_destination_lets_go_of_what_nothing_else_keeps(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let hop = suspension(SuspensionKind::Destination, "mx.example:25");
    assert!(store.suspend(hop.clone()).await.unwrap());
    assert!(
        store
            .suspend(suspension(SuspensionKind::Domain, "x.example"))
            .await
            .unwrap()
    );
    for to in ["a@x.example", "a@y.example", "a@z.example"] {
        store
            .insert(message(0, &[to]), Beginning::Parked(at(90_000)))
            .await
            .unwrap();
    }
    let (kind, name) = (hop.kind, hop.name);
    assert_eq!(store.parked(kind, name.clone()).await.unwrap(), 2);
    assert_eq!(store.resume(kind, name.clone(), at(10)).await.unwrap(), Some(2));
    assert_eq!(
        claim_all(&store, at(10)).await.len(),
        2,
        "the suspended domain waits"
    );
    assert_eq!(store.resume(kind, name, at(10)).await.unwrap(), None);
    // More than are looked at in one go.
    let many: Vec<String> = (0..1001).map(|number| format!("a{number}@w.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let parked = Beginning::Parked(at(90_000));
    store.insert(message(0, &many), parked).await.unwrap();
    let (kind, name) = (SuspensionKind::Domain, "w.example");
    assert!(store.suspend(suspension(kind, name)).await.unwrap());
    assert_eq!(store.parked(kind, name.into()).await.unwrap(), 1001);
    assert_eq!(store.resume(kind, name.into(), at(20)).await.unwrap(), Some(1001));
}

async fn suspensions_are_bounded_and_kept(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let mut all = tokio::task::JoinSet::new();
    for number in 0..1001 {
        let (store, name) = (store.clone(), format!("d{number:04}.example"));
        all.spawn(async move { store.suspend(suspension(SuspensionKind::Domain, &name)).await });
    }
    let taken = all
        .join_all()
        .await
        .into_iter()
        .filter(|taken| *taken.as_ref().unwrap());
    assert_eq!(taken.count(), 1000);
    let mut known = store.suspensions().await.unwrap().remove(0);
    known.reason = "another".into();
    known.until = Some(at(77));
    assert!(
        store.suspend(known.clone()).await.unwrap(),
        "one that is there is replaced"
    );
    assert_eq!(store.suspensions().await.unwrap()[0], known);
}

async fn the_trail_is_read_from_its_end(subject: &dyn Subject) {
    let store = subject.fresh().await;
    for number in 0..5 {
        let record = AuditRecord {
            number: 0,
            at: at(number),
            who: "admin".into(),
            peer: "192.0.2.1".into(),
            action: "queue retry".into(),
            target: format!("domain=d{number}.example"),
            touched: 3,
            before: None,
            after: Some("{\"a\":1}".into()),
        };
        store.audit(record).await.unwrap();
    }
    let store = subject.crash(store).await;
    let first = store.audited(None, 2).await.unwrap();
    let rest = store
        .audited(first.last().map(|one| one.number), 10)
        .await
        .unwrap();
    let targets: Vec<&str> = first.iter().chain(&rest).map(|one| one.target.as_str()).collect();
    let expected: Vec<String> = (0..5)
        .rev()
        .map(|number| format!("domain=d{number}.example"))
        .collect();
    assert_eq!(targets, expected);
    assert_eq!(
        (first[0].at, first[0].after.as_deref()),
        (at(4), Some("{\"a\":1}"))
    );
}
