//! One queue in PostgreSQL: how it is reached, and what it is asked.

use crate::shared_queue::setup;
use blackbox::postgres::Postgres;
use blackbox::server::{Server, Setup, binary, refusal};
use blackbox::tools::{certificates, program, swaks};
use blackbox::wait_for;
use blackbox::wire::Wire;
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;

#[test]
fn the_way_to_the_database_is_secured_as_asked() {
    let database = Postgres::with("listen_addresses = '127.0.0.1,127.0.0.2'\n");
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let [cert, key, ca] =
        ["cert.pem", "key.pem", "ca.pem"].map(|name| database.put(Path::new(&path(name)), name));
    database.reconfigure(&format!(
        "ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\nssl_ca_file = '{}'",
        cert.display(),
        key.display(),
        ca.display()
    ));
    // From here on only in TLS, with a certificate of the authority, or with the password.
    let rules = "local all all trust\nhostssl all postgres 127.0.0.0/8 cert clientcert=verify-full map=hop\n\
                 hostssl all keeper 127.0.0.0/8 scram-sha-256\n";
    database.sql("CREATE ROLE keeper SUPERUSER LOGIN PASSWORD 'pass word'");
    database.rules(rules, "hop hop postgres");
    let (port, name) = (database.port, &database.name);
    let mutual = |mode: &str, host: &str, ca: &str| {
        format!(
            "postgresql://postgres@{host}:{port}/{name}?sslmode={mode}&sslrootcert={ca}&sslcert={}&sslkey={}",
            path("cert.pem"),
            path("key.pem")
        )
    };
    let works = |url: &str| {
        let server = Setup::new("[delivery]\ncapture = true\n")
            .env("SMTP_DATABASE_URL", url)
            .start();
        Wire::hello(server.smtp).mail("a@x.test", &["b@y.test"], "Subject: kept\r\n\r\n");
    };
    works(&mutual("verify-full", "localhost", &path("ca.pem")));
    works(&mutual("verify-full", "127.0.0.1", &path("ca.pem")));
    // Without a certificate, by a password from a file; which is not shown.
    let password = folder.path().join("password");
    std::fs::write(&password, "pass word\n").expect("password");
    let by_password = format!("postgresql://keeper@localhost:{port}/{name}?sslmode=require");
    let config = format!(
        "[storage]\npassword_file = \"{}\"\n[delivery]\ncapture = true\n",
        password.display()
    );
    let mut server = Setup::new(config).env("SMTP_DATABASE_URL", &by_password).start();
    let shown = String::from_utf8(server.command(&["config", "show"]).stdout).expect("UTF-8");
    assert!(
        !shown.contains("keeper") && !shown.contains("pass word"),
        "{shown}"
    );
    assert!(server.stop().success());
    let refused = |url: &str, reason: &str| {
        let (code, text) = refusal(&setup(url, ""));
        assert!(code == 75 && text.contains(reason), "{url}: {code} {text}");
    };
    // Another authority, another name, no TLS at all.
    let others = tempfile::tempdir().expect("a folder");
    certificates(others.path());
    let foreign = others.path().join("ca.pem").display().to_string();
    refused(&mutual("verify-full", "localhost", &foreign), "certificate");
    refused(&mutual("verify-ca", "localhost", &foreign), "certificate");
    refused(
        &format!("postgresql://postgres@localhost:{port}/{name}?sslmode=disable"),
        "no encryption",
    );
    // A name that is not in the certificate: verify-ca does not look at it, verify-full does.
    works(&mutual("verify-ca", "127.0.0.2", &path("ca.pem")));
    refused(
        &mutual("verify-full", "127.0.0.2", &path("ca.pem")),
        "certificate",
    );
    // So is a database that cannot hold every address.
    database.plain_rules();
    database.sql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    let latin = format!("postgresql://postgres@127.0.0.1:{port}/latin");
    let (code, text) = refusal(&setup(&latin, ""));
    assert!(
        code == 78 && text.contains("LATIN1") && text.contains("createdb"),
        "{code} {text}"
    );
    // What is wrong before anything is connected is a fault of the configuration.
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
        let (code, text) = refusal(&setup(url, ""));
        assert!(
            code == 78 && text.contains(reason) && !text.contains("hidden"),
            "{code} {text}"
        );
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
fn of_guesses_at_a_name_each_server_bears_its_share_and_few_networks_lock_nobody_out() {
    let database = Postgres::start();
    let start = || setup(&database.url(), "[auth]\nlock_after = 2\n").start();
    let servers: Vec<Server> = (0..5).map(|_| start()).collect();
    let server = &servers[0];
    server.wait_event("servers_changed", |line| line["servers"] == 5);
    // One failure with the name from each of these.
    let guess = |networks: std::ops::Range<u8>| {
        let guesses = networks.map(|network| {
            let mut swaks = swaks(server.submission(), "ann", "wrong");
            swaks.args(["--quit-after", "AUTH", "--local-interface"]);
            swaks.arg(format!("127.0.0.{}", 30 + network));
            swaks.stdout(Stdio::null()).stderr(Stdio::null());
            swaks.spawn().expect("swaks")
        });
        for mut guess in guesses.collect::<Vec<_>>() {
            assert!(!guess.wait().expect("swaks").success());
        }
    };
    let scopes = |count: usize| -> Vec<String> {
        wait_for("the locks", || server.events("auth_locked").len() >= count);
        let locked = server.events("auth_locked");
        let scope = |line: &Value| line["scope"].as_str().map(str::to_owned);
        locked.iter().filter_map(scope).collect()
    };
    // A fifth of what twenty are in all would be four. Two networks that guess twice add one each.
    guess(0..2);
    guess(0..2);
    guess(2..9);
    assert_eq!(scopes(2), ["pair", "pair"]);
    // Ten in all lock it, from ten networks: half of what one server alone would take.
    guess(9..10);
    assert_eq!(scopes(3), ["pair", "pair", "account"]);
}
