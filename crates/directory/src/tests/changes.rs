//! What can be changed at run time, and what cannot.

use super::*;

#[tokio::test]
async fn changes_are_in_force_and_are_there_after_a_restart() {
    let shelf = Arc::new(MemoryShelf::default());
    let open = || Directory::open(shelf.clone(), declarations(SMALL));
    let (directory, _) = open().await.unwrap();
    apply(&directory, add_domain("New.example")).await;
    let applied = apply(&directory, add_account("Bob@new.example", NewLogin::None)).await;
    assert_eq!((applied.revision, applied.name.as_str()), (2, "bob@new.example"));
    apply(
        &directory,
        add_alias("all@new.example", &["bob@new.example", "x@partner.example"]),
    )
    .await;
    let quotas = Change::SetQuotas {
        name: "bob@new.example".to_owned(),
        quotas: vec![smtp_config::Quota::parse("recipients:5000/day").unwrap()],
    };
    apply(&directory, quotas).await;
    let identities = Change::SetIdentities {
        name: "bob@new.example".to_owned(),
        identities: vec!["oauth:bob".parse().unwrap()],
    };
    apply(&directory, identities).await;
    let (again, warnings) = open().await.unwrap();
    assert_eq!(warnings, [""; 0]);
    for directory in [&directory, &again] {
        let snapshot = directory.snapshot();
        assert_eq!(snapshot.revision(), 5);
        assert_eq!(
            resolved(directory, "all@new.example"),
            "local bob@new.example x@partner.example"
        );
        let bob = snapshot
            .account_by_identity(&"oauth:bob".parse().unwrap())
            .unwrap();
        assert_eq!(
            (&*bob.name, bob.quotas[0].to_string()),
            ("bob@new.example", "recipients:5000/day".to_owned())
        );
    }
    let set = Change::SetDomain {
        name: "new.example".to_owned(),
        deliver: None,
        recipients: Some(Recipients::Any),
    };
    apply(&directory, set).await;
    assert_eq!(
        resolved(&directory, "anybody@new.example"),
        "local anybody@new.example"
    );
    apply(
        &directory,
        Change::RemoveAlias {
            name: "all@new.example".to_owned(),
        },
    )
    .await;
    apply(
        &directory,
        Change::RemoveAccount {
            name: "bob@new.example".to_owned(),
        },
    )
    .await;
    assert!(
        directory
            .snapshot()
            .account_by_identity(&"oauth:bob".parse().unwrap())
            .is_none()
    );
    let gone = Change::RemoveAccount {
        name: "bob@new.example".to_owned(),
    };
    assert_eq!(
        refusal(&directory, gone).await,
        "there is no account bob@new.example"
    );
}

#[tokio::test]
async fn an_identity_that_was_given_up_can_be_given_to_another() {
    let directory = open(SMALL).await;
    let set = |name: &str, identities: &[&str]| Change::SetIdentities {
        name: name.to_owned(),
        identities: identities.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let means = |identity: &str| {
        let snapshot = directory.snapshot();
        let found = snapshot.account_by_identity(&identity.parse().unwrap());
        found.map(|account| account.name.to_string())
    };
    for name in ["one", "two"] {
        apply(&directory, add_account(name, NewLogin::None)).await;
    }
    apply(&directory, set("one", &["oauth:s", "oauth:t"])).await;
    assert!(
        refusal(&directory, set("two", &["oauth:s"]))
            .await
            .contains("oauth:s")
    );
    apply(&directory, set("one", &["oauth:t"])).await;
    assert_eq!(
        (means("oauth:s"), means("oauth:t").as_deref()),
        (None, Some("one"))
    );
    apply(
        &directory,
        Change::RemoveAccount {
            name: "one".to_owned(),
        },
    )
    .await;
    apply(&directory, set("two", &["oauth:s", "oauth:t"])).await;
    assert_eq!(means("oauth:t").as_deref(), Some("two"));
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_what_to_do() {
    let directory = open(SMALL).await;
    apply(&directory, add_account("bob", NewLogin::None)).await;
    apply(&directory, add_account("joe@any.example", NewLogin::None)).await;
    let short = NewLogin::Password(Secret::new("short"));
    let other_identity = Change::SetIdentities {
        name: "bob".to_owned(),
        identities: vec!["oauth:subject-1".parse().unwrap()],
    };
    let verify = Change::AddDomain {
        name: "v.example".to_owned(),
        deliver: LocalDelivery::Capture,
        recipients: Some(Recipients::Verify),
    };
    for (change, expected) in [
        (add_account("BOB", NewLogin::None), "account bob exists already"),
        (add_account("two words", NewLogin::None), "no blanks"),
        (add_account("a@b@c", NewLogin::None), "is no address"),
        (add_account("x", short), "at least 8 characters"),
        (add_domain("no domain"), "is no domain"),
        (
            add_alias("x@elsewhere.example", &["y@partner.example"]),
            "add it first",
        ),
        (add_alias("no alias", &["y@partner.example"]), "is no alias"),
        (add_alias("x@known.example", &[]), "at least one address"),
        (
            add_alias("x@known.example", &["x@known.example"]),
            "leads back to itself",
        ),
        (
            add_alias("@known.example", &["x@known.example"]),
            "leads back to itself",
        ),
        (other_identity, "oauth:subject-1"),
        (verify, "only a next hop"),
    ] {
        let shown = format!("{change:?}");
        let error = refusal(&directory, change).await;
        assert!(error.contains(expected), "{shown}: {error}");
    }
}

#[tokio::test]
async fn an_alias_is_not_made_a_loop() {
    let directory = open(SMALL).await;
    apply(&directory, add_alias("a@any.example", &["b@any.example"])).await;
    apply(&directory, add_alias("b@any.example", &["c+x@any.example"])).await;
    let error = refusal(&directory, add_alias("c@any.example", &["a@any.example"])).await;
    let way = "c@any.example → a@any.example → b@any.example → c@any.example";
    assert!(error.ends_with(way), "{error}");
    let chain = |number: usize| {
        (
            format!("l{number}@any.example"),
            format!("l{}@any.example", number + 1),
        )
    };
    for number in (1..=10).rev() {
        let (name, target) = chain(number);
        apply(&directory, add_alias(&name, &[&target])).await;
    }
    let (name, target) = chain(0);
    assert!(
        refusal(&directory, add_alias(&name, &[&target]))
            .await
            .contains("more than 10 aliases")
    );
}

#[tokio::test]
async fn a_domain_that_is_used_is_not_removed_by_accident() {
    let directory = open(SMALL).await;
    apply(&directory, add_domain("new.example")).await;
    for name in ["a", "b", "c", "d", "e"] {
        apply(
            &directory,
            add_account(&format!("{name}@new.example"), NewLogin::None),
        )
        .await;
    }
    let remove = |force| Change::RemoveDomain {
        name: "new.example".to_owned(),
        force,
    };
    let error = refusal(&directory, remove(false)).await;
    assert!(
        error.starts_with("domain new.example still has account ") && error.contains("and 2 more"),
        "{error}"
    );
    apply(&directory, remove(true)).await;
    assert_eq!(resolved(&directory, "a@new.example"), "not local");
    assert!(
        directory.snapshot().account("a@new.example").is_some(),
        "they stay"
    );
    apply(&directory, add_domain("new.example")).await;
    assert_eq!(resolved(&directory, "a@new.example"), "local a@new.example");
}

#[tokio::test]
async fn a_key_is_followed_by_the_next_without_a_gap() {
    let directory = open(SMALL).await;
    let now = Timestamp::now();
    let later = |hours| now + jiff::SignedDuration::from_hours(hours);
    let add = |selector: &str, algorithm, sign_from| Change::AddKey {
        domain: "Known.example".to_owned(),
        selector: selector.to_owned(),
        key: NewKey::Generate(algorithm),
        sign_from,
    };
    let (rsa, ed25519) = (smtp_dkim::Algorithm::Rsa, smtp_dkim::Algorithm::Ed25519);
    assert_eq!(
        apply(&directory, add("R1", rsa, None)).await.name,
        "r1._domainkey.known.example"
    );
    apply(&directory, add("e1", ed25519, None)).await;
    apply(&directory, add("e2", ed25519, Some(later(48)))).await;
    let retire = Change::RetireKey {
        domain: "known.example".to_owned(),
        selector: "E1".to_owned(),
        until: Some(later(72)),
    };
    apply(&directory, retire).await;
    let snapshot = directory.snapshot();
    let signing = |hours| {
        let keys = snapshot.signing_keys("known.example", later(hours));
        let mut selectors: Vec<_> = keys.iter().map(|key| key.selector().to_owned()).collect();
        selectors.sort();
        selectors.join(" ")
    };
    assert_eq!(
        [signing(1), signing(49), signing(73)],
        ["e1 r1", "e2 r1", "e2 r1"]
    );
    let state = |selector: &str, hours| {
        snapshot
            .key("known.example", selector)
            .unwrap()
            .state(later(hours))
    };
    assert_eq!(
        [state("e2", 1), state("e2", 49)],
        [KeyState::Published, KeyState::Active]
    );
    assert_eq!(
        [state("e1", 1), state("e1", 73)],
        [KeyState::Retiring, KeyState::Retired]
    );
    assert!(
        refusal(&directory, add("r1", rsa, None))
            .await
            .contains("already")
    );
    let remove = Change::RemoveKey {
        domain: "known.example".to_owned(),
        selector: "e1".to_owned(),
    };
    apply(&directory, remove).await;
    assert_eq!(directory.snapshot().keys("", 10).len(), 2);
    let bad = Change::AddKey {
        domain: "known.example".to_owned(),
        selector: "x".to_owned(),
        key: NewKey::Pem(Secret::new("no key")),
        sign_from: None,
    };
    assert!(refusal(&directory, bad).await.contains("no PEM block"));
}
