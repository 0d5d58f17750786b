//! What is refused, and how it is said.

use super::{Case, PRODUCTION};
use crate::*;

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
    for file in ["[redis]\n", "[cluster]\n"] {
        assert!(
            Case::new(file)
                .error()
                .ends_with("this version does not support it yet"),
            "{file}"
        );
    }
    for name in ["SMTP_REDIS_URL", "SMTP_REDIS_URL_FILE"] {
        assert!(
            Case::new("")
                .env(name, "x")
                .error()
                .contains("does not support it yet"),
            "{name}"
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
fn warnings_survive_errors() {
    let case = Case::new("[server]\nport = \"x\"\n").env("SMTP_PORT", "tcp://10.0.0.1:25");
    let errors = Config::load(&case.sources).unwrap_err();
    assert_eq!((errors.errors.len(), errors.warnings.len()), (1, 1), "{errors:?}");
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
fn proxies_are_named_and_are_not_everybody() {
    assert_eq!(
        Case::new("[server]\nproxy_protocol = \"v2\"\n").errors(),
        [
            "server.proxy_networks: proxy_protocol = \"v2\" needs it: name the addresses of the proxies that connections come from, such as 192.0.2.10/32"
        ],
        "said once, although three listeners have it"
    );
    assert!(
        Case::new("[submission]\nproxy_protocol = \"v2\"\n")
            .error()
            .starts_with("submission.proxy_networks: proxy_protocol = \"v2\" needs it")
    );
    for networks in ["0.0.0.0/0", "192.0.2.1,::/0", "0.0.0.0/1,128.0.0.0/1"] {
        for section in ["SERVER", "SMTPS", "SUBMISSION"] {
            let error = Case::new("")
                .env(&format!("SMTP_{section}__PROXY_NETWORKS"), networks)
                .error();
            assert!(error.contains("pass for any client"), "{error}");
        }
    }
    let error = Case::new("[server]\nproxy_protocol = \"v1\"\n").error();
    assert!(
        error.ends_with("expected one of off, v2, found \"v1\""),
        "{error}"
    );
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
        ("webhook:https://h/", "yet"),
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
    assert_eq!(errors.len(), 4, "{errors:#?}");
    assert!(errors[0].starts_with("server.hostname: production needs it"));
    assert!(errors[1].starts_with("admin.password: production needs one of at least 12"));
    assert!(errors[2].contains("delivery.capture: production cannot capture"));
    assert!(errors[3].contains("tls.cert_file: production needs a certificate"));
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
