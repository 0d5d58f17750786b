//! The admin password changes while the server runs.

use blackbox::mounted::Mounted;
use blackbox::server::{PASSWORD, Server, Setup, http};
use blackbox::wait_for;
use serde_json::Value;
use std::process::{Child, Command, Stdio};

const NEW: &str = "a password that is another";

fn bearer(server: &Server, secret: &str) -> u16 {
    server.ask(Some(secret), "GET", "/api/v1/status", "").0
}

/// Logs in at the console; the cookie.
fn session(server: &Server, password: &str) -> Option<String> {
    let output = Command::new("/usr/bin/curl")
        .args(["-s", "-m", "20", "-D", "-", "-o", "/dev/null", "--data-urlencode"])
        .arg(format!("password={password}"))
        .arg(format!("http://{}/ui/login", server.http))
        .output()
        .expect("curl");
    let head = String::from_utf8(output.stdout).expect("UTF-8");
    let line = head.lines().find_map(|line| line.strip_prefix("set-cookie: "))?;
    Some(line.split(';').next().expect("a cookie").to_owned())
}

fn is_inside(server: &Server, cookie: &str) -> bool {
    let head = format!("Host: t\r\nConnection: close\r\nCookie: {cookie}");
    http(
        server.http,
        &format!("GET /ui/sessions HTTP/1.1\r\n{head}\r\n\r\n"),
    )
    .0 == 200
}

/// A page's news, which come as long as the session lasts; curl fails when that is longer than a minute.
fn news(server: &Server, cookie: &str) -> Child {
    Command::new("/usr/bin/curl")
        .args(["-s", "-N", "-m", "60", "-w", "%{http_code}"])
        .args(["-H", &format!("Cookie: {cookie}")])
        .arg(format!("http://{}/ui/live", server.http))
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl")
}

#[test]
fn a_secret_that_is_swapped_is_the_password_from_then_on() {
    let mut secret = Mounted::new("admin", PASSWORD);
    let server = Setup::new("")
        .without("SMTP_ADMIN_PASSWORD")
        .env("SMTP_ADMIN_PASSWORD_FILE", secret.path().display().to_string())
        .start();
    let made = server.json(&["token", "add", "ci", "--scope", "read"]);
    let token = made[0]["token"].as_str().expect("a token").to_owned();
    let before = session(&server, PASSWORD).expect("a session");
    assert!(is_inside(&server, &before));
    let news = news(&server, &before);
    assert_eq!((bearer(&server, PASSWORD), bearer(&server, NEW)), (200, 401));
    secret.swap(NEW);
    let line = server.wait_event("config_reloaded", |_| true);
    assert_eq!(line["changed"].to_string(), "[\"admin.password\"]", "{line}");
    assert_eq!(line["needs_restart"].to_string(), "[]", "{line}");
    assert_eq!((bearer(&server, PASSWORD), bearer(&server, NEW)), (401, 200));
    assert!(!is_inside(&server, &before), "what the old one opened is closed");
    let news = news.wait_with_output().expect("curl");
    assert!(news.status.success(), "news go on for it: {:?}", news.status);
    assert!(news.stdout.ends_with(b"200"), "it was inside");
    assert_eq!(session(&server, PASSWORD), None);
    let after = session(&server, NEW).expect("a session");
    assert!(is_inside(&server, &after));
    assert_eq!(bearer(&server, &token), 200, "a token goes on");
    let line = server.wait_event("admin_password_changed", |_| true);
    assert_eq!(line["by"], "configuration", "{line}");
    let mut trail = String::new();
    wait_for("the audit trail", || {
        trail = server.ask(Some(NEW), "GET", "/api/v1/audit", "").1;
        trail.contains("admin.password")
    });
    let trail: Value = serde_json::from_str(&trail).expect("JSON");
    assert!(trail.to_string().contains("\"who\":\"configuration\""), "{trail}");
    for secret in [PASSWORD, NEW] {
        assert!(
            !trail.to_string().contains(secret)
                && !server.log().iter().any(|line| line.to_string().contains(secret))
        );
    }
    // Another reload leaves sessions alone.
    secret.swap(NEW);
    std::thread::sleep(std::time::Duration::from_secs(7));
    assert!(is_inside(&server, &after));
    assert_eq!(server.events("admin_password_changed").len(), 1);
}

#[test]
fn a_password_that_is_taken_away_opens_nothing() {
    let mut server = Setup::new(format!("[admin]\npassword = \"{PASSWORD}\"\n"))
        .without("SMTP_ADMIN_PASSWORD")
        .start();
    assert_eq!(bearer(&server, PASSWORD), 200);
    server.write_config("");
    let line = server.wait_event("admin_password_changed", |_| true);
    assert_eq!(line["by"], "server", "{line}");
    assert_eq!(bearer(&server, PASSWORD), 401);
    // The one that was made instead is said as at the start.
    let said = || std::fs::read_to_string(server.folder().join("stderr")).unwrap_or_default();
    wait_for("the password", || said().contains("admin password: "));
    let said = said();
    let made = said.split("admin password: ").nth(1).expect("a password").trim();
    assert_eq!(bearer(&server, made), 200);
}
