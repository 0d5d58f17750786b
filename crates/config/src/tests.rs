//! Tests of loading, checking and showing.

use crate::*;
use proptest::prelude::*;
use std::path::PathBuf;
use std::time::Duration;

/// Sources from a file's text, variables and flags.
struct Case {
    folder: tempfile::TempDir,
    sources: Sources,
}

impl Case {
    fn new(file: &str) -> Case {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, file).unwrap();
        Case {
            folder,
            sources: Sources {
                file: Some(path),
                ..Sources::default()
            },
        }
    }
    fn env(mut self, name: &str, value: &str) -> Case {
        self.sources.environment.insert(name.into(), value.into());
        self
    }
    fn flag(mut self, key: &str, value: &str) -> Case {
        let flag = Flag {
            name: "--set".into(),
            key: key.into(),
            value: value.into(),
        };
        self.sources.flags.push(flag);
        self
    }
    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
    fn load(&self) -> Loaded {
        Config::load(&self.sources).unwrap_or_else(|errors| panic!("{errors}"))
    }
    /// The errors, without the folder of the file.
    fn errors(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        let errors = Config::load(&self.sources).expect_err("it should be refused");
        errors
            .errors
            .iter()
            .map(|error| error.to_string().replace(&folder, ""))
            .collect()
    }
    fn error(&self) -> String {
        let errors = self.errors();
        assert_eq!(errors.len(), 1, "{errors:#?}");
        errors.into_iter().next().unwrap()
    }
}

const PRODUCTION: &str = "profile = \"production\"\nserver.hostname = \"mx.example.com\"\n\
                          admin.password = \"long enough for it\"\n";

#[test]
fn defaults_are_those_of_the_contract() {
    let config = Config::defaults(Profile::Development);
    assert_eq!(
        (config.server.port, config.http.port, config.metrics.port),
        (2525, 8080, 8080)
    );
    assert_eq!(config.limits.max_message_size, 26_214_400);
    assert_eq!(
        (config.limits.max_recipients, config.limits.max_line_length),
        (100, 998)
    );
    assert_eq!(
        (
            config.rate_limiting.requests_per_minute,
            config.rate_limiting.burst_size
        ),
        (100, 20)
    );
    assert_eq!(config.delivery.expire_after, Duration::from_secs(432_000));
    assert!(config.delivery.capture && !Config::defaults(Profile::Testing).delivery.capture);
    assert_eq!(config.storage.path, PathBuf::from("./data/smtp.db"));
    assert_eq!(
        Config::defaults(Profile::Production).server.host,
        ["::".parse::<std::net::IpAddr>().unwrap()]
    );
}

#[test]
fn every_default_is_valid() {
    for profile in ["development", "testing"] {
        Case::new("").flag("profile", profile).load();
    }
}

#[test]
fn defaults_can_be_had_without_what_production_needs() {
    let case = Case::new("profile = \"production\"\n[server]\nport = 26\n");
    let loaded = Loaded::defaults(&case.sources).unwrap();
    assert_eq!(loaded.config, Config::defaults(Profile::Production));
    assert_eq!(
        loaded.origins["server.host"],
        Origin::Profile(Profile::Production)
    );
}

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
fn every_kind_of_value_is_read_from_the_file() {
    let case = Case::new(
        r#"
[server]
host = ["0.0.0.0", "::1"]
[rate_limiting]
exempt = ["10.1.2.3/8", "192.0.2.7"]
[relay]
networks = ["10.42.0.0/16"]
smarthost = "smtp://[2001:db8::1]:587"
[delivery]
retry_initial = 60
tls = "required"
[dns]
servers = ["10.0.0.10:53", "10.0.0.11", "[::1]:5353"]
[[routes]]
match = "*.Internal.Example"
to = "smtp://10.42.0.9"
tls = "verified"
[[routes]]
match = "*"
to = "smtp://hub.example:2525"
[[domains]]
name = "Example.com"
deliver = "maildir:/data/mail/{domain}/{local}"
[[domains]]
name = "other.example"
deliver = "smtp:10.0.0.1:2525"
recipients = "any"
"#,
    );
    let config = case.load().config;
    assert_eq!(config.server.host.len(), 2);
    assert_eq!(config.rate_limiting.exempt[0].to_string(), "10.0.0.0/8");
    assert_eq!(config.rate_limiting.exempt[1].to_string(), "192.0.2.7/32");
    assert_eq!(
        config.relay.smarthost,
        Some(NextHop {
            host: "2001:db8::1".into(),
            port: 587
        })
    );
    assert_eq!(config.relay.tls, TlsPolicy::Required, "follows delivery.tls");
    assert_eq!(config.delivery.retry_initial, Duration::from_secs(60));
    assert_eq!(config.dns.servers[1].port(), 53);
    assert_eq!(config.routes[0].pattern, "*.internal.example");
    assert_eq!(
        config.routes[0].to,
        NextHop {
            host: "10.42.0.9".into(),
            port: 25
        }
    );
    assert_eq!(
        (config.routes[0].tls, config.routes[1].tls),
        (TlsPolicy::Verified, TlsPolicy::Required)
    );
    assert_eq!(config.domains[0].name, "example.com");
    assert_eq!(
        config.domains[0].deliver,
        LocalDelivery::Maildir("/data/mail/{domain}/{local}".into())
    );
    assert_eq!(config.domains[1].deliver.to_string(), "smtp:10.0.0.1:2525");
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
fn unknown_names_are_refused_with_a_hint() {
    assert_eq!(
        Case::new("\n[server]\nprot = 25\n").error(),
        "config.toml:3: server.prot: there is no such setting; did you mean server.port?"
    );
    assert_eq!(
        Case::new("").env("SMTP_LIMITS__MAX_RECIPIENT", "5").error(),
        "SMTP_LIMITS__MAX_RECIPIENT: there is no such setting; did you mean SMTP_LIMITS__MAX_RECIPIENTS?"
    );
    assert!(Case::new("[sever]\n").error().ends_with("did you mean server?"));
    assert!(
        Case::new("server = 3\n")
            .error()
            .ends_with("write [server] above its settings")
    );
    assert!(
        Case::new("[[domains]]\nname=\"a.example\"\ndeliver=\"capture\"\nnmae=1\n")
            .error()
            .ends_with("did you mean name?")
    );
    assert!(
        Case::new("")
            .flag("nonsense", "1")
            .error()
            .starts_with("--set: nonsense: there is no such setting")
    );
    let loaded = Case::new("").env("SMTP_PROT", "25").load();
    assert_eq!(
        loaded.warnings,
        ["ignored SMTP_PROT: there is no such variable; did you mean SMTP_PORT?"]
    );
}

#[test]
fn what_comes_later_is_refused_now() {
    for file in [
        "[tls]\nenabled = true\n",
        "[storage]\nurl = \"postgresql://x\"\n",
        "[[accounts]]\nname = \"a\"\n",
        "[cluster]\n",
    ] {
        assert!(
            Case::new(file)
                .error()
                .ends_with("this version does not support it yet"),
            "{file}"
        );
    }
    for name in [
        "SMTP_DATABASE_URL",
        "SMTP_DKIM_PRIVATE_KEY",
        "SMTP_SMTPS_PORT",
        "SMTP_TLS__CERT_FILE",
        "SMTP_REDIS_URL_FILE",
    ] {
        assert!(
            Case::new("")
                .env(name, "x")
                .error()
                .contains("does not support it yet"),
            "{name}"
        );
    }
    for (smarthost, word) in [
        ("smtp://user:hunter2@h:25", "password"),
        ("smtps://h:465", "smtps"),
        ("lmtp://h:24", "lmtp"),
    ] {
        let error = Case::new(&format!("[relay]\nsmarthost = \"{smarthost}\"\n")).error();
        assert!(
            error.contains("yet") && error.contains(word) && !error.contains("hunter2"),
            "{error}"
        );
    }
}

#[test]
fn all_errors_are_reported_together() {
    let errors = Case::new("[server]\nport = \"x\"\nmax_connections = 0\n[limits]\nmax_hop = 1\n")
        .env("SMTP_LOG_LEVEL", "loud")
        .flag("delivery.retry_max", "1")
        .errors();
    assert_eq!(
        errors,
        [
            "config.toml:2: server.port: expected an integer from 0 to 65535, found \"x\"",
            "config.toml:5: limits.max_hop: there is no such setting; did you mean limits.max_hops?",
            "SMTP_LOG_LEVEL: logging.level: expected one of debug, info, warn, error, found \"loud\"",
            "config.toml:3: server.max_connections: it must be from 1 to 1000000",
            "--set: delivery.retry_max: it must not be less than delivery.retry_initial",
        ]
    );
}

#[test]
fn wrong_syntax_is_reported_with_its_line() {
    let errors = Case::new("[server]\nport = = 3\n").errors();
    assert!(errors[0].starts_with("config.toml:2: "), "{errors:?}");
}

#[test]
fn an_open_relay_is_refused() {
    for networks in ["0.0.0.0/0", "::/0", "0.0.0.0/1,128.0.0.0/1", "::ffff:0:0/96"] {
        assert!(
            Case::new("")
                .env("SMTP_RELAY__NETWORKS", networks)
                .error()
                .contains("open relay"),
            "{networks}"
        );
    }
    Case::new("")
        .env("SMTP_RELAY__NETWORKS", "10.0.0.0/8,fd00::/8")
        .load();
}

#[test]
fn values_that_cannot_work_are_refused() {
    for (key, value) in [
        ("server.hostname", "under_score.example"),
        ("server.banner", "line\nbreak"),
        ("server.host", ""),
        ("server.host", "localhost"),
        ("http.port", "2525"),
        ("metrics.path", "/health/live"),
        ("metrics.path", "metrics"),
        ("relay.networks", "10.0.0.0/33"),
        ("delivery.subaddress_separator", "++"),
        ("delivery.double_bounce_to", "nobody"),
        ("limits.max_message_size", "-1"),
        ("rate_limiting.enabled", "yes"),
        ("storage.path", ""),
    ] {
        let error = Case::new("").flag(key, value).error();
        assert!(error.starts_with(&format!("--set: {key}: ")), "{error}");
    }
    for (deliver, word) in [
        ("maildir:relative/{local}", "absolute"),
        ("maildir:/m/{user}", "braces"),
        ("maildir:/m/../{local}", ".."),
        ("lmtp:h:24", "yet"),
        ("smtp:h:0", "port"),
        ("nowhere", "expected"),
    ] {
        let error = Case::new(&format!(
            "[[domains]]\nname = \"a.example\"\ndeliver = \"{deliver}\"\n"
        ))
        .error();
        assert!(error.contains(word), "{error}");
    }
    let twice = "[[domains]]\nname = \"a.example\"\ndeliver = \"capture\"\n".repeat(2);
    assert!(Case::new(&twice).error().contains("domains[1].name"));
}

#[test]
fn production_says_everything_it_misses() {
    let errors = Case::new("profile = \"production\"\n[delivery]\ncapture = true\n").errors();
    assert_eq!(errors.len(), 3, "{errors:#?}");
    assert!(errors[0].starts_with("server.hostname: production needs it"));
    assert!(errors[1].starts_with("admin.password: production needs one of at least 12"));
    assert!(errors[2].contains("delivery.capture: production cannot capture"));
    assert_eq!(Case::new(PRODUCTION).load().config.profile, Profile::Production);
    let unqualified = Case::new(&PRODUCTION.replace("mx.example.com", "mx")).error();
    assert!(unqualified.contains("fully qualified"), "{unqualified}");
    assert!(
        Case::new(&PRODUCTION.replace("long enough for it", "short"))
            .error()
            .contains("at least 12")
    );
}

#[test]
fn named_files_are_looked_at() {
    let mut case = Case::new("");
    let pem = case.write("ca.pem", "no certificate");
    case = case
        .env("SMTP_DELIVERY__CA_FILE", pem.to_str().unwrap())
        .env("SMTP_DB_PATH", "/dev/null/q.db");
    case.load();
    case.sources.resolve_files = true;
    let errors = case.errors();
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(errors[0].contains("no PEM certificate") && errors[1].contains("SMTP_DB_PATH: storage.path"));
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
fn a_reload_keeps_what_needs_a_restart() {
    let old = Config::defaults(Profile::Testing);
    let mut new = old.clone();
    new.server.port = 26;
    new.limits.max_hops = 7;
    new.admin.password = Some(Secret::new("other"));
    let difference = old.diff(&new);
    assert_eq!(difference.changed, ["limits.max_hops"]);
    assert_eq!(difference.needs_restart, ["server.port", "admin.password"]);
    let live = new.live_part(&old);
    assert_eq!((live.server.port, live.limits.max_hops), (2525, 7));
    assert_eq!(old.diff(&live).needs_restart, Vec::<String>::new());
}

#[test]
fn secrets_are_masked_everywhere() {
    let loaded = Case::new("").env("SMTP_ADMIN_PASSWORD", "hunter2hunter2").load();
    for text in [show_table(&loaded), show_json(&loaded), format!("{loaded:?}")] {
        assert!(!text.contains("hunter2") && text.contains("***"), "{text}");
    }
}

#[test]
fn what_is_shown_is_valid_in_a_file() {
    let file = "[[domains]]\nname = \"a.example\"\ndeliver = \"capture\"\n[relay]\nsmarthost = \"smtp://h.example:26\"\n";
    let loaded = Case::new(file).load();
    let mut again = String::new();
    let mut lists = String::new();
    for line in show_json(&loaded).lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let (key, value) = (row["key"].as_str().unwrap(), &row["value"]);
        match value.as_array() {
            Some(items) if LISTS.iter().any(|list| list.name == key) => {
                for item in items {
                    lists += &format!("[[{key}]]\n");
                    for (name, value) in item.as_object().unwrap() {
                        lists += &format!("{name} = {value}\n");
                    }
                }
            }
            _ if value.is_null() => {}
            _ => again += &format!("{key} = {value}\n"),
        }
    }
    assert_eq!(Case::new(&(again + &lists)).load().config, loaded.config);
}

#[test]
fn the_reference_and_the_schema_know_every_setting() {
    let (page, schema) = (reference_markdown(), json_schema());
    for setting in SETTINGS {
        assert!(
            page.contains(&format!("| `{}` |", setting.key())),
            "{}",
            setting.name
        );
        let entry = &schema["properties"][setting.section]["properties"][setting.key()];
        assert!(
            entry["description"].as_str().is_some_and(|text| text.len() > 10),
            "{}",
            setting.name
        );
    }
    assert!(!page.contains("***"));
}

#[test]
fn the_printed_reference_is_current() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/reference/configuration.md"
    );
    let printed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        printed == reference_markdown(),
        "docs/reference/configuration.md is old: write it again with `smtp-server config reference`"
    );
}

fn toml_soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z_.\\[\\]=\"{}#0-9 \n-]{0,40}",
        Just("[server]\nport = 0xFFFFFFFFFFFFFFFF\n".to_owned()),
        Just("[[domains]]\n".to_owned()),
        Just("domains = [1, {name = 2}]\n".to_owned()),
        Just("routes = 5\n".to_owned()),
        Just("relay.smarthost = \"smtp://[::1\"\n".to_owned()),
        ".{0,30}",
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in toml_soup(), name in "SMTP_[A-Z_0-9]{0,20}", value in ".{0,20}") {
        let case = Case::new(&text).env(&name, &value).flag(&name, &value);
        if let Err(errors) = Config::load(&case.sources) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn no_next_hop_makes_it_panic(text in "(smtp://)?[\\[\\]:0-9a-z.@/]{0,30}") {
        let _ = Config::load(&Case::new("").flag("relay.smarthost", &text).sources);
    }
}

#[test]
fn warnings_survive_errors() {
    let case = Case::new("[server]\nport = \"x\"\n").env("SMTP_PORT", "tcp://10.0.0.1:25");
    let errors = Config::load(&case.sources).unwrap_err();
    assert_eq!((errors.errors.len(), errors.warnings.len()), (1, 1), "{errors:?}");
}
