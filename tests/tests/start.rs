//! Starts that fail: an event with the reason, and a message, in the right places.

use blackbox::server::{Server, Setup, ended, ended_in_one_file};
use serde_json::Value;
use std::net::TcpListener;

/// The log's lines, and standard error, of a server that could not start.
fn refused(setup: &Setup, exit: i32) -> (Vec<Value>, String) {
    let output = ended(setup);
    assert_eq!(output.status.code(), Some(exit), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    (lines.collect(), String::from_utf8(output.stderr).expect("UTF-8"))
}

/// One `start_failed`, as the last line, whose reason has `part`; the message has it too.
fn check(setup: &Setup, exit: i32, part: &str) {
    let (log, message) = refused(setup, exit);
    let names: Vec<&str> = log.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(
        names.iter().filter(|name| **name == "start_failed").count(),
        1,
        "{names:?}"
    );
    let last = log.last().expect("a line");
    assert_eq!(
        (&last["event"], &last["level"]),
        (&"start_failed".into(), &"error".into())
    );
    assert_eq!(last["exit"], exit, "{last}");
    assert!(last["reason"].as_str().expect("reason").contains(part), "{last}");
    assert!(message.contains(part), "{message}");
    assert!(
        !names.contains(&"stopped") && !names.contains(&"ready"),
        "{names:?}"
    );
}

#[test]
fn every_failure_is_an_event_with_its_exit_code() {
    check(&Setup::new("[server]\nport = \"x\"\n"), 78, "server.port");
    let server = Server::with("");
    check(&Setup::new("").data(server.data()), 75, "another process");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("address").port().to_string();
    check(&Setup::new("").env("SMTP_HTTP_PORT", &port), 69, &port);
    check(&Setup::new("").env("SMTP_PORT", &port), 69, &port);
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("smtp.db"), [b'#'; 8192]).expect("write");
    check(&Setup::new("").data(folder.path()), 74, "smtp.db");
}

#[test]
fn the_event_has_the_logs_format() {
    let setup = Setup::new("[server]\nport = \"x\"\n").env("SMTP_LOG_FORMAT", "text");
    let text = String::from_utf8(ended(&setup).stdout).expect("UTF-8");
    assert!(text.contains(" ERROR start_failed: exit=78, reason="), "{text}");
}

#[test]
fn one_stream_has_it_once() {
    let setup = Setup::new("[server]\nport = \"x\"\n");
    let text = ended_in_one_file(&setup);
    assert_eq!(text.matches("server.port").count(), 1, "{text}");
    assert!(text.contains("\"start_failed\""), "{text}");
    // What an event has no room for is not lost.
    let many: String = (0..40).map(|number| format!("wrong{number} = 1\n")).collect();
    let text = ended_in_one_file(&Setup::new(format!("[server]\n{many}")));
    assert!(
        text.contains("\"start_failed\"") && text.contains("server.wrong39"),
        "{text}"
    );
}
