//! What accounts may send, how much, and to whom mail for an address goes.

use super::auth::{PASSWORD, account, config_with_accounts, plain};
use super::*;
use crate::callout::Verdict;
use async_trait::async_trait;
use smtp::Address;
use smtp_config::{Alias, Quota, Recipients};
use smtp_directory::Change;

const TEXT: &str = "From: a@sender.test\r\n\r\nx\r\n.";

#[tokio::test]
async fn an_account_relays_and_the_trace_says_so() {
    let stage = Stage::start(config_with_accounts());
    let mut client = stage.logged_in("ann").await;
    client.say("MAIL FROM:<a@sender.test>", "250").await;
    client.say("RCPT TO:<x@remote.test>", "250").await;
    client.say("DATA", "354").await;
    client.say(TEXT, "250 2.0.0").await;
    let content = stage.content(&stage.messages().await[0]).await;
    assert!(content.contains("with ESMTPSA id "), "{content}");
    assert!(!content.contains("ann"), "the account is not told: {content}");
}

#[tokio::test]
async fn an_account_sends_from_its_own_addresses() {
    let stage = Stage::start(config_with_accounts());
    let mut client = stage.logged_in("ann").await;
    client.say("MAIL FROM:<ceo@other.test>", "553 5.7.1").await;
    client.say("MAIL FROM:<a@sub.sender.test>", "553 5.7.1").await;
    client.say("MAIL FROM:<>", "250").await;
    client.say("RSET", "250").await;
    client.say("MAIL FROM:<A@SENDER.test>", "250").await;
    client.say("RCPT TO:<x@remote.test>", "250").await;
    client.say("DATA", "354").await;
    client
        .say("From: ceo@other.test\r\n\r\nx\r\n.", "550 5.7.1")
        .await;
    assert!(stage.messages().await.is_empty());
}

#[tokio::test]
async fn a_closed_account_begins_no_further_mail() {
    let stage = Stage::start(config_with_accounts());
    let directory = stage.reception.shared.directory.clone();
    let add = Change::AddAccount {
        name: "cid".into(),
        login: smtp_directory::NewLogin::Password(smtp_sasl::Secret::new(PASSWORD)),
        senders: vec!["*".parse().unwrap()],
        identities: Vec::new(),
        quotas: Vec::new(),
    };
    directory.apply(add).await.unwrap();
    let mut client = stage.logged_in("cid").await;
    client.say("MAIL FROM:<a@sender.test>", "250").await;
    client.say("RSET", "250").await;
    let name = "cid".into();
    directory
        .apply(Change::SetEnabled { name, enabled: false })
        .await
        .unwrap();
    client.say("MAIL FROM:<a@sender.test>", "550 5.7.1").await;
}

fn with_quotas(quotas: &[&str]) -> Config {
    let mut config = config_with_accounts();
    config.accounts[0].quota = quotas.iter().map(|text| Quota::parse(text).unwrap()).collect();
    config
}

#[tokio::test]
async fn messages_over_the_quota_are_told_when_to_come_again() {
    let stage = Stage::start(with_quotas(&["2/hour"]));
    let mut client = stage.logged_in("ann").await;
    for _ in 0..2 {
        client.say("MAIL FROM:<a@sender.test>", "250").await;
        client.say("RCPT TO:<x@remote.test>", "250").await;
        client.say("DATA", "354").await;
        client.say(TEXT, "250 2.0.0").await;
    }
    let reply = client.say("MAIL FROM:<a@sender.test>", "450 4.7.1").await;
    let wait = reply
        .split("again in ")
        .nth(1)
        .and_then(|rest| rest.strip_suffix(" s\r\n"));
    let wait: u64 = wait.unwrap().parse().unwrap();
    assert!((3500..=3660).contains(&wait), "{reply}");
    // The quota is the account's, not the session's; another account has its own.
    let mut again = stage.logged_in("ann").await;
    again.say("MAIL FROM:<a@sender.test>", "450 4.7.1").await;
    let mut other = stage.logged_in("bob").await;
    other.say("MAIL FROM:<a@sender.test>", "250").await;
    assert_eq!(
        stage.metric("smtp_messages_rejected_total{reason=\"quota\"}"),
        2.0
    );
}

#[tokio::test]
async fn what_is_not_sent_is_given_back() {
    let stage = Stage::start(with_quotas(&["1/hour", "recipients:1/hour"]));
    let mut client = stage.logged_in("ann").await;
    for end in ["RSET", "EHLO again.test"] {
        client.say("MAIL FROM:<a@sender.test>", "250").await;
        client.say("RCPT TO:<x@remote.test>", "250").await;
        client.say("RCPT TO:<y@remote.test>", "450 4.7.1").await;
        client.say(end, "250").await;
    }
    client.say("MAIL FROM:<a@sender.test>", "250").await;
    client.say("RCPT TO:<x@remote.test>", "250").await;
    client.say("DATA", "354").await;
    client
        .say("From: ceo@other.test\r\n\r\nx\r\n.", "550 5.7.1")
        .await;
    client.say("MAIL FROM:<a@sender.test>", "250").await;
    drop(client);
    stage.until_connections(0).await;
    let mut client = stage.logged_in("ann").await;
    client.say("MAIL FROM:<a@sender.test>", "250").await;
    client.say("RCPT TO:<x@remote.test>", "250").await;
    client.say("DATA", "354").await;
    client.say(TEXT, "250 2.0.0").await;
    client.say("MAIL FROM:<a@sender.test>", "450 4.7.1").await;
}

#[tokio::test]
async fn an_account_has_so_many_sessions_at_once() {
    let mut config = config_with_accounts();
    config.server.max_connections_per_account = 2;
    // Whoever is exempt from limits is from this one.
    let stage = Stage::start(config.clone());
    let _all = [
        stage.logged_in("ann").await,
        stage.logged_in("ann").await,
        stage.logged_in("ann").await,
    ];
    config.rate_limiting.exempt = Vec::new();
    let stage = Stage::start(config);
    let first = stage.logged_in("ann").await;
    let _second = stage.logged_in("ann").await;
    let mut third = stage.secured().await;
    let reply = third.say(&plain("ann", PASSWORD), "454 4.7.0").await;
    assert!(reply.contains("too many sessions"), "{reply}");
    assert_eq!(
        stage.metric("smtp_auth_total{mechanism=\"plain\",result=\"too_many\"}"),
        1.0
    );
    // A wrong password is told nothing of it.
    third.say(&plain("ann", "wrong"), "535 5.7.8").await;
    // Another account has its own, and one that ended makes room.
    let _other = stage.logged_in("bob").await;
    drop(first);
    stage.until_connections(3).await;
    third.say(&plain("ann", PASSWORD), "235 2.7.0").await;
}

#[tokio::test]
async fn the_rate_limit_is_the_accounts() {
    let mut config = config_with_accounts();
    config.rate_limiting.exempt = Vec::new();
    config.rate_limiting.requests_per_minute = 1;
    config.rate_limiting.burst_size = 4;
    let stage = Stage::start(config);
    let mut ann = stage.logged_in("ann").await;
    let mut bob = stage.logged_in("bob").await;
    for client in [&mut ann, &mut bob] {
        for _ in 0..4 {
            client.say("MAIL FROM:<a@sender.test>", "250").await;
            client.say("RSET", "250").await;
        }
        let reply = client.say("MAIL FROM:<a@sender.test>", "450 4.7.1").await;
        assert!(reply.contains("your account"), "{reply}");
    }
}

fn alias(name: &str, to: &[&str]) -> Alias {
    Alias {
        name: name.into(),
        to: to.iter().map(|to| (*to).to_owned()).collect(),
    }
}

/// A domain of which accounts and aliases are known, no more.
fn config_with_aliases() -> Config {
    let mut config = config();
    config.domains[0].recipients = Recipients::Known;
    config.accounts = vec![account("ann@local.test"), account("bob@local.test")];
    config.aliases = vec![
        alias("sales@local.test", &["ann@local.test", "crm@remote.test"]),
        alias(
            "team@local.test",
            &["sales@local.test", "bob@local.test", "ann@local.test"],
        ),
        alias("bob@local.test", &["bob@local.test", "bob@remote.test"]),
    ];
    config
}

/// Recipients of the only message, with what reports call them.
async fn recipients(stage: &Stage) -> Vec<(String, Option<String>)> {
    let id = stage.messages().await[0].message.id;
    let recipients = stage.queue.store().show(id).await.unwrap().unwrap().recipients;
    recipients
        .iter()
        .map(|one| {
            let orcpt = one.orcpt.as_ref().map(|orcpt| orcpt.as_str().to_owned());
            (one.address.as_str().to_owned(), orcpt)
        })
        .collect()
}

#[tokio::test]
async fn aliases_lead_to_their_targets_once_each() {
    let stage = Stage::start(config_with_aliases());
    let mut client = stage.greeted().await;
    client.say("MAIL FROM:<x@client.test>", "250").await;
    client
        .say("RCPT TO:<Team@local.test> NOTIFY=FAILURE", "250 2.1.5")
        .await;
    client.say("RCPT TO:<ann+tag@local.test>", "250").await;
    client
        .say(
            "RCPT TO:<sales@local.test> ORCPT=rfc822;first@elsewhere.test",
            "250",
        )
        .await;
    client.say("RCPT TO:<nobody@local.test>", "550 5.1.1").await;
    client.say("RCPT TO:<x@remote.test>", "554 5.7.1").await;
    client.say("DATA", "354").await;
    client.say("x\r\n.", "250 2.0.0").await;
    let orcpt = |text: &str| Some(text.to_owned());
    let found = recipients(&stage).await;
    let named = "rfc822;Team@local.test";
    assert_eq!(
        found,
        [
            ("ann@local.test".to_owned(), orcpt(named)),
            ("crm@remote.test".to_owned(), orcpt(named)),
            ("bob@local.test".to_owned(), orcpt(named)),
            ("bob@remote.test".to_owned(), orcpt(named)),
            ("ann+tag@local.test".to_owned(), None),
        ],
    );
}

#[tokio::test]
async fn what_is_behind_aliases_is_bounded() {
    let mut config = config_with_aliases();
    for n in 0..11 {
        let to: Vec<String> = (0..1000).map(|k| format!("u{k}@d{n}.test")).collect();
        config.aliases.push(Alias {
            name: format!("all{n}@local.test"),
            to,
        });
    }
    let stage = Stage::start(config);
    let mut client = stage.greeted().await;
    client.say("MAIL FROM:<x@client.test>", "250").await;
    for n in 0..10 {
        client.say(&format!("RCPT TO:<all{n}@local.test>"), "250").await;
    }
    client.say("RCPT TO:<all10@local.test>", "452 4.5.3").await;
    client.say("DATA", "354").await;
    client.say("x\r\n.", "250 2.0.0").await;
    assert_eq!(recipients(&stage).await.len(), 10_000);
}

/// A next hop that knows `ann`, not `nobody`, and cannot be asked for the rest.
#[derive(Debug)]
struct Asked;

#[async_trait]
impl Callout for Asked {
    async fn verify(&self, address: &Address) -> Verdict {
        match address.local() {
            "ann" => Verdict::Exists,
            "nobody" => Verdict::Unknown,
            _ => Verdict::Unavailable,
        }
    }
}

#[tokio::test]
async fn a_next_hop_is_asked_for_its_recipients() {
    let mut config = config();
    config.domains[0].recipients = Recipients::Verify;
    let stage = Stage::with(config.clone(), Some(Arc::new(Asked)));
    stage.reception.start().unwrap();
    let mut client = stage.greeted().await;
    client.say("MAIL FROM:<x@client.test>", "250").await;
    client.say("RCPT TO:<nobody@local.test>", "550 5.1.1").await;
    client.say("RCPT TO:<bob@local.test>", "450 4.1.1").await;
    client.say("DATA", "554").await;
    client.say("RCPT TO:<ann@local.test>", "250").await;
    client.say("DATA", "354").await;
    client.say("x\r\n.", "250 2.0.0").await;
    // Without somebody to ask every address is taken.
    let stage = Stage::start(config);
    let mut client = stage.greeted().await;
    client.say("MAIL FROM:<x@client.test>", "250").await;
    client.say("RCPT TO:<nobody@local.test>", "250").await;
}

#[tokio::test]
async fn submission_needs_an_account() {
    let stage = Stage::start(config_with_accounts());
    let mut client = stage.secured().await;
    client.say("MAIL FROM:<a@sender.test>", "530 5.7.0").await;
    client.say("RCPT TO:<x@local.test>", "503").await;
    client.say(&plain("ann", PASSWORD), "235").await;
    client.say("EHLO again.test", "250").await;
    client.say("MAIL FROM:<a@sender.test>", "250").await;
}
