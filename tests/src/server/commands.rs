//! The binary as a command beside the running server.

use super::{PASSWORD, Server, binary};
use serde_json::Value;
use std::process::{Command, Output, Stdio};

impl Server {
    /// The binary as a command against this server, with the admin password: it has yet to be run.
    pub fn prepared(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(args)
            .env_clear()
            .env("SMTP_ADMIN_URL", format!("http://{}", self.http))
            .env("SMTP_ADMIN_PASSWORD", PASSWORD)
            .stdin(Stdio::null());
        command
    }
    /// Runs the binary as a command against this server.
    pub fn command(&self, args: &[&str]) -> Output {
        self.prepared(args).output().expect("run the command")
    }
    /// Runs a command, which has to succeed: what it printed.
    pub fn done(&self, args: &[&str]) -> String {
        let output = self.command(args);
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    }
    /// `queue …`: what it says as JSON.
    pub fn queue(&self, args: &[&str]) -> Vec<Value> {
        self.json(&[&["queue"], args].concat())
    }
    /// Runs a command with `--output json`, which has to succeed: one value a line.
    pub fn json(&self, args: &[&str]) -> Vec<Value> {
        let text = self.done(&[args, &["--output", "json"]].concat());
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
            .collect()
    }
}
