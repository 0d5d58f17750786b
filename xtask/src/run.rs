//! Running programs.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().map(PathBuf::from).unwrap_or(xtask)
}

/// `cargo` in the workspace's folder.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command.current_dir(root()).args(args);
    command
}

/// Runs a command with its output shown; whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool, String> {
    eprintln!("+ {command:?}");
    command
        .status()
        .map(|status| status.success())
        .map_err(|error| format!("{command:?}: {error}"))
}

/// Runs a command silently; whether it succeeded. A missing program is `false`.
pub(crate) fn quietly(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The folder that cargo builds into.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// Builds the server, with other packages of ours, and gives its path.
pub(crate) fn build_server(with: &[&str]) -> Result<PathBuf, String> {
    let mut build = cargo(&["build", "--release", "--package", "smtp-server"]);
    for package in with {
        build.args(["--package", package]);
    }
    if !succeeds(&mut build)? {
        return Err("the server does not build".into());
    }
    Ok(target().join("release/smtp-server"))
}
