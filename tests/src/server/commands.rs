//! The binary as a command beside the running server.

use super::{PASSWORD, Server, binary};
use serde_json::Value;
use std::process::{Command, Output, Stdio};

impl Server {
    /// Runs the binary as a command against this server.
    pub fn command(&self, args: &[&str]) -> Output {
        Command::new(binary())
            .args(args)
            .env_clear()
            .env("SMTP_ADMIN_URL", format!("http://{}", self.http))
            .env("SMTP_ADMIN_PASSWORD", PASSWORD)
            .stdin(Stdio::null())
            .output()
            .expect("run the command")
    }
    /// `queue …`: what it says as JSON.
    pub fn queue(&self, args: &[&str]) -> Vec<Value> {
        self.json(&[&["queue"], args].concat())
    }
    /// Runs a command with `--output json`, which has to succeed: one value a line.
    pub fn json(&self, args: &[&str]) -> Vec<Value> {
        let all = [args, &["--output", "json"]].concat();
        let output = self.command(&all);
        assert!(
            output.status.success(),
            "{all:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
            .collect()
    }
}
