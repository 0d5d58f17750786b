//! `check`, `config show`, and what the server refuses to start with.

use blackbox::server::{Setup, binary, refusal};
use blackbox::tools::{certificate, program, run};
use std::process::Command;

fn command(args: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(binary())
        .args(args)
        .env_clear()
        .envs(env.iter().copied())
        .current_dir(folder.path())
        .output()
        .expect("run");
    let text = |octets: Vec<u8>| String::from_utf8(octets).expect("UTF-8");
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().expect("file");
    std::fs::write(file.path(), text).expect("write");
    file
}

#[test]
fn check_names_file_key_and_reason_of_everything_wrong() {
    let config = file(
        "[server]\nport = 70000\nhostnam = \"x\"\n[limits]\nmax_recipients = \"many\"\n[nonsense]\na = 1\n",
    );
    let path = config.path().to_str().expect("path");
    let (code, out, err) = command(&["check", "--config", path], &[]);
    assert_eq!(code, 78);
    let said = format!("{out}{err}");
    for part in [
        path,
        "server.port",
        "server.hostnam",
        "hostname",
        "limits.max_recipients",
        "nonsense",
    ] {
        assert!(said.contains(part), "no {part} in: {said}");
    }
    let good = file("[server]\nhostname = \"mx.test\"\n");
    let (code, out, err) = command(&["check", "--config", good.path().to_str().expect("path")], &[]);
    assert_eq!(code, 0, "{out}{err}");
}

/// The ConfigMap, variables and Secret that guides for Kubernetes give a mail server's pod, with paths of here.
#[test]
fn a_guides_configuration_variables_and_secrets_make_a_server() {
    let folder = tempfile::tempdir().expect("a folder");
    certificate(folder.path(), &["mail.example.com"], 90);
    let mut openssl = program("/usr/bin/openssl");
    let key = run(openssl.args(["genrsa", "2048"])).stdout;
    let key = String::from_utf8(key).expect("PEM");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let config = file(&format!(
        "[server]\nhostname = \"mail.example.com\"\nbanner = \"ESMTP Server Ready\"\nmax_connections = 10000\nconnection_timeout = 300\n\
         [tls]\nenabled = true\ncert_file = \"{}\"\nkey_file = \"{}\"\nmin_version = \"1.2\"\n\
         [limits]\nmax_message_size = 26214400\nmax_recipients = 100\nmax_line_length = 998\n\
         [rate_limiting]\nenabled = true\nrequests_per_minute = 100\nburst_size = 20\n\
         [logging]\nlevel = \"info\"\nformat = \"json\"\n[metrics]\nenabled = true\nport = 8080\npath = \"/metrics\"\n",
        path("cert.pem"),
        path("key.pem")
    ));
    let database = path("smtp.db");
    let env = [
        ("SMTP_PROFILE", "production"),
        ("SMTP_PORT", "2525"),
        ("SMTP_HOST", "0.0.0.0"),
        ("SMTP_DB_PATH", &database),
        ("SMTP_LOG_LEVEL", "info"),
        ("SMTP_LOG_FORMAT", "json"),
        // `envFrom` a Secret.
        ("SMTP_ADMIN_PASSWORD", "a long enough password"),
        ("SMTP_DKIM_PRIVATE_KEY", &key),
        ("SMTP_DKIM__DOMAIN", "example.com"),
    ];
    let config = config.path().to_str().expect("path");
    let (code, out, err) = command(&["check", "--config", config], &env);
    assert_eq!(code, 0, "{out}{err}");
    // Each section is needed for what it says.
    for (key, value) in [
        ("tls.min_version", "1.2"),
        ("limits.max_recipients", "100"),
        ("server.host", "0.0.0.0"),
        ("storage.path", &database),
    ] {
        let (code, out, err) = command(&["config", "show", "--config", config, "--output", "json"], &env);
        assert_eq!(code, 0, "{err}");
        let line = out.lines().find(|line| line.contains(&format!("\"{key}\"")));
        assert!(line.is_some_and(|line| line.contains(value)), "{key}: {line:?}");
    }
}

#[test]
fn later_sources_win_and_show_says_which_did() {
    let config = file("[limits]\nmax_recipients = 7\nmax_hops = 9\n");
    let path = config.path().to_str().expect("path");
    let secret = file("a long enough password\n");
    let env = [
        ("SMTP_LIMITS__MAX_HOPS", "11"),
        ("SMTP_PORT", "2526"),
        ("SMTP_ADMIN_PASSWORD_FILE", secret.path().to_str().expect("path")),
    ];
    let (code, out, err) = command(&["config", "show", "--config", path, "--output", "json"], &env);
    assert_eq!(code, 0, "{err}");
    let lines: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let value = |key: &str| {
        lines
            .iter()
            .find(|line| line["key"] == key)
            .unwrap_or_else(|| panic!("no {key} in {out}"))
    };
    assert_eq!(value("limits.max_recipients")["value"], 7);
    assert!(
        value("limits.max_recipients")["origin"]
            .as_str()
            .expect("origin")
            .contains(path),
        "{out}"
    );
    assert_eq!(value("limits.max_hops")["value"], 11);
    assert_eq!(value("limits.max_hops")["origin"], "env SMTP_LIMITS__MAX_HOPS");
    assert_eq!(value("server.port")["value"], 2526);
    assert_eq!(value("limits.max_line_length")["origin"], "default");
    assert!(!out.contains("a long enough password"), "secrets are masked");
}

#[test]
fn kubernetes_service_variables_are_ignored_with_a_warning() {
    let env = [
        ("SMTP_PORT", "tcp://10.0.0.1:25"),
        ("SMTP_SERVICE_HOST", "10.0.0.1"),
        ("SMTP_SERVICE_PORT_SMTP", "25"),
        ("SMTP_PORT_25_TCP_ADDR", "10.0.0.1"),
        ("SMTP_SERVER_PORT", "tcp://10.0.0.1:25"),
    ];
    let (code, out, err) = command(&["check"], &env);
    assert_eq!(code, 0, "{out}{err}");
    assert!(format!("{out}{err}").contains("SMTP_PORT"), "{out}{err}");
    let (code, out, err) = command(&["check"], &[("SMTP_LIMITS__MAX_RECIPIENT", "5")]);
    assert_eq!(code, 78, "{out}{err}");
    assert!(format!("{out}{err}").contains("SMTP_LIMITS__MAX_RECIPIENT"));
}

#[test]
fn production_refuses_to_start_without_what_it_needs() {
    let setup = Setup::new("")
        .without("SMTP_ADMIN_PASSWORD")
        .without("SMTP_HOSTNAME")
        .without("SMTP_PORT")
        .without("SMTP_HTTP_PORT")
        .env("SMTP_PROFILE", "production");
    let (code, text) = refusal(&setup);
    assert_eq!(code, 78, "{text}");
    for part in ["server.hostname", "SMTP_ADMIN_PASSWORD"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
}

#[test]
fn an_open_relay_cannot_be_configured() {
    for network in ["0.0.0.0/0", "::/0"] {
        let config = file(&format!("[relay]\nnetworks = [\"{network}\"]\n"));
        let (code, out, err) = command(&["check", "--config", config.path().to_str().expect("path")], &[]);
        assert_eq!(code, 78, "{network}: {out}{err}");
        assert!(format!("{out}{err}").contains("relay.networks"), "{out}{err}");
    }
}

#[test]
fn help_and_usage() {
    for args in [
        &["--help"][..],
        &["run", "--help"],
        &["check", "--help"],
        &["config", "show", "--help"],
        &["queue", "list", "--help"],
    ] {
        let (code, out, _) = command(args, &[]);
        assert_eq!(code, 0, "{args:?}");
        assert!(out.contains("Usage:"), "{out}");
    }
    assert_eq!(command(&["--nonsense"], &[]).0, 64);
    assert_eq!(command(&["queue"], &[]).0, 64);
    let (code, out, _) = command(&["--version"], &[]);
    assert_eq!(code, 0);
    assert!(out.starts_with("smtp-server "), "{out}");
}
