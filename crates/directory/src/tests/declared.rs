//! What the configuration declares: checked together, beyond reach at run time, read again without deriving again.

use super::*;

#[test]
fn faults_are_said_together_with_their_keys() {
    let text = format!(
        "{SMALL}
        [[aliases]]
        name = \"a@known.example\"
        to = [\"B@known.example\", \"x@partner.example\"]
        [[aliases]]
        name = \"b@known.example\"
        to = [\"c@known.example\"]
        [[aliases]]
        name = \"c@known.example\"
        to = [\"a@known.example\"]
        [[accounts]]
        name = \"two\"
        identities = [\"oauth:subject-1\"]
        "
    );
    let faults = faults(&text);
    for expected in [
        "aliases[1].to: it leads back to itself: a@known.example → b@known.example → c@known.example → a@known.example",
        "aliases[3].to: it leads back to itself",
        "accounts[1].identities: accounts[0] has oauth:subject-1 too",
    ] {
        assert!(faults.contains(expected), "{expected} in:\n{faults}");
    }
}

#[test]
fn two_spellings_are_one_name() {
    let text = "profile = \"testing\"\n[[accounts]]\nname = \"\u{fc}n@x.example\"\n[[accounts]]\nname = \"u\u{308}n@X.example\"";
    assert!(faults(text).contains("accounts[1].name: there is one with the same before"));
}

#[tokio::test]
async fn what_is_declared_cannot_be_changed_or_replaced() {
    let directory = open(SMALL).await;
    let ann = "ann@known.example".to_owned();
    let set_password = Change::SetPassword {
        name: ann.clone(),
        password: Some(Secret::new("another one")),
    };
    let remove_domain = Change::RemoveDomain {
        name: "known.example".to_owned(),
        force: true,
    };
    for (change, place) in [
        (add_account("ANN@known.example", NewLogin::None), "accounts[0]"),
        (Change::RemoveAccount { name: ann }, "accounts[0]"),
        (set_password, "accounts[0]"),
        (add_domain("any.example"), "domains[1]"),
        (remove_domain, "domains[0]"),
        (
            add_alias("sales@known.example", &["x@partner.example"]),
            "aliases[0]",
        ),
    ] {
        let error = refusal(&directory, change).await;
        assert!(
            error.contains(&format!("is declared in the configuration ({place})")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_is_newly_declared_wins_and_is_said() {
    let directory = open(SMALL).await;
    apply(
        &directory,
        add_alias("new@known.example", &["stored@partner.example"]),
    )
    .await;
    let text =
        format!("{SMALL}\n[[aliases]]\nname = \"new@known.example\"\nto = [\"declared@partner.example\"]");
    let warnings = directory.reload(declarations(&text)).await.unwrap();
    assert_eq!(
        warnings,
        ["alias new@known.example in the database is not used: aliases[1] declares one of that name"]
    );
    assert_eq!(
        resolved(&directory, "new@known.example"),
        "local declared@partner.example"
    );
    // And what is stored is back when it is declared no more.
    assert_eq!(directory.reload(declarations(SMALL)).await.unwrap(), [""; 0]);
    assert_eq!(
        resolved(&directory, "new@known.example"),
        "local stored@partner.example"
    );
}

#[tokio::test]
async fn a_bad_reload_changes_nothing() {
    let directory = open(SMALL).await;
    let text = format!(
        "{SMALL}\n[[accounts]]\nname = \"x\"\npassword = \"$argon2id$broken\"\n[[accounts]]\nname = \"y\""
    );
    let error = directory
        .reload(declarations(&text))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("accounts[1].password: ") && !error.contains("broken"),
        "{error}"
    );
    assert!(directory.snapshot().account("y").is_none());
}

#[tokio::test]
async fn a_reload_derives_only_new_passwords() {
    let with = |password: &str| format!("{SMALL}\n[[accounts]]\nname = \"x\"\npassword = \"{password}\"");
    let directory = open(&with("first word")).await;
    let hash = |directory: &Directory| {
        directory
            .snapshot()
            .account("x")
            .unwrap()
            .password
            .clone()
            .unwrap()
    };
    let first = hash(&directory);
    directory.reload(declarations(&with("first word"))).await.unwrap();
    assert_eq!(
        hash(&directory),
        first,
        "with the salt that it had: it was not derived again"
    );
    directory
        .reload(declarations(&with("second word")))
        .await
        .unwrap();
    let second = hash(&directory);
    assert_ne!(second, first);
    assert!(second.verify(&Password::prepare("second word").unwrap()));
    directory.reload(declarations(&with("first word"))).await.unwrap();
    assert_ne!(
        hash(&directory),
        first,
        "what is not declared any more is forgotten"
    );
}

/// Whoever asks for the salt before and after a start could tell an account by it.
#[tokio::test]
async fn scram_shows_the_same_salt_after_each_start_and_before_there_was_an_account() {
    let shown = async |text: &str, name: &str| {
        let verifier = open(text).await.snapshot().scram(name).to_string();
        verifier.split('$').nth(1).unwrap().to_owned()
    };
    let declared = format!("{SMALL}\n[[accounts]]\nname = \"x\"\npassword = \"secret word\"");
    let first = shown(&declared, "x").await;
    assert_eq!(shown(&declared, "X").await, first);
    assert_eq!(shown(SMALL, "x").await, first);
    assert_ne!(shown(SMALL, "y").await, first);
}

#[tokio::test]
async fn a_hash_may_be_declared() {
    let derived = crate::credential::Credential::derive(&Password::prepare("secret word").unwrap()).unwrap();
    let hash = serde_json::to_value(&derived).unwrap()["argon2"]
        .as_str()
        .unwrap()
        .to_owned();
    let directory = open(&format!(
        "{SMALL}\n[[accounts]]\nname = \"x\"\npassword = '{hash}'"
    ))
    .await;
    let snapshot = directory.snapshot();
    assert!(
        snapshot
            .authenticate("x", &Password::prepare("secret word").unwrap())
            .is_some()
    );
    assert!(
        snapshot
            .authenticate("x", &Password::prepare(&hash).unwrap())
            .is_none()
    );
}

#[tokio::test]
async fn doubts_are_warnings() {
    let text = format!(
        "{SMALL}
        [[aliases]]
        name = \"x@stored.example\"
        to = [\"y@partner.example\"]
        [[aliases]]
        name = \"copy@known.example\"
        to = [\"copy@known.example\", \"y@partner.example\"]
        "
    );
    let (directory, warnings) = open_on(MemoryShelf::default(), &text).await;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].contains("aliases[1].name: stored.example is not a local domain"),
        "{warnings:?}"
    );
    assert!(
        warnings[1].contains("aliases[2].to: alias copy@known.example leads back to itself"),
        "{warnings:?}"
    );
    // They may come true later.
    apply(&directory, add_domain("stored.example")).await;
    apply(&directory, add_account("copy@known.example", NewLogin::None)).await;
    assert_eq!(directory.reload(declarations(&text)).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn keys_of_the_configuration_sign() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    let pem = |algorithm| {
        smtp_dkim::SigningKey::generate(algorithm)
            .unwrap()
            .to_pem()
            .unwrap()
    };
    std::fs::write(&path, pem(smtp_dkim::Algorithm::Ed25519).as_str()).unwrap();
    let text = format!(
        "{SMALL}
        [[dkim_keys]]
        domain = \"known.example\"
        selector = \"ed\"
        key_file = \"{}\"
        [dkim]
        domain = \"known.example\"
        selector = \"env\"
        private_key = '''{}'''",
        path.display(),
        pem(smtp_dkim::Algorithm::Rsa).as_str(),
    );
    let directory = open(&text).await;
    let snapshot = directory.snapshot();
    let selectors = |domain: &str| {
        let keys = snapshot.signing_keys(domain, Timestamp::now());
        keys.iter()
            .map(|key| key.selector().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(selectors("Known.example"), ["ed", "env"]);
    assert_eq!(selectors("deep.sub.known.example"), ["ed", "env"]);
    assert_eq!(selectors("unknown.example"), [""; 0]);
    std::fs::write(&path, "no key").unwrap();
    let refused = Declarations::read(&config(&text)).unwrap_err().to_string();
    assert!(
        refused.starts_with("dkim_keys[0].key_file: ") && refused.contains("key.pem"),
        "{refused}"
    );
}
