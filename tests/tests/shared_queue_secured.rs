//! One queue in PostgreSQL: TLS as far as it is asked for, and certificates and passwords that are replaced under way.

mod asked;

use crate::shared_queue::setup;
use crate::shared_queue_locked::leaves_nothing_behind;
use blackbox::postgres::Postgres;
use blackbox::server::{Server, Setup, binary, refusal};
use blackbox::tools::{certificates, client_certificate, revoke};
use blackbox::wait_for;
use blackbox::wire::Wire;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A database, and an authority.
struct Scene {
    database: Postgres,
    authority: tempfile::TempDir,
    /// What a server names: these files are replaced.
    mine: tempfile::TempDir,
}

impl Scene {
    fn new() -> Scene {
        let authority = tempfile::tempdir().expect("a folder");
        certificates(authority.path());
        for (name, days) in [("first", 90), ("second", 90), ("third", 0)] {
            client_certificate(authority.path(), name, days);
        }
        Scene {
            database: Postgres::with("listen_addresses = '127.0.0.1,127.0.0.2'\n"),
            authority,
            mine: tempfile::tempdir().expect("a folder"),
        }
    }

    /// A path of the authority's.
    fn path(&self, name: &str) -> PathBuf {
        self.authority.path().join(name)
    }

    fn url(&self, host: &str, query: &str) -> String {
        let Postgres { port, name, .. } = &self.database;
        format!("postgresql://postgres@{host}:{port}/{name}{query}")
    }

    /// Puts a certificate or a key where the server looks for it.
    fn put(&self, name: &str, kind: &str) {
        let to = self.mine.path().join(format!("client.{kind}"));
        std::fs::copy(self.path(&format!("{name}.{kind}")), to).expect("copy");
    }

    /// How servers are connected: in TLS or not, and as whom.
    fn seen(&self) -> String {
        self.database.sql(
            "SELECT DISTINCT ssl || ' ' || coalesce(client_dn, '-') FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
             WHERE application_name LIKE 'smtp-server%' ORDER BY 1",
        )
    }

    /// From the next connections on the server is not let in, and says so to clients.
    fn refuses(&self, server: &Server, reason: &str) {
        wait_for("451", || {
            self.database.break_connections();
            Wire::hello(server.smtp).say("MAIL FROM:<a@x.test>").code == 451
        });
        wait_for("the reason in the log", || {
            let failed = server.events("store_failed");
            failed
                .iter()
                .any(|line| line["error"].as_str().is_some_and(|error| error.contains(reason)))
        });
        let (status, body) = server.get("/health/ready");
        assert!(status == 200 && body.contains("degraded"), "{status} {body}");
    }

    /// With new connections a message is taken, though perhaps not at the first try; and this is who the server is.
    fn takes(&self, server: &Server, seen: &str) {
        wait_for(&format!("connections as {seen}"), || {
            self.database.break_connections();
            taken(server) && self.seen() == seen
        });
    }
}

/// Whether a message is taken.
fn taken(server: &Server) -> bool {
    let mut client = Wire::hello(server.smtp);
    for (command, code) in [
        ("MAIL FROM:<a@x.test>", 250),
        ("RCPT TO:<b@y.test>", 250),
        ("DATA", 354),
    ] {
        if client.say(command).code != code {
            return false;
        }
    }
    client.say("Subject: kept\r\n\r\n.").code == 250
}

/// One that needs nobody else.
fn capturing(url: &str) -> Setup {
    Setup::new("[delivery]\ncapture = true\n").env("SMTP_DATABASE_URL", url)
}

/// A start that comes about, and how it is connected.
fn works(scene: &Scene, url: &str, seen: &str) {
    let mut server = capturing(url).start();
    assert!(taken(&server) && scene.seen() == seen, "{url}: {}", scene.seen());
    assert!(server.stop().success());
}

/// TLS where it is offered, unless more is asked for; with authorities `require` looks at them.
fn is_as_secure_as_asked(scene: &Scene) {
    for query in ["", "?sslmode=prefer"] {
        works(scene, &scene.url("127.0.0.1", query), "false -");
    }
    scene.database.offer_tls(scene.authority.path());
    works(scene, &scene.url("127.0.0.1", ""), "true -");
    works(scene, &scene.url("127.0.0.1", "?sslmode=disable"), "false -");
    for (query, expected, word) in [
        ("?sslrootcert=system", 75, "certificate"),
        ("?sslmode=verify-ca", 78, "verify-full"),
    ] {
        let (code, text) = refusal(&setup(&scene.url("127.0.0.1", query), ""));
        assert!(code == expected && text.contains(word), "{query}: {code} {text}");
    }
    asked::certificates_are_looked_at(scene);
    asked::variables_are_enough(scene);
}

/// A server that knows all but that it is PostgreSQL from the variables of libpq.
fn by_variables(scene: &Scene) -> Setup {
    let path = |path: &Path| path.display().to_string();
    let mine = |name: &str| path(&scene.mine.path().join(name));
    let variables = [
        // Nobody is at the first.
        ("PGHOST", "127.0.0.3,localhost".to_owned()),
        ("PGPORT", format!("{0},{0}", scene.database.port)),
        ("PGUSER", "postgres".to_owned()),
        ("PGDATABASE", scene.database.name.clone()),
        ("PGSSLMODE", "verify-full".to_owned()),
        ("PGSSLROOTCERT", path(&scene.path("ca.pem"))),
        ("PGSSLCERT", mine("client.pem")),
        ("PGSSLKEY", mine("client.key")),
        ("PGTARGETSESSIONATTRS", "read-write".to_owned()),
    ];
    let setup = capturing("postgresql://");
    variables
        .into_iter()
        .fold(setup, |setup, (name, value)| setup.env(name, value))
}

/// Certificate and key that are replaced, that are revoked, that end: new connections are made with what is there now.
fn certificates_are_replaced(scene: &Scene) {
    let rules = "local all all trust\nhostssl all postgres 127.0.0.0/8 cert clientcert=verify-full map=us\n";
    scene
        .database
        .rules(rules, "us first postgres\nus second postgres\nus third postgres");
    scene.put("first", "pem");
    scene.put("first", "key");
    let setup = by_variables(scene);
    let migrate = Command::new(binary())
        .arg("migrate")
        .env_clear()
        .envs(&setup.env)
        .output();
    assert!(
        migrate.as_ref().is_ok_and(|output| output.status.success()),
        "{migrate:?}"
    );
    let mut server = setup.start();
    let starting = server.wait_event("starting", |_| true);
    let shown = format!("PostgreSQL, {} at 127.0.0.3, localhost", scene.database.name);
    assert_eq!(starting["storage"], shown);
    server.wait_empty();
    leaves_nothing_behind(&server, &scene.database);
    scene.takes(&server, "true /CN=first");
    // Half replaced they are of no use, and what was there before is.
    scene.put("second", "pem");
    scene.takes(&server, "true /CN=first");
    scene.put("second", "key");
    scene.takes(&server, "true /CN=second");
    revoke(scene.authority.path(), "second.pem");
    let list = scene.database.put(&scene.path("revoked.crl"), "revoked.crl");
    scene
        .database
        .reconfigure(&format!("ssl_crl_file = '{}'", list.display()));
    scene.refuses(&server, "evoked");
    for kind in ["pem", "key"] {
        scene.put("first", kind);
    }
    scene.takes(&server, "true /CN=first");
    for kind in ["pem", "key"] {
        scene.put("third", kind);
    }
    scene.refuses(&server, "xpired");
    for kind in ["pem", "key"] {
        scene.put("first", kind);
    }
    scene.takes(&server, "true /CN=first");
    assert_eq!(server.get("/health/ready").0, 200);
    assert!(server.stop().success());
}

/// A password that is changed in the database, and then in its file.
fn passwords_are_replaced(scene: &Scene) {
    let rules = "local all all trust\nhostssl all keeper 127.0.0.0/8 scram-sha-256\n";
    scene
        .database
        .sql("CREATE ROLE keeper SUPERUSER LOGIN PASSWORD 'old word'");
    scene.database.rules(rules, "");
    let file = scene.mine.path().join("password");
    std::fs::write(&file, "old word\n").expect("password");
    let Postgres { port, name, .. } = &scene.database;
    let mut setup = capturing(&format!(
        "postgresql://keeper@localhost:{port}/{name}?sslmode=require"
    ));
    setup.config += &format!("[storage]\npassword_file = \"{}\"\n", file.display());
    let mut server = setup.start();
    scene.takes(&server, "true -");
    scene.database.sql("ALTER ROLE keeper PASSWORD 'new word'");
    scene.refuses(&server, "password authentication failed");
    std::fs::write(&file, "new word").expect("password");
    scene.takes(&server, "true -");
    assert!(server.stop().success());
}

#[test]
fn the_way_to_the_database_is_as_safe_as_asked_and_goes_by_what_is_replaced() {
    let scene = Scene::new();
    is_as_secure_as_asked(&scene);
    certificates_are_replaced(&scene);
    passwords_are_replaced(&scene);
    let all = "SELECT count(*) FROM messages";
    wait_for("all to be delivered", || scene.database.sql(all) == "0");
}
