//! `cargo xtask test`: everything, and one line at the end.

use crate::run::{build_server, cargo, quietly, succeeds, target};
use crate::{image, peers};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// What ran.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    fn count(&mut self, name: &str, passed: bool) {
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
            eprintln!("FAILED: {name}");
        }
    }
}

/// Runs everything, or with filters only the tests whose names contain one.
pub(crate) fn run(filters: &[String]) -> Result<bool, String> {
    let mut tally = Tally::default();
    peers::install()?;
    nextest_installed()?;
    if filters.is_empty() {
        let formatted = succeeds(&mut cargo(&["fmt", "--all", "--check"]))?;
        tally.count("cargo fmt --check", formatted);
        let clippy = [
            "clippy",
            "--release",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        let clean = succeeds(&mut cargo(&clippy))?;
        tally.count("cargo clippy", clean);
        let same = image::is_reproducible()?;
        tally.count("one binary of two compilations in other folders", same);
    }
    let image = image::for_tests()?;
    // After the static one: both are built under one name.
    let server = build_server(&["next-version"])?;
    let seen = target().join("seen-events");
    let _ = std::fs::remove_dir_all(&seen);
    nextest(filters, &server, &image, &mut tally)?;
    if filters.is_empty() {
        events(&seen, &mut tally);
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0 && tally.passed > 0)
}

/// Every event that is documented was in a log of this run, and no other was.
fn events(seen: &std::path::Path, tally: &mut Tally) {
    let files = std::fs::read_dir(seen).into_iter().flatten().flatten();
    let seen: BTreeSet<String> = files
        .filter_map(|file| file.file_name().into_string().ok())
        .collect();
    let documented: BTreeSet<String> = smtp_observe::catalogue()
        .events
        .iter()
        .map(|event| event.name.to_owned())
        .collect();
    for (words, names) in [
        ("never seen in this run", documented.difference(&seen)),
        ("seen and not documented", seen.difference(&documented)),
    ] {
        let names: Vec<&str> = names.map(String::as_str).collect();
        tally.count(&format!("events {words}: {}", names.join(", ")), names.is_empty());
    }
}

fn nextest_installed() -> Result<(), String> {
    if quietly("cargo", &["nextest", "--version"]) {
        return Ok(());
    }
    eprintln!("installing cargo-nextest (once)");
    if succeeds(&mut cargo(&["install", "--locked", "cargo-nextest"]))? {
        Ok(())
    } else {
        Err("cargo-nextest could not be installed".into())
    }
}

/// Runs the tests and reads the counts from nextest's summary line:
/// `Summary [ 1.234s] 12 tests run: 11 passed, 1 failed, 0 skipped`.
fn nextest(
    filters: &[String],
    server: &std::path::Path,
    image: &std::path::Path,
    tally: &mut Tally,
) -> Result<(), String> {
    let mut command = cargo(&[
        "nextest",
        "run",
        "--release",
        "--workspace",
        "--no-fail-fast",
        "--color",
        "never",
    ]);
    command
        .args(filters)
        .env("SMTP_SERVER_BIN", server)
        // The files of the image, and who makes an image of them.
        .env("SMTP_SERVER_IMAGE", image)
        .env("SMTP_SERVER_XTASK", std::env::current_exe().unwrap_or_default())
        .stderr(Stdio::piped());
    eprintln!("+ {command:?}");
    let mut child = command
        .spawn()
        .map_err(|error| format!("cargo nextest: {error}"))?;
    let stderr = child.stderr.take().ok_or("cargo nextest: no output")?;
    let mut summary = None;
    for line in BufReader::new(stderr).lines() {
        let line = line.map_err(|error| format!("cargo nextest: {error}"))?;
        eprintln!("{line}");
        if line.trim_start().starts_with("Summary [") {
            summary = Some(line);
        }
    }
    let status = child.wait().map_err(|error| format!("cargo nextest: {error}"))?;
    let summary = summary.ok_or("cargo nextest ended without a summary: a test does not build")?;
    let passed = figure_before(&summary, " passed");
    let failed = figure_before(&summary, " failed") + figure_before(&summary, " timed out");
    tally.passed += passed;
    tally.failed += failed;
    if !status.success() && failed == 0 {
        tally.failed += 1;
    }
    Ok(())
}

/// The number that stands before `word`; 0 when the word is not there.
fn figure_before(line: &str, word: &str) -> u64 {
    let Some((before, _)) = line.split_once(word) else {
        return 0;
    };
    let digits = before
        .rsplit(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap_or_default();
    digits.parse().unwrap_or(0)
}
