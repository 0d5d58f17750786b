//! Who may log in, with what, and whom an account may send as.

use super::*;

fn password(text: &str) -> Password {
    Password::prepare(text).unwrap()
}

fn logs_in(directory: &Directory, name: &str, secret: &str) -> Option<String> {
    let account = directory.snapshot().authenticate(name, &password(secret));
    account.map(|account| account.name.to_string())
}

#[tokio::test]
async fn a_password_opens_its_account_and_no_other() {
    let directory = open(SMALL).await;
    let login = NewLogin::Password(Secret::new("correct horse"));
    apply(&directory, add_account("Billing", login)).await;
    assert_eq!(
        logs_in(&directory, "BILLING", "correct horse").as_deref(),
        Some("billing")
    );
    assert_eq!(logs_in(&directory, "billing", "correct horsf"), None);
    assert_eq!(logs_in(&directory, "nobody", "correct horse"), None);
    assert_eq!(
        logs_in(&directory, "ann@known.example", "correct horse"),
        None,
        "it has no password"
    );
    let disabled = |enabled| Change::SetEnabled {
        name: "billing".to_owned(),
        enabled,
    };
    apply(&directory, disabled(false)).await;
    assert_eq!(logs_in(&directory, "billing", "correct horse"), None);
    let scram = |name: &str| directory.snapshot().scram(name);
    assert!(!scram("billing").is_of(&password("correct horse")));
    apply(&directory, disabled(true)).await;
    assert!(scram("billing").is_of(&password("correct horse")));
    let none = Change::SetPassword {
        name: "billing".to_owned(),
        password: None,
    };
    apply(&directory, none).await;
    assert_eq!(logs_in(&directory, "billing", "correct horse"), None);
}

#[tokio::test]
async fn programs_have_secrets_of_their_own() {
    let directory = open(SMALL).await;
    let login = NewLogin::Password(Secret::new("correct horse"));
    apply(&directory, add_account("bob", login)).await;
    let add = |label: &str| Change::AddAppPassword {
        name: "bob".to_owned(),
        label: label.to_owned(),
    };
    let printer = apply(&directory, add("printer")).await.secret.unwrap();
    let backup = apply(&directory, add("backup")).await.secret.unwrap();
    assert_ne!(printer, backup);
    for secret in ["correct horse", printer.expose(), backup.expose()] {
        assert_eq!(logs_in(&directory, "bob", secret).as_deref(), Some("bob"));
    }
    let cut = &printer.expose()[..printer.expose().len() - 1];
    assert_eq!(logs_in(&directory, "bob", cut), None);
    assert!(refusal(&directory, add("printer")).await.contains("already"));
    let remove = Change::RemoveAppPassword {
        name: "bob".to_owned(),
        label: "printer".to_owned(),
    };
    apply(&directory, remove.clone()).await;
    assert_eq!(logs_in(&directory, "bob", printer.expose()), None);
    assert_eq!(
        logs_in(&directory, "bob", backup.expose()).as_deref(),
        Some("bob")
    );
    assert!(
        refusal(&directory, remove)
            .await
            .contains("no secret with the label")
    );
}

#[tokio::test]
async fn an_account_for_a_program_knows_scram_too() {
    let directory = open(SMALL).await;
    let secret = apply(&directory, add_account("ci", NewLogin::App))
        .await
        .secret
        .unwrap();
    assert_eq!(logs_in(&directory, "ci", secret.expose()).as_deref(), Some("ci"));
    assert!(directory.snapshot().scram("CI").is_of(&password(secret.expose())));
    let snapshot = directory.snapshot();
    let shown = format!("{:?}", snapshot.account("ci").unwrap());
    assert!(
        !shown.contains("argon2id$") && !shown.contains("SCRAM-SHA"),
        "{shown}"
    );
}

#[tokio::test]
async fn names_that_nobody_has_look_like_others() {
    let directory = open(SMALL).await;
    let snapshot = directory.snapshot();
    assert_eq!(
        snapshot.scram("nobody"),
        snapshot.scram("NOBODY"),
        "the same salt each time"
    );
    assert_ne!(snapshot.scram("nobody"), snapshot.scram("somebody"));
    // And after a restart, as the secret is stored.
    assert_eq!(
        open(SMALL).await.snapshot().scram("nobody"),
        snapshot.scram("nobody")
    );
}

#[tokio::test]
async fn tokens_and_certificates_mean_accounts() {
    let directory = open(SMALL).await;
    let snapshot = directory.snapshot();
    let means = |identity: &str| {
        let found = snapshot.account_by_identity(&identity.parse().unwrap());
        found.map(|account| account.name.to_string())
    };
    let ann = Some("ann@known.example".to_owned());
    assert_eq!(means("oauth:subject-1"), ann);
    assert_eq!(
        means("oauth:Subject-1"),
        None,
        "subjects are compared as they are"
    );
    assert_eq!(means("cert:ANN.client.example"), ann);
    assert_eq!(means("cert:subject-1"), None, "of another kind");
    assert_eq!(means("oauth:Ann@Known.example"), ann, "its own name");
}

#[tokio::test]
async fn an_account_sends_as_itself_and_as_its_patterns() {
    let directory = open(SMALL).await;
    let snapshot = directory.snapshot();
    let ann = snapshot.account("ann@known.example").unwrap();
    for (sender, allowed) in [
        ("ann@known.example", true),
        ("Ann+lists@KNOWN.example", true),
        ("anybody@any.example", true),
        ("bob@known.example", false),
        ("annika@known.example", false),
        ("sales@known.example", false),
        ("ann@sub.known.example", false),
        ("anybody@sub.any.example", false),
        ("ann@[192.0.2.1]", false),
    ] {
        assert_eq!(snapshot.may_send_as(ann, &address(sender)), allowed, "{sender}");
    }
    let open_to_all = Change::SetSenders {
        name: "all".to_owned(),
        senders: vec![SenderPattern::Any],
    };
    apply(&directory, add_account("all", NewLogin::None)).await;
    let snapshot = directory.snapshot();
    assert!(!snapshot.may_send_as(snapshot.account("all").unwrap(), &address("all@known.example")));
    apply(&directory, open_to_all).await;
    let snapshot = directory.snapshot();
    assert!(snapshot.may_send_as(snapshot.account("all").unwrap(), &address("x@[192.0.2.1]")));
}
