//! Servers that run to their end: most are expected to refuse to start.

use super::setup::{Setup, prepare};
use super::{note_event, read};
use serde_json::Value;
use std::process::{Output, Stdio};

/// Runs the server to its end (it is expected to refuse to start): exit code and what it said.
pub fn refusal(setup: &Setup) -> (i32, String) {
    let output = ended(setup);
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// Runs the server to its end; standard output and error apart.
pub fn ended(setup: &Setup) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = prepare(&in_time(setup), folder.path());
    let output = command.stdin(Stdio::null()).output().expect("run the server");
    let lines = String::from_utf8_lossy(&output.stdout);
    let lines = lines.lines().filter_map(|line| serde_json::from_str(line).ok());
    lines.for_each(|line: Value| note_event(&line));
    output
}

/// Runs the server to its end, with one file for standard output and error. Gives what is in it.
pub fn ended_in_one_file(setup: &Setup) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("both");
    let both = std::fs::File::create(&path).expect("file");
    let mut command = prepare(&in_time(setup), folder.path());
    command
        .stdin(Stdio::null())
        .stdout(both.try_clone().expect("file"))
        .stderr(both);
    command.status().expect("run the server");
    read(&path)
}

/// One that stays, though it should end, is ended after half a minute: exit code 124.
fn in_time(setup: &Setup) -> Setup {
    let mut setup = setup.clone();
    let limit = ["/usr/bin/timeout", "30"].map(String::from);
    setup.under.splice(0..0, limit);
    setup
}
