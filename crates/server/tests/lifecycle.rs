//! The binary from outside: exit codes, start, reload, drain.
#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::Value as Json;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_smtp-server");
/// No wait in here takes longer; a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const DOMAIN: &str = "[[domains]]\nname = \"d.example\"\ndeliver = \"capture\"\n";

/// The binary without any setting of the environment that the test runs in.
fn command() -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SMTP_")) {
        command.env_remove(name);
    }
    command
}

fn output(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running server on free ports; killed when the test ends before it.
struct Server {
    process: Child,
    log: BufReader<ChildStdout>,
    smtp: String,
    http: String,
}

impl Server {
    fn start(folder: &Path, file: &str) -> Server {
        fs::write(folder.join("config.toml"), file).unwrap();
        let mut process = run_in(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stdout.take().unwrap());
        let mut server = Server {
            process,
            log,
            smtp: String::new(),
            http: String::new(),
        };
        loop {
            let event = server.event();
            let address = event["address"].as_str().unwrap_or_default().to_owned();
            match (event["event"].as_str(), event["listener"].as_str()) {
                (Some("listening"), Some("smtp")) => server.smtp = address,
                (Some("listening"), Some("http")) => server.http = address,
                (Some("ready"), _) => return server,
                _ => {}
            }
        }
    }

    /// The next line of the log.
    fn event(&mut self) -> Json {
        let mut line = String::new();
        assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "the server ended");
        serde_json::from_str(&line).unwrap()
    }

    /// The next event of that name.
    fn wait_for(&mut self, name: &str) -> Json {
        loop {
            let event = self.event();
            if event["event"] == name {
                return event;
            }
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.process.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    fn ready(&self) -> String {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(b"GET /health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.lines().next().unwrap().to_owned()
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(&self.smtp).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client {
            lines: BufReader::new(stream),
        }
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run_in(folder: &Path) -> Command {
    let mut command = command();
    command
        .current_dir(folder)
        .args(["run", "--config", "config.toml", "--profile", "testing"]);
    command.args([
        "--port",
        "0",
        "--http-port",
        "0",
        "--host",
        "127.0.0.1",
        "--db",
        "spool/smtp.db",
    ]);
    command.args(["--set", "logging.format=json"]);
    command
}

struct Client {
    lines: BufReader<TcpStream>,
}

impl Client {
    fn say(&mut self, line: &str) -> String {
        self.lines
            .get_mut()
            .write_all(format!("{line}\r\n").as_bytes())
            .unwrap();
        self.reply()
    }

    /// The last line of the next reply; empty when the server closed.
    fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            let octets = self.lines.read_line(&mut line).unwrap();
            if octets == 0 || line.as_bytes().get(3) != Some(&b'-') {
                return line.trim_end().to_owned();
            }
        }
    }

    /// As far as the 354 of DATA.
    fn begin_mail(&mut self) {
        self.reply();
        for line in [
            "EHLO x",
            "MAIL FROM:<a@b.example>",
            "RCPT TO:<c@d.example>",
            "DATA",
        ] {
            let reply = self.say(line);
            assert!(reply.starts_with(['2', '3']), "{line}: {reply}");
        }
    }
}

#[test]
fn exit_codes_are_those_of_sysexits() {
    assert_eq!(output(&["--version"]).status.code(), Some(0));
    assert_eq!(output(&["--nonsense"]).status.code(), Some(64));
    assert_eq!(output(&["queue", "delete"]).status.code(), Some(64));
    assert_eq!(
        output(&["--config", "/nonexistent/c.toml"]).status.code(),
        Some(78)
    );
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    fs::write(&password, "x\n").unwrap();
    // Port 9 of loopback: nobody listens there.
    let arguments = [
        "queue",
        "list",
        "--url",
        "http://127.0.0.1:9",
        "--password-file",
        password.to_str().unwrap(),
    ];
    let unreachable = output(&arguments);
    assert_eq!(unreachable.status.code(), Some(69));
    assert!(text(&unreachable.stderr).contains("cannot reach the server at 127.0.0.1:9"));
}

#[test]
fn check_says_everything_that_is_wrong() {
    let checked = output(&[
        "check",
        "--profile",
        "production",
        "--set",
        "server.prot=1",
        "--output",
        "json",
    ]);
    assert_eq!(checked.status.code(), Some(78));
    let report: Json = serde_json::from_slice(&checked.stdout).unwrap();
    let keys: Vec<&str> = report["errors"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|e| e["key"].as_str())
        .collect();
    assert_eq!(keys, ["server.prot", "server.hostname", "admin.password"]);
    assert_eq!(output(&["check", "--profile", "testing"]).status.code(), Some(0));
}

#[test]
fn production_does_not_touch_storage_when_it_misses_something() {
    let folder = tempfile::tempdir().unwrap();
    let refused = command()
        .current_dir(&folder)
        .args(["--profile", "production"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(78));
    assert!(fs::read_dir(&folder).unwrap().next().is_none());
}

#[test]
fn a_drain_lets_a_mail_finish_and_turns_others_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), DOMAIN);
    assert!(server.ready().contains(" 200 "), "{}", server.ready());
    let mut busy = server.connect();
    busy.begin_mail();
    let mut idle = server.connect();
    idle.reply();
    server.signal("TERM");
    server.wait_for("stopping");
    assert!(server.ready().contains(" 503 "), "{}", server.ready());
    assert!(server.connect().reply().starts_with("421 4.3.2"));
    assert!(idle.reply().starts_with("421 4.3.2"));
    assert!(
        busy.say("Subject: late\r\n\r\nIt arrives.\r\n.")
            .starts_with("250 ")
    );
    assert!(busy.reply().starts_with("421 4.3.2"));
    assert_eq!(server.wait_for("stopped")["received"], 1);
    assert_eq!(server.exit_code(), Some(0));
    // What was accepted while stopping is delivered after the next start.
    let mut again = Server::start(folder.path(), DOMAIN);
    assert_eq!(again.wait_for("delivery")["status"], "sent");
}

#[test]
fn a_second_signal_does_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), DOMAIN);
    let mut busy = server.connect();
    busy.begin_mail();
    server.signal("TERM");
    server.wait_for("stopping");
    server.signal("INT");
    server.wait_for("stopped");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn a_bad_reload_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), DOMAIN);
    let file = folder.path().join("config.toml");
    fs::write(&file, format!("[limits]\nmax_hops = 7\nmax_hop = 7\n{DOMAIN}")).unwrap();
    server.signal("HUP");
    let refused = server.wait_for("config_refused");
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .contains("limits.max_hop: there is no such setting"),
        "{refused}"
    );
    fs::write(
        &file,
        format!("[limits]\nmax_hops = 7\n[storage]\nmin_free = 1\n{DOMAIN}"),
    )
    .unwrap();
    server.signal("HUP");
    let reloaded = server.wait_for("config_reloaded");
    assert_eq!(reloaded["changed"], serde_json::json!(["limits.max_hops"]));
    assert_eq!(reloaded["needs_restart"], serde_json::json!(["storage.min_free"]));
}

#[test]
fn a_spool_has_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let _server = Server::start(folder.path(), DOMAIN);
    let second = run_in(folder.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(75), "{}", text(&second.stderr));
    assert!(text(&second.stderr).contains("another process has the spool"));
}
