//! The admin password changes while the server runs.

use blackbox::server::{PASSWORD, Server, Setup, http};
use blackbox::wait_for;
use serde_json::Value;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const NEW: &str = "a password that is another";

fn ask(server: &Server, path: &str, header: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{header}\r\n\r\n");
    http(server.http, &request)
}

fn bearer(server: &Server, secret: &str) -> u16 {
    ask(
        server,
        "/api/v1/status",
        &format!("Authorization: Bearer {secret}"),
    )
    .0
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
    ask(server, "/ui/sessions", &format!("Cookie: {cookie}")).0 == 200
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

/// What the kubelet does: a new folder, and `..data` renamed over the old link.
fn swap(mount: &Path, version: &str, password: &str) {
    let folder = mount.join(version);
    std::fs::create_dir_all(&folder).expect("folder");
    std::fs::write(folder.join("admin"), password).expect("file");
    symlink(version, mount.join("..data_tmp")).expect("link");
    std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).expect("rename");
}

#[test]
fn a_secret_that_is_swapped_is_the_password_from_then_on() {
    let mount = tempfile::tempdir().expect("a folder");
    swap(mount.path(), "..2026_01", PASSWORD);
    symlink("..data/admin", mount.path().join("admin")).expect("link");
    let server = Setup::new("")
        .without("SMTP_ADMIN_PASSWORD")
        .env(
            "SMTP_ADMIN_PASSWORD_FILE",
            mount.path().join("admin").display().to_string(),
        )
        .start();
    let made = server.json(&["token", "add", "ci", "--scope", "read"]);
    let token = made[0]["token"].as_str().expect("a token").to_owned();
    let before = session(&server, PASSWORD).expect("a session");
    assert!(is_inside(&server, &before));
    let news = news(&server, &before);
    assert_eq!((bearer(&server, PASSWORD), bearer(&server, NEW)), (200, 401));
    swap(mount.path(), "..2026_02", NEW);
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
        trail = ask(&server, "/api/v1/audit", &format!("Authorization: Bearer {NEW}")).1;
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
    swap(mount.path(), "..2026_03", NEW);
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
