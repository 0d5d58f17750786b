//! Tests of the whole: the stage; the subjects are in files of their own.

mod changes;
mod declared;
mod logins;
mod properties;
mod resolution;
mod several;
mod size;

use crate::testing::MemoryShelf;
use crate::*;
use jiff::Timestamp;
use smtp::Address;
use smtp_config::{Config, LocalDelivery, Recipients, Sources};
use smtp_sasl::{Password, Secret};
use std::sync::Arc;

/// Two domains, one for each way of knowing recipients that this server decides, and what most cases need in them.
const SMALL: &str = r#"
    profile = "testing"
    [server]
    hostname = "mx.host.example"
    [[domains]]
    name = "known.example"
    deliver = "maildir:/mail/{domain}/{local}"
    [[domains]]
    name = "any.example"
    deliver = "capture"
    [[domains]]
    name = "verify.example"
    deliver = "lmtp:store:24"
    recipients = "verify"
    [[accounts]]
    name = "Ann@known.example"
    senders = ["*@any.example"]
    identities = ["oauth:subject-1", "cert:ann.client.example"]
    [[aliases]]
    name = "sales@known.example"
    to = ["ann@known.example", "crm@partner.example"]
"#;

fn config(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    let sources = Sources {
        file: Some(path),
        ..Sources::default()
    };
    Config::load(&sources)
        .unwrap_or_else(|errors| panic!("{errors}"))
        .config
}

fn declarations(text: &str) -> Declarations {
    Declarations::read(&config(text)).unwrap_or_else(|error| panic!("{error}"))
}

fn faults(text: &str) -> String {
    Declarations::read(&config(text)).unwrap_err().to_string()
}

async fn open(text: &str) -> Arc<Directory> {
    let (directory, warnings) = open_on(MemoryShelf::default(), text).await;
    assert_eq!(warnings, [""; 0]);
    directory
}

async fn open_on(shelf: MemoryShelf, text: &str) -> (Arc<Directory>, Vec<String>) {
    Directory::open(Arc::new(shelf), declarations(text))
        .await
        .unwrap()
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// What a recipient is, in words: `local a b`, `verify`, `unknown`, `not local`, `trouble`.
fn resolved(directory: &Directory, recipient: &str) -> String {
    match directory.snapshot().recipient(&address(recipient)) {
        Resolution::NotLocal => "not local".to_owned(),
        Resolution::Verify(same) => format!("verify {same}"),
        Resolution::Unknown => "unknown".to_owned(),
        Resolution::Trouble(trouble) => format!("trouble {trouble:?}"),
        Resolution::Local(found) => {
            let found: Vec<&str> = found.iter().map(Address::as_str).collect();
            format!("local {}", found.join(" "))
        }
    }
}

fn add_account(name: &str, login: NewLogin) -> Change {
    Change::AddAccount {
        name: name.to_owned(),
        login,
        senders: Vec::new(),
        identities: Vec::new(),
        quotas: Vec::new(),
    }
}

fn add_alias(name: &str, targets: &[&str]) -> Change {
    Change::AddAlias {
        name: name.to_owned(),
        targets: targets.iter().map(|target| address(target)).collect(),
    }
}

fn add_domain(name: &str) -> Change {
    Change::AddDomain {
        name: name.to_owned(),
        deliver: LocalDelivery::Capture,
        recipients: Some(Recipients::Known),
    }
}

async fn apply(directory: &Arc<Directory>, change: Change) -> Applied {
    let shown = format!("{change:?}");
    directory
        .apply(change)
        .await
        .unwrap_or_else(|error| panic!("{shown}: {error}"))
}

async fn refusal(directory: &Arc<Directory>, change: Change) -> String {
    let before = directory.snapshot().revision();
    let error = directory.apply(change).await.unwrap_err().to_string();
    assert_eq!(directory.snapshot().revision(), before);
    error
}
