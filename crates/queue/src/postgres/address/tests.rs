//! URLs, variables, and what is wrong with them.

use super::*;
use std::path::Path;
use tokio_postgres::config::Host;

fn database(url: &str) -> Database {
    Database {
        url: url.into(),
        password_file: None,
        pool_size: 1,
        pooler: false,
    }
}

fn read(url: &str, variables: &[(&str, &str)]) -> Result<Reached, String> {
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Reached::read(&database(url), &variable)
}

#[test]
fn what_a_url_does_not_say_is_in_the_variables() {
    let variables = [
        ("PGHOST", "db.example"),
        ("PGUSER", "mail"),
        ("PGPASSWORD", "secret"),
        ("PGDATABASE", "queue"),
        ("PGPORT", "6432"),
        ("PGSSLMODE", "disable"),
        ("PGSSLROOTCERT", "/roots.pem"),
        ("PGSSLCERT", "/cert.pem"),
        ("PGSSLKEY", "/key.pem"),
        ("PGTARGETSESSIONATTRS", "primary"),
    ];
    let reached = read("postgresql://", &variables).unwrap();
    let config = &reached.config;
    assert_eq!(config.get_user(), Some("mail"));
    assert_eq!(config.get_password(), Some(&b"secret"[..]));
    assert_eq!(
        (config.get_dbname(), config.get_ports()),
        (Some("queue"), &[6432][..])
    );
    assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
    assert!(reached.tls().unwrap().is_none());
    let files = &reached.files;
    for (file, path) in [
        (&files.roots, "/roots.pem"),
        (&files.certificate, "/cert.pem"),
        (&files.key, "/key.pem"),
    ] {
        assert_eq!(file.as_deref(), Some(Path::new(path)));
    }
    let empty = ["PGPORT", "PGSSLMODE", "PGSSLROOTCERT", "PGTARGETSESSIONATTRS"].map(|name| (name, ""));
    let reached = read("postgresql://", &[&empty[..], &[("PGUSER", "mail")]].concat()).unwrap();
    assert_eq!(
        (reached.mode, reached.config.get_ports().len()),
        (SslMode::Prefer, 0)
    );
    let reached = read(
        "postgresql://ann:p%40ss@h1,h2:5433/x?sslmode=require&target_session_attrs=read-write",
        &variables,
    );
    let config = reached.unwrap().config;
    assert_eq!((config.get_user(), config.get_dbname()), (Some("ann"), Some("x")));
    assert_eq!(config.get_password(), Some(&b"p@ss"[..]));
    assert_eq!(config.get_hosts().len(), 2);
}

#[test]
fn a_standby_is_not_asked_for() {
    for wanted in ["standby", "read-only", "prefer-standby"] {
        let variables = [("PGUSER", "mail"), ("PGTARGETSESSIONATTRS", wanted)];
        let by_url = format!("postgresql://mail@db.example/x?target_session_attrs={wanted}");
        for reason in [
            read("postgresql://db.example/x", &variables).err(),
            read(&by_url, &[("PGTARGETSESSIONATTRS", "primary")]).err(),
        ] {
            let says = |reason: &String| reason.contains(wanted) && reason.contains("`read-write`");
            assert!(reason.as_ref().is_some_and(says), "{wanted}: {reason:?}");
        }
    }
    let url = "postgresql://mail@db.example/x?target_session_attrs=primary";
    let primary = read(url, &[("PGTARGETSESSIONATTRS", "any")]).unwrap().config;
    assert_eq!(primary.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
}

#[test]
fn built_in_authorities_vouch_for_names_only() {
    let mode = |query: &str, variables: &[(&str, &str)]| {
        let variables = [&[("PGUSER", "mail")], variables].concat();
        read(&format!("postgresql://db.example/x?{query}"), &variables).map(|reached| reached.mode)
    };
    for (query, expected) in [
        ("sslrootcert=system", SslMode::VerifyFull),
        ("sslrootcert=system&sslmode=verify-full", SslMode::VerifyFull),
        ("sslmode=verify-full", SslMode::VerifyFull),
        ("sslmode=verify-ca&sslrootcert=/ca.pem", SslMode::VerifyCa),
        ("sslmode=require", SslMode::Require),
        ("sslrootcert=/ca.pem", SslMode::Prefer),
    ] {
        assert_eq!(mode(query, &[]).unwrap(), expected, "{query}");
    }
    let system = [("PGSSLROOTCERT", "system")];
    assert_eq!(mode("", &system).unwrap(), SslMode::VerifyFull);
    for weak in ["disable", "prefer", "require", "verify-ca"] {
        let reason = mode(&format!("sslmode={weak}"), &system).unwrap_err();
        assert!(reason.contains("verify-full"), "{weak}: {reason}");
    }
    let reason = mode("sslmode=verify-ca", &[]).unwrap_err();
    assert!(reason.contains("needs sslrootcert"), "{reason}");
}

#[test]
fn what_divides_a_url_is_no_part_of_a_password() {
    for url in [
        "postgresql://ann:sec@ret@h/x",
        "postgresql://ann:sec@ret/word@h/x",
        "postgresql://ann:sec?ret@h/x?sslmode=require",
        "postgresql://ann:sec?ret@@h/x",
        "postgresql://h/x?user=ann&password=sec@ret",
    ] {
        let reason = read(url, &[]).err().unwrap_or_default();
        assert!(
            reason.contains("%40") && !reason.contains("ret"),
            "{url}: {reason}"
        );
        let shown = database(url).shown();
        assert!(!shown.contains("ret"), "{url}: {shown}");
    }
    let reason = read("postgresql://h/x?user=ann&password=sec&ret=1", &[]).err();
    assert!(
        reason
            .as_ref()
            .is_some_and(|reason| reason.contains("%26") && !reason.contains("ret")),
        "{reason:?}"
    );
    let config = |url| read(url, &[]).unwrap().config;
    for url in [
        "postgresql://ann:s%40e%3Fc%2Fret@h/x?application_name=a@b",
        "postgresql://h/x?user=ann&password=s%40e%3Fc%2Fret",
        "postgresql://ann:s%40e%3Fc/ret@h/x",
    ] {
        let read = config(url);
        assert_eq!(read.get_password(), Some(&b"s@e?c/ret"[..]), "{url}");
        assert_eq!(read.get_hosts(), [Host::Tcp("h".into())], "{url}");
    }
}

#[test]
fn what_is_asked_of_tls_is_heard_however_it_is_written() {
    for query in [
        "sslmode=require",
        "ssl%6Dode=require",
        "%73slmode=%72equire&user=ann",
    ] {
        let read = read(&format!("postgresql://ann@h/x?{query}"), &[]).unwrap();
        assert_eq!(
            read.config.get_ssl_mode(),
            tokio_postgres::config::SslMode::Require,
            "{query}"
        );
    }
}

#[test]
fn what_is_wrong_is_said_without_the_password() {
    for (url, reason) in [
        ("mysql://x", "postgresql://"),
        ("postgresql://ann:secret@h/x?sslmode=maybe", "sslmode"),
        ("postgresql://ann:secret@h:port/x", "port"),
        ("postgresql://h/x", "user"),
        ("postgresql://ann:secret@h/x?nonsense=1", "nonsense"),
        (
            "postgresql://ann@h/x?sslmode=verify-full&sslrootcert=%2Fnowhere%2Fca.pem",
            "/nowhere/ca.pem",
        ),
    ] {
        let error = read(url, &[])
            .and_then(|reached| reached.tls().map(drop))
            .unwrap_err();
        assert!(
            error.contains(reason) && !error.contains("secret"),
            "{url}: {error}"
        );
    }
}
