//! The load: Postfix's `smtp-source`, the same for every server.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How mail is sent.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) messages: usize,
    /// Many messages over each connection (`-d`) rather than one.
    pub(crate) reuse: bool,
    pub(crate) size: usize,
    /// Clients at once.
    pub(crate) clients: usize,
}

impl Load {
    pub(crate) fn of(messages: usize) -> Load {
        Load {
            messages,
            reuse: false,
            size: 5120,
            clients: 50,
        }
    }
    pub(crate) fn reused(self) -> Load {
        Load { reuse: true, ..self }
    }
    pub(crate) fn one_at_a_time(self) -> Load {
        Load { clients: 1, ..self }
    }
    /// Sends it all; how long that took.
    pub(crate) fn send(self, to: SocketAddr) -> Result<Duration, String> {
        let mut command = Command::new("/usr/bin/timeout");
        command.arg("600").arg("/usr/sbin/smtp-source");
        command.args(["-s", &self.clients.to_string()]);
        command.args(["-l", &self.size.to_string(), "-m", &self.messages.to_string()]);
        command.args(["-f", "a@x.test", "-t", "b@y.test"]);
        if self.reuse {
            command.arg("-d");
        }
        command.arg(to.to_string()).stdout(Stdio::null());
        let start = Instant::now();
        let status = command
            .status()
            .map_err(|error| format!("smtp-source: {error}"))?;
        if status.success() {
            Ok(start.elapsed())
        } else {
            Err(format!("smtp-source ended with {status}"))
        }
    }
    /// Sends it all; messages a second.
    pub(crate) fn rate(self, to: SocketAddr) -> Result<f64, String> {
        Ok(self.messages as f64 / self.send(to)?.as_secs_f64())
    }
}

/// Lets this process and its children hold many connections.
pub(crate) fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard);
    }
}
