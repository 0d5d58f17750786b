//! Programs that are told something over HTTP: Python servers of `tests/receivers` that print what they hear, a line of JSON each.

use crate::wait_for;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// A running receiver. Dropped, it is ended.
pub struct Receiver {
    child: Child,
    heard: Arc<Mutex<Vec<Value>>>,
    /// Where it listens.
    pub url: String,
}

impl Receiver {
    /// Starts a script; `packages` is where it finds what it imports.
    pub fn start(script: &str, args: &[&str], packages: Option<&Path>) -> Receiver {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("receivers");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(folder.join(script)).args(args);
        // The module that they share is read from the tree, in which nothing is to be written.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        if let Some(packages) = packages {
            command.env("PYTHONPATH", packages);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the receiver");
        let stdout = child.stdout.take().expect("stdout");
        let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
        let lines = heard.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).expect("a line of JSON");
                lines.lock().expect("lines").push(value);
            }
        });
        let mut receiver = Receiver {
            child,
            heard,
            url: String::new(),
        };
        wait_for("the receiver to listen", || !receiver.heard().is_empty());
        receiver.url = format!("http://127.0.0.1:{}", receiver.heard()[0]["port"]);
        receiver
    }

    /// Everything it printed so far.
    pub fn heard(&self) -> Vec<Value> {
        self.heard.lock().expect("lines").clone()
    }

    /// What it printed that has this key.
    pub fn with(&self, key: &str) -> Vec<Value> {
        let mut heard = self.heard();
        heard.retain(|value| value.get(key).is_some());
        heard
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
