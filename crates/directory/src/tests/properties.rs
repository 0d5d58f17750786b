//! Resolution of any recipient with any aliases.

use super::*;
use crate::name::address_key;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

const DOMAINS: [&str; 4] = ["known.example", "any.example", "verify.example", "far.example"];

/// Few names, so that aliases meet; some with details, capitals, roles.
fn an_address() -> impl Strategy<Value = String> {
    let local = prop::sample::select(vec![
        "a",
        "b",
        "c",
        "D",
        "a+x",
        "b+y",
        "postmaster",
        "ann",
        "abuse",
    ]);
    (local, prop::sample::select(DOMAINS.to_vec())).prop_map(|(local, domain)| format!("{local}@{domain}"))
}

fn an_alias() -> impl Strategy<Value = (String, Vec<String>)> {
    let name = prop_oneof![
        4 => an_address().prop_map(|name| name.to_lowercase()),
        1 => prop::sample::select(DOMAINS.to_vec()).prop_map(|domain| format!("@{domain}")),
    ];
    (name, prop::collection::vec(an_address(), 1..5))
}

fn snapshot(aliases: &HashMap<String, Vec<String>>, postmaster: Option<String>) -> Snapshot {
    let text = match postmaster {
        Some(postmaster) => SMALL.replace("[server]", &format!("[server]\npostmaster = \"{postmaster}\"")),
        None => SMALL.to_owned(),
    };
    let declarations = declarations(&text);
    let mut cache = crate::declared::Cache::new([0; 32]).unwrap();
    let accounts = declarations.accounts(&mut cache).unwrap();
    let secrets = crate::snapshot::Secrets {
        decoy: serde_json::from_str(r#"{"argon2":null,"scram":null}"#).unwrap(),
        scram: [0; 32],
    };
    let records = aliases.iter().map(|(name, targets)| Record {
        kind: Kind::Alias,
        name: name.clone(),
        value: serde_json::json!({ "targets": targets }).to_string(),
    });
    let contents = Contents {
        records: records.collect(),
        ..Contents::default()
    };
    Snapshot::of(&declarations, accounts, Arc::new(secrets))
        .with(contents)
        .0
}

/// What any answer has to be.
///
/// With few aliases the bounds are never met, since each is expanded once: no answer may be `Trouble`.
fn check(snapshot: &Snapshot, recipient: &Address) -> Result<(), TestCaseError> {
    let resolution = snapshot.recipient(recipient);
    let is_local = snapshot.domain(recipient.domain()).is_some();
    prop_assert!(!matches!(resolution, Resolution::Trouble(_)), "{resolution:?}");
    prop_assert_eq!(resolution == Resolution::NotLocal, !is_local, "{:?}", &resolution);
    let local = recipient.local().split('+').next().unwrap_or_default();
    if is_local && matches!(local, "postmaster" | "abuse") {
        let exact = snapshot.alias(recipient.as_str()).is_some()
            || snapshot
                .alias(&format!("{local}@{}", recipient.domain()))
                .is_some();
        let caught = snapshot.alias(&format!("@{}", recipient.domain())).is_some();
        prop_assert!(
            exact || caught || matches!(resolution, Resolution::Local(_)),
            "refused: {resolution:?}"
        );
    }
    if let Resolution::Local(found) = resolution {
        let keys: HashSet<_> = found.iter().filter_map(address_key).collect();
        prop_assert!(!found.is_empty() && found.len() <= 1000);
        prop_assert_eq!(keys.len(), found.len(), "each once: {:?}", &found);
        for address in &found {
            // Nobody is sent mail who is not there.
            let is_known = *address.domain() == *"known.example";
            let base = address.local().to_lowercase();
            let base = base.split('+').next().unwrap_or_default();
            prop_assert!(
                !is_known || matches!(base, "ann" | "postmaster" | "abuse"),
                "{address}"
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_recipient_has_an_answer(
        aliases in prop::collection::vec(an_alias(), 0..9),
        postmaster in prop::option::of(an_address()),
        recipients in prop::collection::vec(an_address(), 1..20),
    ) {
        // Nothing refuses loops here: resolution has to end whatever is stored.
        let aliases: HashMap<_, _> = aliases.into_iter().collect();
        let snapshot = snapshot(&aliases, postmaster);
        for recipient in recipients {
            check(&snapshot, &address(&recipient))?;
        }
    }

    #[test]
    fn an_alias_without_faults_has_no_loop(aliases in prop::collection::vec(an_alias(), 0..12)) {
        let aliases: HashMap<_, _> = aliases.into_iter().collect();
        let snapshot = snapshot(&aliases, None);
        for name in aliases.keys().filter(|name| !name.starts_with('@')) {
            let sound = snapshot.check_alias(name).is_ok();
            if sound && snapshot.domain(address(name).domain()).is_some() {
                prop_assert!(!matches!(snapshot.recipient(&address(name)), Resolution::Trouble(_)), "{name}");
            }
        }
    }
}
