//! `cargo xtask fuzz`: every fuzz target for a time. Runs on the stable toolchain.

use crate::run::{quietly, root, succeeds};
use std::process::Command;

/// Runs the named targets, or all of them.
pub(crate) fn run(args: &[String]) -> Result<bool, String> {
    let mut seconds = 600;
    let mut targets = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--seconds" {
            seconds = args
                .next()
                .and_then(|n| n.parse().ok())
                .ok_or("--seconds takes a number")?;
        } else {
            targets.push(arg.clone());
        }
    }
    if targets.is_empty() {
        targets = all_targets()?;
    }
    if !quietly("cargo", &["fuzz", "--version"])
        && !succeeds(Command::new("cargo").args(["install", "--locked", "cargo-fuzz"]))?
    {
        return Err("cargo-fuzz could not be installed".into());
    }
    let mut good = true;
    for target in &targets {
        let limit = format!("-max_total_time={seconds}");
        let mut command = Command::new("cargo");
        command.current_dir(root()).env("RUSTC_BOOTSTRAP", "1");
        command.args([
            "fuzz",
            "run",
            "--fuzz-dir",
            "fuzz",
            target,
            "--",
            &limit,
            "-print_final_stats=1",
        ]);
        command.args(["-timeout=10", "-rss_limit_mb=2048"]);
        good &= succeeds(&mut command)?;
    }
    Ok(good)
}

fn all_targets() -> Result<Vec<String>, String> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut targets: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            entry
                .path()
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
        })
        .collect();
    targets.sort();
    Ok(targets)
}
