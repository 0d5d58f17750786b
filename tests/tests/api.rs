//! The admin API and the commands over it: its description is true, nothing opens without the right credentials, and
//! tokens do what their scope says.

mod commands;

use blackbox::ports::free_port;
use blackbox::server::{PASSWORD, Server};
use blackbox::tools::{peer, run};
use blackbox::wait_for;
use blackbox::wire::Wire;
use serde_json::Value;
use std::process::Command;

const READ: &str = "0123456789abcdef0123456789abcdef";

/// A server with a token that may read, and a next hop.
fn with_token(next_hop: &str) -> Server {
    Server::with(&format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{next_hop}\"\n\
         [delivery]\nretry_initial = 300\n[[admin.tokens]]\nname = \"looker\"\nscope = \"read\"\ntoken = \"{READ}\"\n"
    ))
}

fn send(server: &Server, to: &[&str]) {
    let reply = Wire::hello(server.smtp).mail("a@x.test", to, "Subject: seen\r\n\r\ntext\r\n");
    assert_eq!(reply.code, 250, "{reply:?}");
}

/// A message whose first attempt failed: that is written down, and the next is minutes away.
fn put_off(server: &Server) {
    send(server, &["b@one.test"]);
    wait_for("the attempt to be written down", || {
        server.metric("smtp_queue_recipients{state=\"deferred\"}") == 1.0
    });
}

fn json_of(server: &Server, path: &str) -> Value {
    let (status, body) = server.ask(Some(PASSWORD), "GET", path, "");
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).expect("JSON")
}

/// Every operation of the description: method, path with something in its parameters, and scope.
fn operations(server: &Server) -> Vec<(String, String, String)> {
    let api = json_of(server, "/api/v1/openapi.json");
    let mut operations = Vec::new();
    for (path, item) in api["paths"].as_object().expect("paths") {
        let path = path.replace("{kind}", "domain").replace(['{', '}'], "");
        for (method, operation) in item.as_object().expect("operations") {
            if operation["security"].is_array() {
                let scope = operation["security"][1]["bearer"][0].as_str().expect("scope");
                operations.push((method.to_uppercase(), path.clone(), scope.to_owned()));
            }
        }
    }
    assert!(operations.len() > 40, "{operations:?}");
    operations
}

/// What may not change when nobody who may change anything asks.
fn state(server: &Server) -> Vec<Value> {
    [
        "queue",
        "suspensions",
        "domains",
        "accounts",
        "aliases",
        "dkim",
        "tokens",
        "audit",
        "config",
    ]
    .map(|part| json_of(server, &format!("/api/v1/{part}")))
    .into()
}

#[test]
fn the_api_keeps_what_its_description_promises() {
    let server = with_token(&free_port().to_string());
    send(&server, &["b@one.test"]);
    keeps_its_promises(&server, 10, &[]);
    // It takes mail as before.
    send(&server, &["c@one.test"]);
    assert_eq!(server.get("/health/live").0, 200);
}

/// Its description is true, as a program finds that reads it: so many requests of each operation that fit it, and as many that do not; with
/// `more` as arguments.
pub(crate) fn keeps_its_promises(server: &Server, examples: usize, more: &[&str]) {
    let mut schemathesis = Command::new("/usr/bin/timeout");
    schemathesis
        .args(["300", "/usr/bin/python3", "-m", "schemathesis.cli", "run"])
        .arg(format!("http://{}/api/v1/openapi.json", server.http))
        .args(["--auth", &format!("admin:{PASSWORD}")])
        .args([
            "--max-examples",
            &examples.to_string(),
            "--seed",
            "1",
            "--warnings",
            "off",
            "--continue-on-failure",
        ])
        // It would end the server.
        .args(["--exclude-operation-id", "server_drain"])
        .args(more)
        // Wrong credentials block their sender for a minute; another test shows them at every door. And a valid shape may hold a
        // value that makes no sense.
        .args([
            "--checks",
            "all",
            "--exclude-checks",
            "ignored_auth,positive_data_acceptance",
        ])
        .env("PYTHONPATH", peer("schemathesis"))
        .current_dir(server.folder());
    let output = run(&mut schemathesis);
    let said = String::from_utf8_lossy(&output.stdout);
    // Nor does it ask for the description again, which it has.
    let count = operations(server).len() - 2;
    assert!(said.contains(&format!("Tested: {count}\n")), "{count}: {said:?}");
}

#[test]
fn nothing_opens_without_the_right_credentials() {
    let server = with_token(&free_port().to_string());
    put_off(&server);
    let before = state(&server);
    let mut denied = 0;
    for (method, path, _) in operations(&server) {
        let (status, body) = server.ask(None, &method, &path, "{\"all\":true}");
        assert_eq!(status, 401, "{method} {path}: {body}");
        assert_eq!(
            serde_json::from_str::<Value>(&body).expect("JSON")["error"]["code"],
            "unauthorized"
        );
        if denied < 9 {
            let (status, body) = server.ask(Some("guessed"), &method, &path, "{\"all\":true}");
            assert_eq!(status, 401, "{method} {path}: {body}");
            denied += 1;
        }
    }
    assert_eq!(state(&server), before);
    // Ten guesses, and nobody at that address is let in for a minute, not even with the password.
    assert_eq!(server.ask(Some("guessed"), "GET", "/api/v1/status", "").0, 401);
    let (status, body) = server.ask(Some(PASSWORD), "GET", "/api/v1/status", "");
    assert_eq!(status, 429, "{body}");
    assert_eq!(server.metric("smtp_admin_requests_denied_total"), 10.0);
    assert_eq!(server.get("/health/ready").0, 200, "probes have no limiter");
}

#[test]
fn a_token_that_may_read_changes_nothing() {
    let server = with_token(&free_port().to_string());
    put_off(&server);
    let before = state(&server);
    let mut refused = 0;
    for (method, path, scope) in operations(&server) {
        let (status, body) = server.ask(Some(READ), &method, &path, "{\"all\":true}");
        if scope == "read" {
            assert!(
                matches!(status, 200 | 400 | 404 | 422),
                "{method} {path}: {status} {body}"
            );
            assert_eq!(method, "GET", "{path}");
        } else {
            assert_eq!(status, 403, "{method} {path}: {body}");
            refused += 1;
        }
    }
    assert!(refused > 20, "{refused}");
    assert_eq!(state(&server), before);
}

#[test]
fn a_token_expires() {
    let server = with_token(&free_port().to_string());
    let token = server.done(&["token", "add", "short", "--scope", "read", "--expires-in", "2s"]);
    let status = || server.ask(Some(token.trim()), "GET", "/api/v1/status", "");
    wait_for("it to expire", || status().0 == 401);
    assert!(
        status().1.contains("the token short expired at"),
        "{}",
        status().1
    );
}
