//! Whose mail an address is.

use super::*;

async fn with_aliases(aliases: &[(&str, &[&str])]) -> Arc<Directory> {
    let directory = open(SMALL).await;
    for (name, targets) in aliases {
        apply(&directory, add_alias(name, targets)).await;
    }
    directory
}

#[tokio::test]
async fn domains_decide_about_addresses_that_nobody_knows() {
    let directory = open(SMALL).await;
    for (recipient, expected) in [
        ("ann@known.example", "local ann@known.example"),
        ("ANN@Known.Example", "local ANN@Known.Example"),
        ("bob@known.example", "unknown"),
        ("bob@any.example", "local bob@any.example"),
        ("bob@verify.example", "verify bob@verify.example"),
        ("bob@elsewhere.example", "not local"),
        ("bob@sub.known.example", "not local"),
        ("bob@[192.0.2.1]", "not local"),
    ] {
        assert_eq!(resolved(&directory, recipient), expected, "{recipient}");
    }
}

#[tokio::test]
async fn subaddresses_are_their_mailbox_and_keep_their_detail() {
    let directory = with_aliases(&[("ann+vip@known.example", &["vip@partner.example"])]).await;
    for (recipient, expected) in [
        ("Ann+Lists@known.example", "local Ann+Lists@known.example"),
        (
            "sales+x@known.example",
            "local ann@known.example crm@partner.example",
        ),
        ("ann+vip@known.example", "local vip@partner.example"),
        ("bob+lists@known.example", "unknown"),
        ("+ann@known.example", "unknown"),
    ] {
        assert_eq!(resolved(&directory, recipient), expected, "{recipient}");
    }
    let without = SMALL.replace("[server]", "[delivery]\nsubaddress_separator = \"\"\n[server]");
    assert_eq!(
        resolved(&*open(&without).await, "ann+lists@known.example"),
        "unknown"
    );
}

#[tokio::test]
async fn aliases_lead_on_and_each_address_comes_once() {
    let directory = with_aliases(&[
        (
            "team@known.example",
            &["sales@known.example", "Ann@KNOWN.example", "x@any.example"],
        ),
        (
            "all@any.example",
            &["team@known.example", "y@verify.example", "gone@known.example"],
        ),
    ])
    .await;
    // Breadth first: what is written nearer comes first.
    let expected = "local y@verify.example Ann@KNOWN.example x@any.example crm@partner.example";
    assert_eq!(resolved(&directory, "all@any.example"), expected);
}

#[tokio::test]
async fn an_alias_that_leads_nowhere_is_unknown() {
    let directory = with_aliases(&[("old@known.example", &["gone@known.example"])]).await;
    assert_eq!(resolved(&directory, "old@known.example"), "unknown");
}

#[tokio::test]
async fn an_alias_that_names_itself_keeps_a_copy() {
    let directory = with_aliases(&[(
        "ann@known.example",
        &["ann@known.example", "boss@partner.example"],
    )])
    .await;
    assert_eq!(
        resolved(&directory, "ann@known.example"),
        "local ann@known.example boss@partner.example"
    );
}

#[tokio::test]
async fn a_catch_all_gets_what_nothing_else_knows() {
    let directory = with_aliases(&[("@Known.example", &["ann@known.example"])]).await;
    assert_eq!(
        resolved(&directory, "anybody@known.example"),
        "local ann@known.example"
    );
    assert_eq!(
        resolved(&directory, "sales@known.example"),
        "local ann@known.example crm@partner.example"
    );
    assert_eq!(
        resolved(&directory, "ann+x@known.example"),
        "local ann+x@known.example"
    );
}

#[tokio::test]
async fn international_domains_are_found_in_both_spellings() {
    let directory = open(SMALL).await;
    apply(&directory, add_domain("b\u{fc}cher.example")).await;
    apply(
        &directory,
        add_account("\u{dc}nal@B\u{dc}CHER.example", NewLogin::None),
    )
    .await;
    for recipient in [
        "\u{fc}nal@xn--bcher-kva.example",
        "u\u{308}nal@b\u{fc}cher.example",
    ] {
        assert_eq!(resolved(&directory, recipient), format!("local {recipient}"));
    }
    assert_eq!(resolved(&directory, "other@b\u{fc}cher.example"), "unknown");
}

#[tokio::test]
async fn postmaster_and_abuse_always_work() {
    let directory = open(SMALL).await;
    // The first declared account that is an address has them.
    for recipient in [
        "postmaster@known.example",
        "Abuse@known.example",
        "postmaster+x@any.example",
        "postmaster@verify.example",
        "PostMaster@mx.host.example",
    ] {
        assert_eq!(
            resolved(&directory, recipient),
            "local ann@known.example",
            "{recipient}"
        );
    }
    assert_eq!(resolved(&directory, "abuse@mx.host.example"), "not local");
    let set = SMALL.replace("[server]", "[server]\npostmaster = \"root@ops.example\"");
    assert_eq!(
        resolved(&*open(&set).await, "abuse@known.example"),
        "local root@ops.example"
    );
    apply(
        &directory,
        add_alias("abuse@known.example", &["crm@partner.example"]),
    )
    .await;
    assert_eq!(
        resolved(&directory, "abuse@known.example"),
        "local crm@partner.example"
    );
}

#[tokio::test]
async fn without_anybody_postmaster_is_a_mailbox_of_its_own() {
    let nobody = SMALL.split("[[accounts]]").next().unwrap();
    let directory = open(nobody).await;
    for domain in ["known.example", "any.example", "verify.example"] {
        let postmaster = format!("postmaster@{domain}");
        assert_eq!(resolved(&directory, &postmaster), format!("local {postmaster}"));
    }
    assert_eq!(
        resolved(&directory, "postmaster@mx.host.example"),
        "local postmaster@known.example"
    );
    // One that leads to itself, or nowhere, is no reason to refuse.
    for to in ["postmaster@known.example", "nobody@known.example"] {
        let set = nobody.replace("[server]", &format!("[server]\npostmaster = \"{to}\""));
        let (directory, _) = open_on(MemoryShelf::default(), &set).await;
        assert!(
            resolved(&directory, "abuse@known.example").starts_with("local "),
            "{to}"
        );
    }
}

#[tokio::test]
async fn a_server_without_domains_has_no_postmaster() {
    let directory = open("profile = \"testing\"\n[server]\nhostname = \"mx.host.example\"").await;
    assert_eq!(resolved(&directory, "postmaster@mx.host.example"), "not local");
    apply(&directory, add_domain("first.example")).await;
    assert_eq!(
        resolved(&directory, "postmaster@mx.host.example"),
        "local postmaster@first.example"
    );
}

#[tokio::test]
async fn loops_end() {
    // They are refused when they are made; what is stored may still hold them.
    let alias = |name: &str, to: &str| Record {
        kind: Kind::Alias,
        name: name.to_owned(),
        value: format!("{{\"targets\":[\"{to}\"]}}"),
    };
    let contents = Contents {
        records: vec![
            alias("a@known.example", "b@known.example"),
            alias("b@known.example", "a@known.example"),
            alias("a@any.example", "b@any.example"),
            alias("b@any.example", "a@any.example"),
            alias("x@verify.example", "x@verify.example"),
            alias("into@known.example", "a@any.example"),
        ],
        ..Contents::default()
    };
    let (directory, _) = open_on(MemoryShelf::with(contents), SMALL).await;
    assert_eq!(resolved(&directory, "a@known.example"), "unknown");
    assert_eq!(resolved(&directory, "a@any.example"), "local a@any.example");
    assert_eq!(resolved(&directory, "x@verify.example"), "local x@verify.example");
    assert_eq!(resolved(&directory, "into@known.example"), "local a@any.example");
}

#[tokio::test]
async fn expansion_is_bounded_and_never_cut_short() {
    let alias = |name: String, targets: Vec<String>| Record {
        kind: Kind::Alias,
        name,
        value: serde_json::json!({ "targets": targets }).to_string(),
    };
    let many = |count| {
        (0..count)
            .map(|number| format!("{number}@partner.example"))
            .collect()
    };
    let mut records = vec![
        alias("full@known.example".into(), many(1000)),
        alias("more@known.example".into(), many(1001)),
    ];
    for number in 0..12 {
        let next = format!("c{}@known.example", number + 1);
        records.push(alias(format!("c{number}@known.example"), vec![next]));
    }
    records.push(alias(
        "c12@known.example".into(),
        vec!["end@partner.example".into()],
    ));
    let contents = Contents {
        records,
        ..Contents::default()
    };
    let (directory, _) = open_on(MemoryShelf::with(contents), SMALL).await;
    assert_eq!(
        resolved(&directory, "full@known.example").split(' ').count(),
        1001
    );
    assert_eq!(resolved(&directory, "more@known.example"), "trouble TooLarge");
    assert_eq!(
        resolved(&directory, "c3@known.example"),
        "local end@partner.example"
    );
    assert_eq!(resolved(&directory, "c2@known.example"), "trouble TooLarge");
}
