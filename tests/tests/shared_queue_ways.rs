//! One queue in PostgreSQL: how it is reached, and what is refused.

use crate::shared_queue::setup;
use blackbox::postgres::Postgres;
use blackbox::server::{Setup, binary, refusal};
use blackbox::tools::{certificates, program};
use blackbox::wire::Wire;
use std::path::Path;

/// A database that is reached in TLS only, with a certificate of an authority or with a password.
struct Guarded {
    database: Postgres,
    authority: tempfile::TempDir,
}

impl Guarded {
    fn new() -> Guarded {
        let database = Postgres::with("listen_addresses = '127.0.0.1,127.0.0.2'\n");
        let authority = tempfile::tempdir().expect("a folder");
        certificates(authority.path());
        database.offer_tls(authority.path());
        let rules = "local all all trust\nhostssl all postgres 127.0.0.0/8 cert clientcert=verify-full map=hop\n\
                     hostssl all keeper 127.0.0.0/8 scram-sha-256\n";
        database.sql("CREATE ROLE keeper SUPERUSER LOGIN PASSWORD 'pass word'");
        database.rules(rules, "hop hop postgres");
        Guarded { database, authority }
    }

    fn url(&self, user: &str, host: &str, query: &str) -> String {
        let Postgres { port, name, .. } = &self.database;
        format!("postgresql://{user}@{host}:{port}/{name}?{query}")
    }

    /// By a certificate, where this authority vouches for the database.
    fn by_certificate(&self, mode: &str, host: &str, authority: &Path) -> String {
        let path = |folder: &Path, name: &str| folder.join(name).display().to_string();
        let (own, theirs) = (self.authority.path(), path(authority, "ca.pem"));
        let (cert, key) = (path(own, "cert.pem"), path(own, "key.pem"));
        let query = format!("sslmode={mode}&sslrootcert={theirs}&sslcert={cert}&sslkey={key}");
        self.url("postgres", host, &query)
    }
}

/// A server starts, and takes a message.
fn works(url: &str) {
    let server = Setup::new("[delivery]\ncapture = true\n")
        .env("SMTP_DATABASE_URL", url)
        .start();
    Wire::hello(server.smtp).mail("a@x.test", &["b@y.test"], "Subject: kept\r\n\r\n");
}

/// A server ends with this code, and says these words.
fn refused(url: &str, expected: i32, words: &[&str]) -> String {
    let (code, text) = refusal(&setup(url, ""));
    assert!(
        code == expected && words.iter().all(|word| text.contains(word)),
        "{url}: {code} {text}"
    );
    text
}

/// Another authority, another name, no TLS at all. Of a name that is not in the certificate only verify-full wants to know.
fn certificates_are_looked_at(guarded: &Guarded) {
    let own = guarded.authority.path();
    let others = tempfile::tempdir().expect("a folder");
    certificates(others.path());
    for (mode, host, authority, is_good) in [
        ("verify-full", "localhost", own, true),
        ("verify-full", "127.0.0.1", own, true),
        ("verify-ca", "127.0.0.2", own, true),
        ("verify-full", "127.0.0.2", own, false),
        ("verify-full", "localhost", others.path(), false),
        ("verify-ca", "localhost", others.path(), false),
    ] {
        let url = guarded.by_certificate(mode, host, authority);
        if is_good {
            works(&url);
        } else {
            refused(&url, 75, &["certificate"]);
        }
    }
    let in_clear = guarded.url("postgres", "localhost", "sslmode=disable");
    refused(&in_clear, 75, &["no encryption"]);
}

/// Without a certificate, by a password from a file; which is not shown.
fn a_password_is_enough(guarded: &Guarded) {
    let password = guarded.authority.path().join("password");
    std::fs::write(&password, "pass word\n").expect("password");
    let config = format!(
        "[storage]\npassword_file = \"{}\"\n[delivery]\ncapture = true\n",
        password.display()
    );
    let url = guarded.url("keeper", "localhost", "sslmode=require");
    let mut server = Setup::new(config).env("SMTP_DATABASE_URL", &url).start();
    let shown = server.done(&["config", "show"]);
    assert!(
        !shown.contains("keeper") && !shown.contains("pass word"),
        "{shown}"
    );
    assert!(server.stop().success());
}

/// What is wrong before anything is connected is a fault of the configuration.
fn wrong_urls_are_named() {
    for (url, reason) in [
        (
            "postgresql://postgres@localhost/queue?sslmode=maybe",
            "sslmode maybe",
        ),
        (
            "postgresql://postgres:hidden@localhost/queue?sslrootcert=/nowhere.pem&sslmode=verify-full",
            "/nowhere.pem",
        ),
        ("mysql://hidden@localhost/queue", "postgresql://"),
    ] {
        let text = refused(url, 78, &[reason]);
        assert!(!text.contains("hidden"), "{text}");
        let mut check = program(binary().to_str().expect("path"));
        let check = check
            .arg("check")
            .env_clear()
            .env("SMTP_DATABASE_URL", url)
            .output()
            .expect("check");
        assert_eq!(check.status.code(), Some(78));
        assert!(
            String::from_utf8_lossy(&check.stdout).contains(reason),
            "{check:?}"
        );
    }
}

#[test]
fn the_way_to_the_database_is_secured_as_asked() {
    let guarded = Guarded::new();
    certificates_are_looked_at(&guarded);
    a_password_is_enough(&guarded);
    // A database that cannot hold every address is refused.
    let database = &guarded.database;
    database.plain_rules();
    database.sql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    let latin = format!("postgresql://postgres@{}/latin", database.address());
    refused(&latin, 78, &["LATIN1", "createdb"]);
    wrong_urls_are_named();
}
