//! Admin API and console on a listener of their own: what is where, and how commands find it.

use blackbox::ports::free_port;
use blackbox::server::{PASSWORD, Server, Setup, binary, http, refusal};
use blackbox::tools::program;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};

/// What the API and the console answer to who has logged in, as against what health and metrics do.
const ADMIN: [&str; 5] = [
    "/api/v1/status",
    "/api/v1/openapi.json",
    "/",
    "/ui/login",
    "/ui/style.css",
];

struct Apart {
    server: Server,
    admin: SocketAddr,
}

impl Apart {
    /// A server whose configuration file says everything about its ports.
    fn start(host: &str, more: &str) -> Apart {
        let (http, admin) = (free_port().port(), free_port().port());
        let config =
            format!("[http]\nport = {http}\nadmin_port = {admin}\nadmin_host = [\"{host}\"]\n{more}");
        let server = Setup::new(config).without("SMTP_HTTP_PORT").start();
        let admin = SocketAddr::new(host.parse().expect("address"), admin);
        Apart { server, admin }
    }

    /// A command that has nothing but the configuration, as in a pod.
    fn command(&self, args: &[&str]) -> Output {
        Command::new("/usr/bin/timeout")
            .arg("30")
            .arg(binary())
            .args(args)
            .env_clear()
            .env("SMTP_CONFIG", self.server.folder().join("config.toml"))
            .env("SMTP_ADMIN_PASSWORD", PASSWORD)
            .output()
            .expect("run the command")
    }
}

/// `curl` with the admin password: status and body.
fn curl(address: SocketAddr, path: &str, more: &[&str]) -> (u16, String) {
    let mut curl = program("/usr/bin/curl");
    let user = format!("admin:{PASSWORD}");
    curl.args(["-s", "-w", "\n%{http_code}", "-u", &user]).args(more);
    let output = curl
        .arg(format!("http://{address}{path}"))
        .output()
        .expect("curl");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let (body, code) = text.rsplit_once('\n').expect("a code");
    (code.parse().expect("a code"), body.to_owned())
}

#[test]
fn every_path_is_on_one_port() {
    let Apart { server, admin } = Apart::start("127.0.0.1", "");
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(curl(server.http, path, &[]).0, 200, "{path}");
        assert_eq!(curl(admin, path, &[]).0, 200, "{path}");
    }
    assert_eq!(curl(server.http, "/metrics", &[]).0, 200);
    assert_eq!(curl(admin, "/metrics", &[]).0, 404);
    for path in ADMIN {
        let (code, body) = curl(server.http, path, &[]);
        let port = admin.port().to_string();
        assert!(
            code == 404 && body.contains("http.admin_port") && !body.contains(&port),
            "{path}: {code} {body}"
        );
        let here = curl(admin, path, &[]).0;
        let expected = if path == "/" { 303 } else { 200 };
        assert_eq!(here, expected, "{path}");
    }
    let json = ["-H", "Content-Type: application/json", "-d", "{}"];
    assert_eq!(curl(server.http, "/api/v1/reload", &json).0, 404);
    assert_eq!(server.events("config_reloaded").len(), 0);
    assert_eq!(curl(admin, "/api/v1/reload", &json).0, 200);
    let login = ["-d", &format!("password={PASSWORD}")];
    assert_eq!(curl(server.http, "/ui/login", &login).0, 404);
    assert_eq!(curl(admin, "/ui/login", &login).0, 303);
    assert_eq!(curl(server.http, "/elsewhere", &[]).0, 404);
    assert!(
        !curl(server.http, "/apis", &[]).1.contains("admin_port"),
        "another path is only not there"
    );
    let status: Value = serde_json::from_str(&curl(admin, "/api/v1/status", &[]).1).expect("JSON");
    let listeners = &status["listeners"];
    assert_eq!(
        (&listeners["admin"][0], &listeners["http"][0]),
        (&admin.to_string().into(), &server.http.to_string().into()),
        "{status}"
    );
}

/// A guess at the port for probes is not even counted: there is nothing to guess at.
#[test]
fn the_port_for_probes_knows_no_password() {
    let Apart { server, admin } = Apart::start("127.0.0.1", "");
    let ask = |at, word: &str| {
        let head = format!("Host: t\r\nConnection: close\r\nAuthorization: Bearer {word}");
        http(at, &format!("GET /api/v1/status HTTP/1.1\r\n{head}\r\n\r\n")).0
    };
    for _ in 0..12 {
        assert_eq!(ask(server.http, "wrong"), 404);
    }
    assert_eq!(ask(admin, PASSWORD), 200);
    assert_eq!(server.events("admin_denied").len(), 0);
    assert_eq!(ask(admin, "wrong"), 401);
    server.wait_event("admin_denied", |_| true);
}

#[test]
fn commands_find_the_port_by_the_configuration() {
    let apart = Apart::start("127.0.0.2", "");
    assert!(
        TcpStream::connect(("127.0.0.1", apart.admin.port())).is_err(),
        "it is on http.admin_host alone"
    );
    for args in [
        &["queue", "stats"][..],
        &["status"],
        &["mailq"],
        &["health"],
        &["health", "live"],
    ] {
        let output = apart.command(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
    }
    // What it is told goes before.
    let url = format!("http://{}", apart.server.http);
    let output = apart.command(&["status", "--url", &url]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(64) && said.contains("http.admin_port"),
        "{said}"
    );
}

#[test]
fn commands_find_the_port_of_http_where_there_is_no_other() {
    let port = free_port().port();
    let setup = Setup::new(format!("[http]\nport = {port}\n")).without("SMTP_HTTP_PORT");
    let server = setup.start();
    let admin = server.http;
    let apart = Apart { server, admin };
    let output = apart.command(&["status"]);
    assert!(output.status.success(), "{output:?}");
    drop(apart.server);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    // Nobody is there, and what is wrong with the file may be why.
    for (text, code, word) in [
        (format!("[http]\nport = {port}\n"), 69, "http.admin_port"),
        (format!("[http]\nport = {port}\nprot = 1\n"), 78, "prot"),
    ] {
        std::fs::write(&file, text).expect("write");
        let output = Command::new(binary())
            .arg("status")
            .env_clear()
            .env("SMTP_CONFIG", &file)
            .env("SMTP_ADMIN_PASSWORD", PASSWORD)
            .output()
            .expect("run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(code) && said.contains(word),
            "{code}: {said}"
        );
    }
}

#[test]
fn metrics_may_be_apart_too() {
    let port = free_port().port();
    let Apart { server, admin } = Apart::start("127.0.0.1", &format!("[metrics]\nport = {port}\n"));
    let metrics = SocketAddr::new(admin.ip(), port);
    assert_eq!(curl(metrics, "/metrics", &[]).0, 200);
    for (at, path) in [
        (server.http, "/metrics"),
        (admin, "/metrics"),
        (metrics, "/api/v1/status"),
    ] {
        assert_eq!(curl(at, path, &[]).0, 404, "{at}{path}");
    }
}

/// As `http.port`: a change waits for a restart, and is said to.
#[test]
fn a_change_of_it_waits_for_a_restart() {
    let mut apart = Apart::start("127.0.0.1", "");
    let port = apart.server.http.port();
    apart
        .server
        .write_config(&format!("[http]\nport = {port}\n[logging]\nlevel = \"debug\"\n"));
    let line = apart.server.wait_event("config_reloaded", |_| true);
    let waits = json!(["http.admin_port", "http.admin_host"]);
    assert_eq!(line["needs_restart"], waits, "{line}");
    assert_eq!(curl(apart.admin, "/api/v1/status", &[]).0, 200);
    assert_eq!(curl(apart.server.http, "/api/v1/status", &[]).0, 404);
    let server = apart.server.restart();
    assert_eq!(curl(server.http, "/api/v1/status", &[]).0, 200);
    assert!(TcpStream::connect(apart.admin).is_err());
}

#[test]
fn ports_that_clash_and_addresses_without_a_port_are_refused() {
    let port = free_port().port();
    for (config, expected) in [
        (
            format!("[http]\nport = {port}\nadmin_port = {port}\n"),
            "is taken by http.port",
        ),
        (
            format!("[http]\nport = 0\nadmin_port = {port}\n[metrics]\nport = {port}\n"),
            "is taken by http.admin_port",
        ),
        (
            format!("[http]\nport = {port}\nadmin_host = [\"127.0.0.2\"]\n"),
            "set http.admin_port",
        ),
        (
            format!("[http]\nport = {port}\nadmin_port = 1\nadmin_host = []\n"),
            "http.admin_host: it must name at least one address",
        ),
    ] {
        let (code, said) = refusal(&Setup::new(config.as_str()).without("SMTP_HTTP_PORT"));
        assert!(code == 78 && said.contains(expected), "{config}: {code} {said}");
    }
    // A port that somebody has, by the name of its setting.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("address").port();
    let (code, said) = refusal(&Setup::new(format!("[http]\nadmin_port = {port}\n")));
    assert!(code == 69 && said.contains("http.admin_port"), "{code} {said}");
}
