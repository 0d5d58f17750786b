//! The admin API and the commands over it: its description is true, nothing opens without the right credentials, and
//! tokens do what their scope says.

use blackbox::ports::free_port;
use blackbox::server::{PASSWORD, Server, http};
use blackbox::sink::Sink;
use blackbox::tools::{peer, run, sql};
use blackbox::wait_for;
use blackbox::wire::Wire;
use serde_json::{Value, json};
use std::process::{Command, Output};

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

/// A request with a bearer token: status and body.
fn ask(server: &Server, token: Option<&str>, method: &str, path: &str, body: &str) -> (u16, String) {
    let authorization = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    http(
        server.http,
        &format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{authorization}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    )
}

fn json_of(server: &Server, path: &str) -> Value {
    let (status, body) = ask(server, Some(PASSWORD), "GET", path, "");
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
    send(&server, &["b@one.test"]);
    wait_for("an attempt", || !server.events("delivery").is_empty());
    let before = state(&server);
    let mut denied = 0;
    for (method, path, _) in operations(&server) {
        let (status, body) = ask(&server, None, &method, &path, "{\"all\":true}");
        assert_eq!(status, 401, "{method} {path}: {body}");
        assert_eq!(
            serde_json::from_str::<Value>(&body).expect("JSON")["error"]["code"],
            "unauthorized"
        );
        if denied < 9 {
            let (status, body) = ask(&server, Some("guessed"), &method, &path, "{\"all\":true}");
            assert_eq!(status, 401, "{method} {path}: {body}");
            denied += 1;
        }
    }
    assert_eq!(state(&server), before);
    // Ten guesses, and nobody at that address is let in for a minute, not even with the password.
    assert_eq!(ask(&server, Some("guessed"), "GET", "/api/v1/status", "").0, 401);
    let (status, body) = ask(&server, Some(PASSWORD), "GET", "/api/v1/status", "");
    assert_eq!(status, 429, "{body}");
    assert_eq!(server.metric("smtp_admin_requests_denied_total"), 10.0);
    assert_eq!(server.get("/health/ready").0, 200, "probes have no limiter");
}

#[test]
fn a_token_that_may_read_changes_nothing() {
    let server = with_token(&free_port().to_string());
    send(&server, &["b@one.test"]);
    wait_for("an attempt", || !server.events("delivery").is_empty());
    let before = state(&server);
    let mut refused = 0;
    for (method, path, scope) in operations(&server) {
        let (status, body) = ask(&server, Some(READ), &method, &path, "{\"all\":true}");
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

fn command(server: &Server, args: &[&str]) -> Output {
    let output = server.command(args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn said(server: &Server, args: &[&str]) -> String {
    String::from_utf8(command(server, args).stdout).expect("UTF-8")
}

/// Runs a command with a token in place of the password.
fn with(server: &Server, token: &str, args: &[&str]) -> Output {
    let mut command = Command::new(blackbox::server::binary());
    command
        .args(args)
        .env_clear()
        .env("SMTP_ADMIN_URL", format!("http://{}", server.http))
        .env("SMTP_ADMIN_TOKEN", token);
    command.output().expect("run the command")
}

#[test]
fn tokens_are_made_used_and_revoked_by_command() {
    let mut server = with_token(&free_port().to_string());
    send(&server, &["b@one.test"]);
    wait_for("an attempt", || !server.events("delivery").is_empty());
    let made = command(
        &server,
        &[
            "token",
            "add",
            "night-shift",
            "--scope",
            "operate",
            "--expires-in",
            "1h",
        ],
    );
    let token = String::from_utf8(made.stdout).expect("UTF-8").trim().to_owned();
    assert!(token.starts_with("smtp_"), "{token}");
    let listed = said(&server, &["token", "list"]);
    assert!(
        listed.contains("night-shift  operate  expires in ")
            && listed.contains("looker  read  does not expire  declared"),
        "{listed}"
    );
    assert!(!listed.contains(&token));
    assert!(
        with(&server, &token, &["queue", "retry", "--all"])
            .status
            .success()
    );
    let refused = with(&server, &token, &["token", "list"]);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    let trail = server.json(&["audit"]);
    let of = |entry: &Value| (entry["who"].clone(), entry["action"].clone());
    assert_eq!(
        trail.iter().map(of).collect::<Vec<_>>(),
        [
            (json!("night-shift"), json!("queue.retry")),
            (json!("admin"), json!("token.add"))
        ]
    );
    assert_eq!(
        server.wait_event("admin_action", |line| line["who"] == "night-shift")["action"],
        "queue.retry"
    );
    // It outlasts a restart, and is nowhere in what is stored.
    assert!(server.stop().success());
    let database = std::fs::read(server.data().join("smtp.db")).expect("the database");
    assert!(
        !database
            .windows(token.len())
            .any(|octets| octets == token.as_bytes())
    );
    let server = server.restart();
    assert!(with(&server, &token, &["queue", "stats"]).status.success());
    assert_eq!(
        said(&server, &["token", "revoke", "night-shift"]),
        "token night-shift revoked\n"
    );
    assert_eq!(with(&server, &token, &["queue", "stats"]).status.code(), Some(78));
    // A token of the configuration cannot be revoked here; it goes with the configuration.
    let refused = server.command(&["token", "revoke", "looker"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("declared in the configuration"));
    assert!(with(&server, READ, &["status"]).status.success());
}

#[test]
fn a_token_expires() {
    let server = with_token(&free_port().to_string());
    let made = command(
        &server,
        &["token", "add", "short", "--scope", "read", "--expires-in", "2s"],
    );
    let token = String::from_utf8(made.stdout).expect("UTF-8").trim().to_owned();
    let status = || ask(&server, Some(&token), "GET", "/api/v1/status", "");
    wait_for("it to expire", || status().0 == 401);
    assert!(
        status().1.contains("the token short expired at"),
        "{}",
        status().1
    );
}

#[test]
fn commands_tell_what_the_server_does() {
    let sink = Sink::start();
    let server = with_token(&sink.url().replace("smtp://", ""));
    send(&server, &["b@one.test"]);
    sink.wait(1);
    let mut open = Wire::hello(server.smtp);
    let status = said(&server, &["status"]);
    assert!(
        status.contains("profile testing, takes mail") && status.contains("sessions    1\n"),
        "{status}"
    );
    let received = status
        .lines()
        .find(|line| line.starts_with("received"))
        .expect("received");
    assert_eq!(received.split_whitespace().nth(1), Some("1"), "{status}");
    let sessions = server.json(&["sessions"]).remove(0);
    assert_eq!(
        (&sessions["listener"], &sessions["state"], &sessions["tls"]),
        (&json!("smtp"), &json!("command"), &Value::Null)
    );
    open.say("MAIL FROM:<a@x.test>");
    assert!(said(&server, &["sessions"]).contains("  mail  "));
    drop(open);
    wait_for("it to be gone", || said(&server, &["sessions"]).is_empty());
    let next_hop = server.json(&["destinations"]).remove(0);
    assert_eq!(
        (&next_hop["state"], &next_hop["failures"]),
        (&json!("up"), &json!(0)),
        "{next_hop}"
    );
}

#[test]
fn a_next_hop_that_is_down_is_shown_with_its_error() {
    let server = with_token(&free_port().to_string());
    send(&server, &["b@one.test", "c@one.test", "d@two.test"]);
    let mut shown = String::new();
    wait_for("it to be down", || {
        shown = said(&server, &["destinations"]);
        shown.contains("  down, next try in ")
    });
    assert!(
        shown.contains("failure 1 in a row: ") && shown.contains("refused"),
        "{shown}"
    );
    wait_for("it to be written", || {
        server.metric("smtp_queue_recipients{state=\"deferred\"}") == 3.0
    });
    let stats = said(&server, &["queue", "stats"]);
    let row = |name: &str| -> Vec<String> {
        let line = stats.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("{stats}"))
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(row("TOTAL")[..3], ["TOTAL", "3", "3"]);
    assert_eq!(row("one.test")[..3], ["one.test", "2", "2"]);
    let senders = said(&server, &["queue", "stats", "--senders"]);
    assert!(
        senders
            .lines()
            .any(|line| line.trim_start().starts_with("x.test")),
        "{senders}"
    );
    // A message is shown like postcat shows it.
    let id = server.queue(&["list"])[0]["id"].as_str().expect("id").to_owned();
    let whole = said(&server, &["queue", "show", &id]);
    assert!(
        whole.contains("\nto        b@one.test\n") && whole.contains("\nSubject: seen\n"),
        "{whole}"
    );
    let content = said(&server, &["queue", "show", &id, "--content"]);
    assert!(
        content.starts_with("Received: ") && content.ends_with("\r\n\r\ntext\r\n"),
        "{content}"
    );
    let gone = server.command(&["queue", "show", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "--content"]);
    assert!(!gone.status.success() && gone.stdout.is_empty());
    // Two hours later it stands in the column of those that are younger than 160 minutes.
    let mut server = server;
    assert!(server.stop().success());
    let older = "UPDATE messages SET received_at = received_at - 7200000";
    sql(&server.data().join("smtp.db"), older);
    let server = server.restart();
    let stats = said(&server, &["queue", "stats"]);
    let columns = |name: &str| -> Vec<&str> {
        let line = stats.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("{stats}"))
            .split_whitespace()
            .collect()
    };
    assert_eq!(
        columns("TOTAL"),
        ["TOTAL", "3", "0", "0", "0", "0", "0", "3", "0", "0", "0", "0"],
        "{stats}"
    );
    assert_eq!(columns("two.test")[7], "1", "{stats}");
}

#[test]
fn long_work_shows_how_far_it_is_to_people_only() {
    let server = with_token(&free_port().to_string());
    for _ in 0..3 {
        send(&server, &["b@one.test"]);
    }
    wait_for("them to be deferred", || {
        server.metric("smtp_queue_recipients{state=\"deferred\"}") == 3.0
    });
    let retry = format!(
        "'{}' queue hold --all --url http://{}",
        blackbox::server::binary().display(),
        server.http
    );
    let mut terminal = Command::new("/usr/bin/script");
    terminal
        .args(["-qec", &retry, "/dev/null"])
        .env("SMTP_ADMIN_PASSWORD", PASSWORD);
    let shown = String::from_utf8_lossy(&run(&mut terminal).stdout).into_owned();
    assert!(
        shown.contains("0/3") && shown.contains("3 messages held"),
        "{shown}"
    );
    let plain = command(&server, &["queue", "release", "--all"]);
    assert_eq!(String::from_utf8_lossy(&plain.stdout), "3 messages released\n");
    assert!(plain.stderr.is_empty(), "{plain:?}");
}
