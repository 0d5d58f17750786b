//! Health, metrics, and who may use the admin API.

use blackbox::server::{PASSWORD, Server, Setup, http};
use blackbox::sink::Sink;
use blackbox::tools::{program, run};
use blackbox::wait_for;
use blackbox::wire::Wire;
use std::process::Command;

#[test]
fn health_answers_without_credentials() {
    let server = Server::with("");
    let (status, body) = server.get("/health/live");
    assert_eq!(status, 200, "{body}");
    let (status, body) = server.get("/health/ready");
    assert_eq!(status, 200, "{body}");
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body["status"], "ok");
    assert!(
        body["checks"].as_object().is_some_and(|checks| checks.len() >= 2),
        "{body}"
    );
    assert_eq!(server.get("/nothing").0, 404);
}

#[test]
fn metrics_satisfy_prometheus_and_count() {
    let sink = Sink::start();
    let server = Server::with(&sink.relay_config());
    for series in ["smtp_active_connections", "smtp_queue_depth", "smtp_draining"] {
        assert_eq!(server.metric(series), 0.0);
    }
    for status in ["sent", "deferred", "bounced", "expired"] {
        assert_eq!(
            server.metric(&format!("smtp_deliveries_total{{status=\"{status}\"}}")),
            0.0
        );
    }
    let mut wire = Wire::hello(server.smtp);
    wire.mail("a@x.test", &["b@y.test", "c@y.test"], "text\r\n");
    wire.expect("NONSENSE", 500);
    sink.wait(1);
    server.wait_empty();
    assert_eq!(
        server.metric("smtp_messages_received_total{listener=\"smtp\"}"),
        1.0
    );
    assert_eq!(server.metric("smtp_deliveries_total{status=\"sent\"}"), 2.0);
    assert_eq!(server.metric("smtp_active_connections"), 1.0);
    assert_eq!(
        server.metric("smtp_commands_total{listener=\"smtp\",verb=\"rcpt\",class=\"2xx\"}"),
        2.0
    );
    assert!(server.metric("process_resident_memory_bytes") > 1e6);
    let (_, text) = server.get("/metrics");
    assert!(text.contains("smtp_errors_total"), "{text}");
    let file = tempfile::NamedTempFile::new().expect("file");
    // promtool reads the older text format, which has no end mark.
    std::fs::write(file.path(), text.replace("# EOF\n", "")).expect("write");
    let mut promtool = program("/usr/bin/promtool");
    promtool
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(file.path()).expect("open"));
    run(&mut promtool);
}

#[test]
fn the_admin_api_wants_credentials() {
    let server = Server::with("");
    let api = |method: &str, path: &str, body: &str| server.ask(Some(PASSWORD), method, path, body);
    for (method, path, body) in [
        ("GET", "/api/v1/queue", ""),
        ("GET", "/api/v1/queue/stats", ""),
        ("GET", "/api/v1/config", ""),
        ("POST", "/api/v1/queue/delete", "{\"all\":true}"),
        ("POST", "/api/v1/queue/retry", "{\"all\":true}"),
        ("POST", "/api/v1/reload", "{}"),
    ] {
        assert_eq!(server.ask(None, method, path, body).0, 401, "{path}");
        let (status, answer) = api(method, path, body);
        assert_eq!(status, 200, "{path}: {answer}");
    }
    assert_eq!(server.ask(Some("wrong"), "GET", "/api/v1/queue", "").0, 401);
    // `admin` and the password, as curl sends them.
    let mut curl = program("/usr/bin/curl");
    curl.args([
        "-sf",
        "-u",
        &format!("admin:{PASSWORD}"),
        &format!("http://{}/api/v1/queue/stats", server.http),
    ]);
    let stats: serde_json::Value = serde_json::from_slice(&run(&mut curl).stdout).expect("JSON");
    assert_eq!(stats["messages"], 0);
    // The password is nowhere.
    let (_, config) = api("GET", "/api/v1/config", "");
    assert!(!config.contains(PASSWORD), "{config}");
    // Every setting says where it is from, and when a change of it takes effect.
    let settings: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    let setting = |key: &str| {
        let settings = settings.as_array().expect("settings");
        let found = settings.iter().find(|one| one["key"] == key);
        found.unwrap_or_else(|| panic!("{key}: {config}")).clone()
    };
    let hostname = setting("server.hostname");
    assert_eq!(
        (&hostname["value"], &hostname["reload"]),
        (&"mx.test".into(), &"live".into()),
        "{hostname}"
    );
    assert!(
        hostname["origin"]
            .as_str()
            .is_some_and(|origin| origin.contains("SMTP_HOSTNAME")),
        "{hostname}"
    );
    assert_eq!(setting("delivery.retry_max")["origin"], "default");
    assert_eq!(setting("storage.path")["reload"], "restart");
    assert!(
        !server
            .log()
            .iter()
            .any(|line| line.to_string().contains(PASSWORD))
    );
    // An empty filter means nothing, not everything; garbage is refused.
    assert_eq!(api("POST", "/api/v1/queue/delete", "{}").0, 400);
    assert_eq!(api("POST", "/api/v1/queue/delete", "garbage").0, 400);
    assert_eq!(api("GET", "/api/v1/queue/not-an-id", "").0, 400);
    assert_eq!(api("GET", "/api/v1/queue/01ARZ3NDEKTSV4RRFFQ69G5FAV", "").0, 404);
    // Guessing is slowed down; probes and metrics are not.
    let codes: Vec<u16> = (0..30)
        .map(|_| server.ask(Some("guess"), "GET", "/api/v1/queue", "").0)
        .collect();
    assert!(codes.contains(&429), "{codes:?}");
    assert_eq!(server.get("/health/live").0, 200);
    assert_eq!(server.get("/metrics").0, 200);
}

#[test]
fn metrics_on_a_port_of_their_own() {
    let port = blackbox::ports::free_port();
    let server = Setup::new(format!("[metrics]\nport = {}\npath = \"/m\"\n", port.port())).start();
    let (status, text) = http(port, "GET /m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(status, 200, "{text}");
    assert_eq!(server.get("/m").0, 404);
    assert_eq!(
        http(
            port,
            "GET /api/v1/queue HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .0,
        404
    );
}

#[test]
fn garbage_does_not_hurt_the_http_listener() {
    let server = Server::with("");
    for garbage in [
        "\r\n\r\n",
        "EHLO x\r\n\r\n",
        "GET /\0 HTTP/9.9\r\n\r\n",
        "POST /api/v1/queue/delete HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
    ] {
        let _ = http(server.http, garbage);
    }
    let mut curl = Command::new("/usr/bin/curl");
    curl.args([
        "-sf",
        "--max-time",
        "10",
        &format!("http://{}/health/live", server.http),
    ]);
    run(&mut curl);
}

#[test]
fn what_is_scraped_is_what_is_documented() {
    let server = Server::with("");
    let (_, text) = server.get("/metrics");
    let described = |line: &str| {
        line.strip_prefix("# TYPE ")
            .and_then(|rest| rest.split(' ').next())
            .map(str::to_owned)
    };
    let scraped: std::collections::BTreeSet<String> = text.lines().filter_map(described).collect();
    let page = include_str!("../../docs/reference/metrics.md");
    let documented = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned);
    assert_eq!(scraped, documented.collect());
}

#[test]
fn probes_are_never_limited_nor_logged() {
    let server = Server::with("[rate_limiting]\nrequests_per_minute = 1\nburst_size = 1\nexempt = []\n");
    let before = server.log().len();
    // As many as ten in a second are in ten minutes, on one connection after the other.
    for number in 0..3000 {
        for path in ["/health/live", "/health/ready"] {
            let (status, body) = server.get(path);
            assert_eq!(status, 200, "{path}, number {number}: {body}");
        }
    }
    let said = server.log().split_off(before);
    assert!(said.is_empty(), "{said:?}");
}

/// A server in a network of its own, where it has an address that is private and not loopback. `limits` are its rate limits.
fn in_a_network(limits: &str) -> Server {
    let root = nix::unistd::geteuid().is_root();
    let mut setup = Setup::new(format!(
        "[server]\nhost = [\"127.0.0.1\", \"fd00::1\"]\n[http]\nhost = [\"127.0.0.1\"]\n[rate_limiting]\n{limits}"
    ));
    let script = "ip link set lo up && ip address add fd00::1/128 dev lo && ip address add fd00::2/128 dev lo && exec \"$@\"";
    let namespaces = if root { "-n" } else { "-rn" };
    setup.under = ["/usr/bin/unshare", namespaces, "/bin/sh", "-c", script, "sh"]
        .map(String::from)
        .into();
    setup.start()
}

/// Connects so often from each address, in the server's network, then reads the share of the busiest.
fn busiest(server: &Server, from: &[(&str, usize)]) -> f64 {
    let listening = server.events("listening");
    let port_of = |address: &str| {
        let of_smtp = |line: &&serde_json::Value| line["listener"] == "smtp";
        let addresses = listening
            .iter()
            .filter(of_smtp)
            .filter_map(|line| line["address"].as_str());
        let port = addresses
            .filter_map(|found| found.strip_prefix(&format!("{address}:")))
            .next();
        port.unwrap_or_else(|| panic!("no {address} in {listening:?}"))
            .to_owned()
    };
    let ports = [port_of("127.0.0.1"), port_of("[fd00::1]")];
    let clients = from.iter().map(|(address, times)| format!("{address}*{times}"));
    let script = "
import socket, sys, urllib.request
http, v4, v6, *clients = sys.argv[1:]
for client in clients:
    address, times = client.split('*')
    for _ in range(int(times)):
        if ':' in address:
            connection = socket.create_connection(('fd00::1', int(v6)), source_address=(address, 0))
        else:
            connection = socket.create_connection(('127.0.0.1', int(v4)))
        assert connection.recv(100)
        connection.close()
print(urllib.request.urlopen(f'http://{http}/metrics').read().decode())";
    let mut nsenter = program("/usr/bin/nsenter");
    let pid = server.pid().to_string();
    nsenter.args(["-t", &pid, "-n"]);
    if !nix::unistd::geteuid().is_root() {
        nsenter.args(["-U", "--preserve-credentials"]);
    }
    nsenter.args(["/usr/bin/python3", "-c", script, &server.http.to_string()]);
    let output = run(nsenter.args(ports).args(clients));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let series = "smtp_busiest_private_client_ratio{listener=\"smtp\"} ";
    let value = text.lines().find_map(|line| line.strip_prefix(series));
    value
        .unwrap_or_else(|| panic!("{text}"))
        .parse()
        .expect("a number")
}

#[test]
fn an_address_that_hides_all_others_shows() {
    let server = in_a_network("requests_per_minute = 100000\nburst_size = 1000\n");
    assert_eq!(busiest(&server, &[("fd00::1", 99)]), 0.0, "99 are too few");
    assert_eq!(busiest(&server, &[("fd00::1", 1)]), 1.0);
    assert_eq!(busiest(&server, &[("fd00::2", 50), ("127.0.0.1", 50)]), 0.5);
}

#[test]
fn loopback_hides_nobody_and_who_is_refused_came_all_the_same() {
    let server = in_a_network("requests_per_minute = 1\nburst_size = 1\nexempt = [\"127.0.0.0/8\"]\n");
    assert_eq!(busiest(&server, &[("127.0.0.1", 150)]), 0.0);
    assert_eq!(busiest(&server, &[("fd00::1", 50)]), 0.25);
    wait_for("refusals in the log", || {
        server.events("connection_refused").len() >= 40
    });
}
