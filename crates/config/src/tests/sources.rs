//! Where values come from: file, variables, flags, and which of them wins.

use super::Case;
use crate::*;
use std::path::PathBuf;

#[test]
fn later_sources_win() {
    let case = Case::new("[limits]\nmax_recipients = 1\nmax_hops = 2\nmin_data_rate = 3\n")
        .env("SMTP_LIMITS__MAX_HOPS", "20")
        .env("SMTP_LIMITS__MIN_DATA_RATE", "30")
        .flag("limits.min_data_rate", "300");
    let loaded = case.load();
    let limits = &loaded.config.limits;
    assert_eq!(
        (limits.max_recipients, limits.max_hops, limits.min_data_rate),
        (1, 20, 300)
    );
    let path = case.sources.file.clone().unwrap();
    assert_eq!(loaded.origins["limits.max_recipients"], Origin::File(path, 2));
    assert_eq!(
        loaded.origins["limits.max_hops"].to_string(),
        "env SMTP_LIMITS__MAX_HOPS"
    );
    assert_eq!(loaded.origins["limits.min_data_rate"].to_string(), "flag --set");
    assert_eq!(loaded.origins["limits.max_line_length"], Origin::Default);
    assert_eq!(
        loaded.origins["delivery.capture"].to_string(),
        "profile development"
    );
}

#[test]
fn short_variables_set_their_keys() {
    let case = Case::new("")
        .env("SMTP_PROFILE", "testing")
        .env("SMTP_HOST", "0.0.0.0,::1")
        .env("SMTP_PORT", "26")
        .env("SMTP_DB_PATH", "/data/q.db")
        .env("SMTP_LOG_LEVEL", "warn")
        .env("SMTP_LOG_FORMAT", "json")
        .env("SMTP_ADMIN_PASSWORD", "secret")
        .env("SMTP_HOSTNAME", "mx.example.com")
        .env("SMTP_HTTP_PORT", "8081")
        .env("SMTP_URL", "http://elsewhere");
    let loaded = case.load();
    let config = &loaded.config;
    assert_eq!(
        (config.profile, config.server.port, config.http.port),
        (Profile::Testing, 26, 8081)
    );
    assert_eq!(config.metrics.port, 8081, "follows http.port");
    assert_eq!(config.http.host, config.server.host, "follows server.host");
    assert_eq!(
        (config.logging.level, config.logging.format),
        (LogLevel::Warn, Some(LogFormat::Json))
    );
    assert_eq!(config.storage.path, PathBuf::from("/data/q.db"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn a_variable_may_name_a_file() {
    let case = Case::new("");
    let secret = case.write("password", "from a file\n");
    let case = case.env("SMTP_ADMIN_PASSWORD_FILE", secret.to_str().unwrap());
    assert_eq!(case.load().config.admin.password.unwrap().expose(), "from a file");
    let case = case.env("SMTP_ADMIN_PASSWORD", "and directly");
    assert!(case.error().contains("keep one of them"));
    let missing = Case::new("").env("SMTP_PORT_FILE", "/nonexistent/port").error();
    assert!(
        missing.starts_with("SMTP_PORT_FILE: server.port: /nonexistent/port: No such file"),
        "{missing}"
    );
}

#[test]
fn a_key_that_ends_in_file_is_a_key() {
    let case = Case::new("");
    let pem = case.write("ca.pem", "-----BEGIN CERTIFICATE-----\n");
    let loaded = case.env("SMTP_DELIVERY__CA_FILE", pem.to_str().unwrap()).load();
    assert_eq!(loaded.config.delivery.ca_file, Some(pem));
}

#[test]
fn kubernetes_service_variables_are_ignored() {
    let mut case = Case::new("");
    for (name, value) in [
        ("SMTP_PORT", "tcp://10.0.0.1:25"),
        ("SMTP_SERVICE_HOST", "10.0.0.1"),
        ("SMTP_SERVICE_PORT", "25"),
        ("SMTP_SERVER_SERVICE_PORT_HTTP", "8080"),
        ("SMTP_SERVER_PORT", "tcp://10.0.0.1:25"),
        ("SMTP_PORT_25_TCP", "tcp://10.0.0.1:25"),
        ("SMTP_PORT_25_TCP_PROTO", "tcp"),
        ("SMTP_PORT_25_TCP_PORT", "25"),
        ("SMTP_PORT_25_TCP_ADDR", "10.0.0.1"),
    ] {
        case = case.env(name, value);
    }
    let loaded = case.load();
    assert_eq!(loaded.config.server.port, 2525);
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].contains("enableServiceLinks"));
    assert_eq!(loaded.warnings[0].matches("SMTP_").count(), 9);
}

#[test]
fn a_named_file_must_exist_and_the_default_one_need_not() {
    let mut sources = Sources {
        default_file: Some("/nonexistent/c.toml".into()),
        ..Sources::default()
    };
    assert_eq!(Config::load(&sources).unwrap().file, None);
    sources
        .environment
        .insert("SMTP_CONFIG".into(), "/nonexistent/d.toml".into());
    let errors = Config::load(&sources).unwrap_err().to_string();
    assert!(
        errors.starts_with("/nonexistent/d.toml: cannot be read: "),
        "{errors}"
    );
}

#[test]
fn where_health_is_is_known_whatever_is_wrong_with_the_rest() {
    let wrong = "[http]\nport = 1234\n[relay]\nnetworks = [\"nonsense\"]\n[nonsense]\nx = 1\n";
    let (http, errors) = Config::http(&Case::new(wrong).sources);
    assert_eq!((http.port, errors.errors.len()), (1234, 2), "{errors}");
    let (http, errors) = Config::http(&Case::new("no TOML").env("SMTP_HTTP_PORT", "1235").sources);
    assert_eq!((http.port, errors.errors.len()), (1235, 1), "{errors}");
    let case = Case::new("[server]\nhost = [\"192.0.2.1\"]\n").flag("http.port", "1236");
    let (http, errors) = Config::http(&case.sources);
    assert_eq!((http.port, errors.errors.len()), (1236, 0), "{errors}");
    assert_eq!(
        http.host,
        ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()],
        "it follows"
    );
    // Neither secrets nor what only `run` wants is asked for.
    let case = Case::new("").env("SMTP_PROFILE", "production");
    let (http, errors) = Config::http(&case.sources);
    assert!(http.host.iter().all(std::net::IpAddr::is_unspecified), "{http:?}");
    assert!(errors.errors.is_empty(), "{errors}");
}
