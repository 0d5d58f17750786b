//! Our server, as it is measured.

use super::peers::{Usage, free_address};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Our server. Dropped, it is killed.
pub(crate) struct Ours {
    pub(crate) child: Child,
    pub(crate) smtp: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Ours {
    /// Starts one on a folder; it relays everything to `smarthost`. `under` is a program to run it under.
    pub(crate) fn start(
        server: &Path,
        folder: &Path,
        smarthost: SocketAddr,
        under: &[&str],
    ) -> Result<(Ours, Duration), String> {
        let text = format!(
            "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{smarthost}\"\n\
             [server]\nmax_connections = 12000\n"
        );
        Ours::configured(server, folder, &text, under)
    }

    /// Starts one with a configuration file's text.
    pub(crate) fn configured(
        server: &Path,
        folder: &Path,
        text: &str,
        under: &[&str],
    ) -> Result<(Ours, Duration), String> {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let config = folder.join("config.toml");
        std::fs::write(&config, text).map_err(|error| error.to_string())?;
        let (smtp, http) = (free_address()?, free_address()?);
        let mut command = match under.split_first() {
            None => Command::new(server),
            Some((program, args)) => {
                let mut command = Command::new(program);
                command.args(args).arg(server);
                command
            }
        };
        let log = std::fs::File::create(folder.join("log")).map_err(|error| error.to_string())?;
        command
            .arg("run")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log);
        command
            .env("SMTP_PROFILE", "testing")
            .env("SMTP_HOSTNAME", "bench.test")
            .env("SMTP_LOG_FORMAT", "json");
        command
            .env("SMTP_PORT", smtp.port().to_string())
            .env("SMTP_HTTP_PORT", http.port().to_string())
            .env("SMTP_SMTPS_PORT", "0")
            .env("SMTP_SUBMISSION_PORT", "0");
        command.env("SMTP_DB_PATH", folder.join("smtp.db"));
        let start = Instant::now();
        let child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let ours = Ours { child, smtp, http };
        ours.wait_ready()?;
        Ok((ours, start.elapsed()))
    }

    fn wait_ready(&self) -> Result<(), String> {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.get("/health/ready").starts_with("HTTP/1.1 200") {
            if Instant::now() > end {
                return Err("our server does not become ready".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// A GET's whole answer; empty when there is none.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(self.http) {
            let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read_to_string(&mut answer);
        }
        answer
    }

    /// A metric's value; 0 when it is not there.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics");
        let line = text.lines().find(|line| {
            line.strip_prefix(series)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        line.and_then(|line| line.rsplit(' ').next())
            .and_then(|n| n.parse().ok())
            .unwrap_or(0.0)
    }

    /// A figure in KiB from `/proc/PID/status`.
    pub(crate) fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status
            .lines()
            .find(|line| line.starts_with(field))
            .unwrap_or_default();
        line.split_whitespace()
            .nth(1)
            .and_then(|n| n.parse().ok())
            .unwrap_or(0)
    }

    /// Resident KiB when what was freed has gone back to the system, which takes the allocator a second or two: hashing the
    /// administrator's first password takes 19 MiB.
    pub(crate) fn memory_at_rest(&self) -> u64 {
        std::thread::sleep(Duration::from_secs(4));
        self.memory("VmRSS:")
    }

    /// Starts the peak figure (VmHWM) anew.
    pub(crate) fn reset_peak(&self) {
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5");
    }

    /// Processor time used so far, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        Usage::of(self.child.id()).own
    }

    /// SIGTERM, and the end.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        let pid =
            nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).map_err(|error| error.to_string())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).map_err(|error| error.to_string())?;
        let end = Instant::now() + Duration::from_secs(120);
        while self
            .child
            .try_wait()
            .map_err(|error| error.to_string())?
            .is_none()
        {
            if Instant::now() > end {
                return Err("our server does not stop".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
