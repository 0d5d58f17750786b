//! What is asked of the database's certificate, case by case, and connections from the variables of libpq alone: tried with `migrate`, which connects as
//! servers do.

use super::Scene;
use blackbox::server::binary;
use blackbox::tools::certificates;
use std::path::Path;
use std::process::Command;

/// The certificate is for this address, and for `localhost`; the database is at the other one too.
const NAMED: &str = "127.0.0.1";
const UNNAMED: &str = "127.0.0.2";

/// Asserts how a connection ends: with this code, and with a word of why.
fn ends(variables: &[(&str, &str)], (code, word): (i32, &str)) {
    let mut migrate = Command::new(binary());
    migrate.args(["migrate", "--dry-run"]).env_clear();
    // Nobody is waited for who is not there.
    migrate.env("SMTP_STORAGE__WAIT", "0");
    let output = migrate.envs(variables.iter().copied()).output().expect("migrate");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(code) && text.contains(word),
        "{variables:?}: {code} {word}, and it is {output:?}"
    );
}

fn roots(folder: &Path) -> String {
    folder.join("ca.pem").display().to_string()
}

/// Which certificate will do, and what is no question that has an answer.
pub(super) fn certificates_are_looked_at(scene: &Scene) {
    let others = tempfile::tempdir().expect("a folder");
    certificates(others.path());
    let [own, foreign] =
        [scene.authority.path(), others.path()].map(|folder| format!("&sslrootcert={}", roots(folder)));
    // The other authority has the same name.
    let (works, forged, issuer, name) = (
        (0, ""),
        (75, "BadSignature"),
        (75, "UnknownIssuer"),
        (75, "not valid for name"),
    );
    let (weak, file) = ((78, "has to be verify-full"), (78, "needs sslrootcert"));
    for (host, query, end) in [
        // Any will do.
        (UNNAMED, "sslmode=require", works),
        (UNNAMED, &*format!("sslmode=prefer{foreign}"), works),
        (UNNAMED, &format!("application_name=x{foreign}"), works),
        // Who signed it, whatever its name.
        (UNNAMED, &format!("sslmode=require{own}"), works),
        (NAMED, &format!("sslmode=require{foreign}"), forged),
        (UNNAMED, &format!("sslmode=verify-ca{own}"), works),
        (NAMED, &format!("sslmode=verify-ca{foreign}"), forged),
        // Its name too.
        (NAMED, &format!("sslmode=verify-full{own}"), works),
        ("localhost", &format!("sslmode=verify-full{own}"), works),
        (UNNAMED, &format!("sslmode=verify-full{own}"), name),
        (NAMED, &format!("sslmode=verify-full{foreign}"), forged),
        // The built-in authorities did not sign it.
        (NAMED, "sslmode=verify-full", issuer),
        (NAMED, "sslmode=verify-full&sslrootcert=system", issuer),
        (NAMED, "sslrootcert=system", issuer),
        // They sign for everybody.
        (NAMED, "sslmode=disable&sslrootcert=system", weak),
        (NAMED, "sslmode=prefer&sslrootcert=system", weak),
        (NAMED, "sslmode=require&sslrootcert=system", weak),
        (NAMED, "sslmode=verify-ca&sslrootcert=system", weak),
        (NAMED, "sslmode=verify-ca", file),
    ] {
        let url = scene.url(host, &format!("?{query}"));
        ends(&[("SMTP_DATABASE_URL", &url)], end);
    }
}

/// The variables of libpq say all but that it is PostgreSQL; empty they say nothing. Leaves rules that let nobody else in.
pub(super) fn variables_are_enough(scene: &Scene) {
    let (port, own) = (scene.database.port.to_string(), roots(scene.authority.path()));
    scene
        .database
        .sql("CREATE ROLE reader SUPERUSER LOGIN PASSWORD 'a word'");
    scene
        .database
        .sql("ALTER ROLE reader SET default_transaction_read_only = on");
    let enough = [
        ("SMTP_DATABASE_URL", "postgresql://"),
        ("PGHOST", NAMED),
        ("PGPORT", &port),
        ("PGUSER", "postgres"),
        ("PGDATABASE", &scene.database.name),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", &own),
    ];
    ends(&enough, (0, ""));
    // SQLite needs no migration.
    ends(&enough[1..], (64, "storage.url is not set"));
    for (name, value, end) in [
        ("PGHOST", UNNAMED, (75, "not valid for name")),
        ("PGHOST", "", (0, "")),
        ("PGPORT", "none", (78, "PGPORT: none is no port")),
        ("PGUSER", "", (78, "none in PGUSER")),
        ("PGUSER", "nobody", (75, "\"nobody\" does not exist")),
        ("PGDATABASE", "nowhere", (75, "\"nowhere\" does not exist")),
        // That of the user's name.
        ("PGDATABASE", "", (0, "")),
        ("PGSSLMODE", "perhaps", (78, "perhaps is none of")),
        ("PGSSLMODE", "", (0, "")),
        ("PGSSLMODE", "require", (0, "")),
        ("PGSSLROOTCERT", "", (75, "UnknownIssuer")),
        ("PGSSLROOTCERT", "system", (75, "UnknownIssuer")),
        ("PGSSLCERT", &own, (78, "sslkey")),
        ("PGSSLCERT", "", (0, "")),
        ("PGSSLKEY", "", (0, "")),
        ("PGPASSWORD", "", (0, "")),
        ("PGTARGETSESSIONATTRS", "", (0, "")),
        ("PGTARGETSESSIONATTRS", "read-write", (0, "")),
        ("PGTARGETSESSIONATTRS", "standby", (78, "read-write")),
    ] {
        let others = enough.iter().filter(|(known, _)| *known != name);
        let variables: Vec<_> = others.copied().chain([(name, value)]).collect();
        ends(&variables, end);
    }
    let mut reads = enough;
    reads[3].1 = "reader";
    let asked = ("PGTARGETSESSIONATTRS", "read-write");
    ends(&[&reads[..], &[asked]].concat(), (75, "does not allow writes"));
    // Nobody asks: one that only reads will do, where nothing is to be changed.
    ends(&reads, (0, ""));
    let rules = "local all all trust\nhostssl all reader 127.0.0.0/8 scram-sha-256\n";
    scene.database.rules(rules, "");
    for (word, end) in [
        ("a word", (0, "")),
        ("another", (75, "password authentication failed")),
    ] {
        ends(&[&reads[..], &[("PGPASSWORD", word)]].concat(), end);
    }
    ends(&reads, (75, "password"));
}
