use super::*;
use crate::author::Author;
use smtp::Reply;
use smtp_config::{Config, Domain, LocalDelivery, Profile, Recipients, Secret};
use smtp_directory::testing::MemoryShelf;
use smtp_directory::{Contents, Declarations, Directory, Snapshot};
use smtp_dkim::{Algorithm, SigningKey};
use smtp_queue::sqlite::{SqliteSettings, SqliteStore};
use std::sync::Arc;

/// A directory with the account ann@x.example and a key for x.example.
async fn directory() -> Arc<Snapshot> {
    let mut config = Config::defaults(Profile::Testing);
    config.domains = vec![Domain {
        name: "x.example".into(),
        deliver: LocalDelivery::Capture,
        recipients: Recipients::Any,
    }];
    config.accounts = vec![smtp_config::Account {
        name: "ann@x.example".into(),
        password: None,
        senders: Vec::new(),
        identities: Vec::new(),
        quota: Vec::new(),
    }];
    let pem = SigningKey::generate(Algorithm::Ed25519)
        .unwrap()
        .to_pem()
        .unwrap();
    config.dkim.private_key = Some(Secret::new(pem.as_str()));
    config.dkim.domain = Some("x.example".into());
    let shelf = Arc::new(MemoryShelf::with(Contents::default()));
    let declarations = Declarations::read(&config).unwrap();
    Directory::open(shelf, declarations).await.unwrap().0.snapshot()
}

fn authored(directory: &Arc<Snapshot>) -> Treatment {
    Treatment::Authored(Author {
        account: Arc::clone(directory.account("ann@x.example").unwrap()),
        directory: Arc::clone(directory),
    })
}

/// What is stored of a content that comes in pieces of `size`, or the reply.
async fn stored(treatment: &Treatment, content: &[u8], size: usize) -> Result<Vec<u8>, Reply> {
    let folder = tempfile::tempdir().unwrap();
    let settings = SqliteSettings {
        path: folder.path().join("smtp.db"),
        min_free: 0,
        memory_budget: 1 << 20,
    };
    let (_store, spool) = SqliteStore::open(settings, smtp_observe::Observer::silent()).unwrap();
    let sender = Address::parse("ann@x.example").unwrap();
    let envelope = Envelope {
        treatment,
        sender: Some(&sender),
        hostname: "mx.example",
        received_at: Timestamp::from_second(1_700_000_000).unwrap(),
        max_header: 5000,
        traced: false,
    };
    let id = QueueId::parse("01JABCDEFGHJKMNPQRSTVWXYZ0").unwrap();
    let mut taken = Content::open(id, spool.writer(id), "Received: here\r\n", &envelope).await;
    for chunk in content.chunks(size) {
        taken.push(chunk, &envelope).await;
    }
    match taken.finish(&envelope).await {
        Ok((Body::Memory(octets), _)) => Ok(octets.to_vec()),
        Ok((Body::File { path, .. }, _)) => Ok(std::fs::read(path).unwrap()),
        Err(why) => Err(why.reply),
    }
}

const MAIL: &str = "From: Ann <ann@x.example>\r\nDate: today\r\nMessage-ID: <1@x>\r\nBcc: bo@y.example\r\n\r\n8-bit: \u{e4}\r\n";

#[tokio::test]
async fn what_nobody_touches_passes_as_it_is() {
    let content = "no header\r\nBcc: x\r\n";
    let kept = stored(&Treatment::Passed, content.as_bytes(), 3).await.unwrap();
    assert_eq!(kept, format!("Received: here\r\n{content}").into_bytes());
}

#[tokio::test]
async fn a_trusted_networks_mail_is_signed_and_not_changed() {
    let directory = directory().await;
    let signed = Treatment::Signed(directory);
    let text = String::from_utf8(stored(&signed, MAIL.as_bytes(), 1000).await.unwrap()).unwrap();
    let rest = text.strip_prefix("Received: here\r\nDKIM-Signature: ").unwrap();
    assert!(rest.ends_with(MAIL) && rest.contains("d=x.example"), "{text}");
    let foreign = MAIL.replace("ann@x.example", "ann@y.example");
    let text = stored(&signed, foreign.as_bytes(), 1000).await.unwrap();
    assert_eq!(
        text,
        format!("Received: here\r\n{foreign}").into_bytes(),
        "no key, no signature"
    );
}

#[tokio::test]
async fn an_accounts_mail_is_completed_and_signed_however_it_is_split() {
    let treatment = authored(&directory().await);
    let long = "x".repeat(90) + "\r\n";
    for body in ["", "Hello\r\n", &long.repeat(5000)] {
        let content = format!("From: ann@x.example\r\nbcc: bo@y.example\r\n\r\n{body}");
        let whole = stored(&treatment, content.as_bytes(), usize::MAX).await.unwrap();
        let text = String::from_utf8(whole.clone()).unwrap();
        let (header, kept) = text.split_once("\r\n\r\n").unwrap();
        assert!(kept == body && !header.contains("bo@y.example"));
        assert!(
            header.contains("\r\nDKIM-Signature: ") && header.contains("\r\nMessage-ID: <01JABC"),
            "{header}"
        );
        assert!(!header.contains("   "), "the room was filled: {header}");
        for size in [1, 7, 4096] {
            if content.len() / size < 10_000 {
                assert!(
                    stored(&treatment, content.as_bytes(), size).await.unwrap() == whole,
                    "{size}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_foreign_author_and_a_huge_header_are_refused_at_the_end() {
    let treatment = authored(&directory().await);
    for (content, code, enhanced) in [
        ("From: bo@x.example\r\n\r\nx\r\n".to_owned(), 550, (5, 7, 1)),
        (
            "From: ann@x.example\r\nSender: bo@x.example\r\n\r\n".to_owned(),
            550,
            (5, 7, 1),
        ),
        (
            "From: ann@x.example\r\nFrom: bo@x.example\r\n\r\n".to_owned(),
            550,
            (5, 6, 0),
        ),
        (
            format!("From: ann@x.example\r\n{}", "X: y\r\n".repeat(1000)),
            552,
            (5, 3, 4),
        ),
    ] {
        let reply = stored(&treatment, content.as_bytes(), 11).await.unwrap_err();
        let smtp::Enhanced(class, subject, detail) = reply.enhanced.unwrap();
        assert_eq!(
            (reply.code, (class, subject, detail)),
            (code, enhanced),
            "{content:.80}"
        );
    }
}
