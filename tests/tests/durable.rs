//! A 250 comes after the syncs that make it true: seen by strace, in the order of the system calls.

use blackbox::server::Setup;
use blackbox::tools::run;
use blackbox::wire::Wire;
use std::path::Path;
use std::process::Command;

/// The server's system calls while it takes one message; one line each, in order.
fn calls(content: &str) -> Vec<String> {
    assert!(
        Path::new("/usr/bin/strace").exists(),
        "strace is missing: `cargo xtask peers` installs it"
    );
    let trace = tempfile::NamedTempFile::new().expect("file");
    let path = trace.path().to_str().expect("path");
    let what = "trace=fsync,fdatasync,rename,renameat,renameat2,linkat,write,sendto,writev";
    let mut setup = Setup::new("[[domains]]\nname = \"local.test\"\ndeliver = \"capture\"\n");
    setup.under = [
        "/usr/bin/strace",
        "-f",
        "-y",
        "-qq",
        "-s",
        "64",
        "-e",
        what,
        "-o",
        path,
    ]
    .map(String::from)
    .to_vec();
    let server = setup.start();
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<a@x.test>", 250);
    wire.expect("RCPT TO:<b@local.test>", 250);
    wire.expect("DATA", 354);
    wire.send(content);
    assert_eq!(wire.say(".").code, 250);
    // strace ends with the server that it runs.
    run(Command::new("/usr/bin/pkill").args(["-TERM", "-P", &server.pid().to_string()]));
    let mut server = server;
    server.exited(60);
    let text = String::from_utf8_lossy(&std::fs::read(trace.path()).expect("trace")).into_owned();
    text.lines().map(String::from).collect()
}

/// Where the call stands that is made, or ends, with all these parts; after `from`.
fn place(calls: &[String], from: usize, parts: &[&str]) -> usize {
    let found = calls
        .iter()
        .enumerate()
        .skip(from)
        .find(|(_, call)| parts.iter().all(|part| call.contains(part)));
    let found = found.unwrap_or_else(|| panic!("no {parts:?} after line {from} of\n{}", calls.join("\n")));
    found.0
}

/// Where a call that begins at `begun` has ended: there, or where strace says that it was resumed.
fn end(calls: &[String], begun: usize) -> usize {
    if !calls[begun].contains("<unfinished ...>") {
        assert!(calls[begun].contains("= 0"), "{}", calls[begun]);
        return begun;
    }
    let thread = calls[begun].split(' ').next().expect("thread");
    let resumed = place(calls, begun + 1, &[thread, "resumed>", "= 0"]);
    assert!(calls[resumed].starts_with(thread));
    resumed
}

#[test]
fn a_small_message_is_synced_in_the_log_of_the_database() {
    let calls = calls("Subject: small\r\n\r\ntext\r\n");
    let asked = place(&calls, 0, &["354 "]);
    let sync = place(&calls, asked, &["sync(", "smtp.db-wal"]);
    let answered = place(&calls, asked, &["250 2.0.0", "queued as"]);
    assert!(
        end(&calls, sync) < answered,
        "{}",
        calls[asked..=answered].join("\n")
    );
}

#[test]
fn a_large_message_is_synced_file_and_folder_before_its_row() {
    let line = format!("{}\r\n", "x".repeat(70));
    let calls = calls(&format!("Subject: large\r\n\r\n{}", line.repeat(6_000)));
    let asked = place(&calls, 0, &["354 "]);
    let file = place(&calls, asked, &["sync(", "/bodies/tmp/"]);
    let renamed = place(&calls, end(&calls, file), &["rename", "/bodies/tmp/"]);
    let folder = place(&calls, renamed, &["sync(", "/bodies/"]);
    let row = place(&calls, end(&calls, folder), &["sync(", "smtp.db-wal"]);
    let answered = place(&calls, asked, &["250 2.0.0", "queued as"]);
    assert!(
        end(&calls, row) < answered,
        "{}",
        calls[asked..=answered].join("\n")
    );
}

#[test]
fn a_maildir_delivery_is_synced_before_the_queue_forgets_it() {
    let calls = calls("Subject: small\r\n\r\ntext\r\n");
    let answered = place(&calls, 0, &["250 2.0.0", "queued as"]);
    let file = place(&calls, 0, &["sync(", "/capture/tmp/"]);
    let moved = place(&calls, end(&calls, file), &["/capture/tmp/", "/capture/new/"]);
    let folder = place(&calls, moved, &["sync(", "/capture/new>"]);
    place(
        &calls,
        answered.max(end(&calls, folder)),
        &["sync(", "smtp.db-wal"],
    );
}
