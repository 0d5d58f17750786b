//! The server as operators start it: the production profile, and the log for people.

use blackbox::server::{PASSWORD, binary};
use blackbox::wire::{Wire, queue_id};
use blackbox::{ports, wait_for};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

struct Running {
    child: Child,
    folder: tempfile::TempDir,
    smtp: SocketAddr,
    http: SocketAddr,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(env: &[(&str, &str)]) -> Running {
        let folder = tempfile::tempdir().expect("a folder");
        let (smtp, http) = (ports::free_port(), ports::free_port());
        let log = std::fs::File::create(folder.path().join("log")).expect("log");
        let child = Command::new(binary())
            .env_clear()
            .env("SMTP_PORT", smtp.port().to_string())
            .env("SMTP_HTTP_PORT", http.port().to_string())
            .env("SMTP_SMTPS_PORT", ports::free_port().port().to_string())
            .env("SMTP_SUBMISSION_PORT", ports::free_port().port().to_string())
            .env("SMTP_DB_PATH", folder.path().join("smtp.db"))
            .envs(env.iter().copied())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("log"))
            .stdout(log)
            .spawn()
            .expect("start");
        let running = Running {
            child,
            folder,
            smtp,
            http,
        };
        wait_for("the server to listen", || {
            TcpStream::connect(running.smtp).is_ok()
        });
        running
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

#[test]
fn production_runs_with_what_it_needs() {
    let server = Running::start(&[
        ("SMTP_PROFILE", "production"),
        ("SMTP_HOSTNAME", "mx.example.com"),
        ("SMTP_ADMIN_PASSWORD", PASSWORD),
        ("SMTP_TLS__ENABLED", "false"),
    ]);
    for address in ["127.0.0.1", "::1"] {
        let address: std::net::IpAddr = address.parse().expect("address");
        let mut wire = Wire::hello((address, server.smtp.port()).into());
        wire.expect("MAIL FROM:<a@x.test>", 250);
        wire.expect("RCPT TO:<b@elsewhere.test>", 554);
        TcpStream::connect((address, server.http.port())).expect("the HTTP listener");
    }
    wait_for("the log", || server.log().contains("\"event\":\"rejected\""));
    let log = server.log();
    assert!(!log.contains(PASSWORD), "{log}");
    for line in log.lines().filter(|line| line.starts_with('{')) {
        let line: serde_json::Value = serde_json::from_str(line).expect("a JSON object a line");
        assert!(
            line["ts"].as_str().is_some_and(|ts| ts.ends_with('Z')) && line["level"].is_string(),
            "{line}"
        );
    }
}

#[test]
fn the_log_for_people_has_the_words_of_postfix() {
    let server = Running::start(&[
        ("SMTP_PROFILE", "testing"),
        ("SMTP_HOSTNAME", "mx.test"),
        ("SMTP_LOG_FORMAT", "text"),
        ("SMTP_LOG_LEVEL", "debug"),
        ("SMTP_DELIVERY__CAPTURE", "true"),
    ]);
    let mut wire = Wire::hello(server.smtp);
    let id = queue_id(&wire.mail(
        "a@x.test",
        &["b@y.test"],
        "Message-ID: <m@x.test>\r\n\r\ntext\r\n",
    ));
    wire.expect("QUIT", 221);
    wait_for("the message's end, and the session's, in the log", || {
        let log = server.log();
        log.contains(&format!("{id}: removed")) && log.contains("disconnect from")
    });
    let log = server.log();
    let about: Vec<&str> = log.lines().filter(|line| line.contains(&id)).collect();
    for words in [
        "client=",
        "from=<a@x.test>",
        "size=",
        "nrcpt=1",
        "to=<b@y.test>",
        "relay=",
        "delay=",
        "dsn=2.0.0",
        "status=sent",
    ] {
        assert!(
            about.iter().any(|line| line.contains(words)),
            "no {words} about {id} in\n{log}"
        );
    }
}
