//! A hundred thousand accounts.

use super::*;
use std::fmt::Write;

const ACCOUNTS: usize = 100_000;

#[tokio::test]
async fn a_hundred_thousand_accounts_load_and_are_found() {
    let (app, _) = crate::credential::AppPassword::generate("x", Timestamp::UNIX_EPOCH).unwrap();
    let credential = serde_json::to_value(&app.credential).unwrap();
    let value = serde_json::json!({
        "enabled": true, "created": "2026-01-01T00:00:00Z", "senders": ["*@known.example"],
        "identities": [], "quotas": ["100/hour"], "password": credential, "apps": [],
    });
    let value = value.to_string();
    let records = (0..ACCOUNTS).map(|number| Record {
        kind: Kind::Account,
        name: format!("user{number:06}@known.example"),
        value: value.clone(),
    });
    let contents = Contents {
        revision: 7,
        records: records.collect(),
        secret: [0; 32],
    };
    let (directory, warnings) = open_on(MemoryShelf::with(contents), SMALL).await;
    assert_eq!(warnings, [""; 0]);
    let snapshot = directory.snapshot();
    assert_eq!(snapshot.counts()[1], (Kind::Account, ACCOUNTS + 1));
    let mut name = String::new();
    for number in (0..ACCOUNTS).step_by(97) {
        name.clear();
        write!(name, "User{number:06}@Known.example").unwrap();
        assert!(snapshot.account(&name).is_some(), "{name}");
        assert_eq!(resolved(&directory, &name), format!("local {name}"));
    }
    assert_eq!(resolved(&directory, "user100000@known.example"), "unknown");
    let mut pages = 0;
    let mut after = String::new();
    loop {
        let page = snapshot.accounts(&after, 30_000);
        let Some(last) = page.last() else { break };
        assert!(page.windows(2).all(|pair| pair[0].name < pair[1].name));
        (after, pages) = (last.name.to_string(), pages + 1);
    }
    assert_eq!(pages, 4);
}
