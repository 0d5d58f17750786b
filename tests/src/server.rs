//! The server under test: the real binary, on ports that the system chooses and in a folder
//! that goes with the test.

mod commands;
mod ended;
mod memory;
mod requests;
mod setup;
mod spool;

pub use ended::{ended, ended_in_one_file, refusal};
pub use requests::{exchange, http, parts};
pub use setup::{Setup, binary, next_version};
pub use spool::files;

use crate::tools::target;
use crate::wait_for_secs;
use serde_json::Value;
use setup::prepare;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub const PASSWORD: &str = "correct horse battery staple";

/// A running server. Dropped, it is killed and its folder removed.
pub struct Server {
    child: Child,
    setup: Setup,
    folder: Arc<tempfile::TempDir>,
    log: Log,
    /// What reads the log, to its end.
    reader: Option<JoinHandle<()>>,
    pub smtp: SocketAddr,
    pub http: SocketAddr,
}

type Log = Arc<Mutex<Vec<Value>>>;

impl Server {
    /// Starts with a configuration file's text.
    pub fn with(config: &str) -> Server {
        Setup::new(config).start()
    }

    /// Starts and waits until it is ready.
    pub fn start(setup: Setup) -> Server {
        let mut server = Self::begin(setup);
        server.until_ready();
        server
    }

    /// Starts and waits until health can be asked. It has no `smtp` before it is ready.
    pub fn begin(setup: Setup) -> Server {
        let folder = tempfile::Builder::new()
            .prefix("smtp-server-test-")
            .tempdir()
            .expect("a folder for the test");
        Self::begin_in(setup, Arc::new(folder))
    }

    fn start_in(setup: Setup, folder: Arc<tempfile::TempDir>) -> Server {
        let mut server = Self::begin_in(setup, folder);
        server.until_ready();
        server
    }

    fn begin_in(setup: Setup, folder: Arc<tempfile::TempDir>) -> Server {
        let (child, log, reader) = spawn(&setup, folder.path());
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Server {
            child,
            setup,
            folder,
            log,
            reader: Some(reader),
            smtp: nowhere,
            http: nowhere,
        };
        server.http = server.until("the server to answer", |log| listening(log, "http"));
        server
    }

    /// Waits until it is ready.
    pub fn until_ready(&mut self) {
        self.smtp = self.until("the server to be ready", |log| {
            let ready = log.iter().any(|line| line["event"] == "ready");
            ready.then(|| listening(log, "smtp")).flatten()
        });
    }

    /// Waits until its log says something, unless it ends.
    fn until<T>(&mut self, what: &str, said: impl Fn(&[Value]) -> Option<T>) -> T {
        let mut found = None;
        wait_for_secs(what, 30, || {
            if let Some(status) = self.child.try_wait().expect("wait") {
                panic!("the server ended with {status}");
            }
            found = said(&self.log.lock().expect("log"));
            found.is_some()
        });
        found.expect("found")
    }

    /// Where the `smtps` listener is.
    pub fn smtps(&self) -> SocketAddr {
        listening(&self.log(), "smtps").expect("the smtps listener")
    }
    /// Where the `submission` listener is.
    pub fn submission(&self) -> SocketAddr {
        listening(&self.log(), "submission").expect("the submission listener")
    }

    /// The test's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
    /// The store's folder.
    pub fn data(&self) -> PathBuf {
        self.setup
            .data
            .clone()
            .unwrap_or_else(|| self.folder.path().join("data"))
    }
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, then its exit status.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        self.exited(90)
    }
    /// kill -9. Its log is read to the end.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
        self.read_to_the_end();
    }
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("pid"));
        nix::sys::signal::kill(pid, signal).expect("signal");
    }
    /// Waits for its end. Its log is read to the end, too.
    pub fn exited(&mut self, seconds: u64) -> ExitStatus {
        let mut status = None;
        wait_for_secs("the server to end", seconds, || {
            status = self.child.try_wait().expect("wait");
            status.is_some()
        });
        self.read_to_the_end();
        status.expect("status")
    }
    fn read_to_the_end(&mut self) {
        if let Some(reader) = self.reader.take() {
            wait_for_secs("the end of the log", 30, || reader.is_finished());
            reader.join().expect("the log's reader");
        }
    }
    /// Starts it again on the same folder, after its end. The ports differ.
    pub fn restart(mut self) -> Server {
        if self.child.try_wait().expect("wait").is_none() {
            self.stop();
        }
        Self::start_in(self.setup.clone(), self.folder.clone())
    }
    /// Sets a variable of its environment; takes effect with a restart.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.setup.env.insert(name.into(), value.into());
    }
    /// Replaces the text of the configuration file; takes effect with a reload or restart.
    pub fn write_config(&mut self, config: &str) {
        self.setup.config = config.into();
        std::fs::write(self.folder.path().join("config.toml"), config).expect("config.toml");
    }

    /// Every log line so far.
    pub fn log(&self) -> Vec<Value> {
        self.log.lock().expect("log").clone()
    }
    /// The log lines of one event so far.
    pub fn events(&self, event: &str) -> Vec<Value> {
        self.log
            .lock()
            .expect("log")
            .iter()
            .filter(|line| line["event"] == event)
            .cloned()
            .collect()
    }
    /// Waits for a log line.
    pub fn wait_event(&self, event: &str, matching: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        wait_for_secs(&format!("log event {event}"), 30, || {
            let log = self.log.lock().expect("log");
            found = log
                .iter()
                .find(|line| line["event"] == event && matching(line))
                .cloned();
            found.is_some()
        });
        found.expect("event")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "--- stderr of the server\n{}",
                read(&self.folder.path().join("stderr"))
            );
            let log = self.log.lock().map(|log| log.clone()).unwrap_or_default();
            eprintln!("--- end of its log");
            for line in log.iter().rev().take(40).rev() {
                eprintln!("{line}");
            }
        }
    }
}

fn spawn(setup: &Setup, folder: &Path) -> (Child, Log, JoinHandle<()>) {
    let mut command = prepare(setup, folder);
    let stderr = std::fs::File::create(folder.join("stderr")).expect("stderr");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
    let mut child = command.spawn().expect("start the server");
    let stdout = child.stdout.take().expect("stdout");
    let log: Log = Arc::default();
    let lines = log.clone();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Ok(value) = serde_json::from_str::<Value>(&line) {
                note_event(&value);
                lines.lock().expect("log").push(value);
            }
        }
    });
    (child, log, reader)
}

/// Leaves the event's name where `cargo xtask test` looks which events the whole run has seen.
fn note_event(line: &Value) {
    static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let name = line["event"].as_str().unwrap_or_default().to_owned();
    if SEEN.lock().expect("events").insert(name.clone()) {
        let folder = target().join("seen-events");
        let _ = std::fs::create_dir_all(&folder);
        let _ = std::fs::write(folder.join(name), "");
    }
}

fn listening(log: &[Value], listener: &str) -> Option<SocketAddr> {
    let line = log.iter().find(|line| {
        line["event"] == "listening"
            && line["listener"] == listener
            && line["address"]
                .as_str()
                .is_some_and(|a| a.starts_with("127.") || a.starts_with("[::]:"))
    })?;
    line["address"]
        .as_str()?
        .replace("[::]:", "127.0.0.1:")
        .parse()
        .ok()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
