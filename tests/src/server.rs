//! The server under test: the real binary, on ports that the system chooses and in a folder
//! that goes with the test.

use crate::tools::target;
use crate::wait_for_secs;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const PASSWORD: &str = "correct horse battery staple";

/// Where the binary is: `SMTP_SERVER_BIN`, or beside the test in the target folder.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SMTP_SERVER_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("path of the test");
    let path = test
        .ancestors()
        .nth(2)
        .expect("target folder")
        .join("smtp-server");
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --release` first",
        path.display()
    );
    path
}

/// The program that plays the version after this one (`tests/next`), beside the binary.
pub fn next_version() -> PathBuf {
    let path = binary().with_file_name("next-version");
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --release -p smtp-server -p next-version` first",
        path.display()
    );
    path
}

/// How to start a server. The `testing` profile unless `env` says otherwise.
#[derive(Clone)]
pub struct Setup {
    pub config: String,
    /// The file that is read instead of one with `config` in it.
    pub config_file: Option<PathBuf>,
    pub env: BTreeMap<String, String>,
    /// Folder of the store; a new one unless given.
    pub data: Option<PathBuf>,
    /// A program and arguments to run the server under (strace, ip netns exec).
    pub under: Vec<String>,
    /// The server, if it is not [`binary`].
    pub program: Option<PathBuf>,
}

impl Setup {
    pub fn new(config: impl Into<String>) -> Self {
        let env = [
            ("SMTP_PROFILE", "testing"),
            ("SMTP_HOSTNAME", "mx.test"),
            ("SMTP_PORT", "0"),
            ("SMTP_SMTPS_PORT", "0"),
            ("SMTP_SUBMISSION_PORT", "0"),
            ("SMTP_HTTP_PORT", "0"),
            ("SMTP_LOG_FORMAT", "json"),
            ("SMTP_ADMIN_PASSWORD", PASSWORD),
        ];
        let env = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Setup {
            config: config.into(),
            config_file: None,
            env,
            data: None,
            under: Vec::new(),
            program: None,
        }
    }
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }
    pub fn without(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }
    pub fn data(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data = Some(folder.into());
        self
    }
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }
    pub fn config_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.config_file = Some(file.into());
        self
    }
    pub fn start(self) -> Server {
        Server::start(self)
    }
}

/// A running server. Dropped, it is killed and its folder removed.
pub struct Server {
    child: Child,
    setup: Setup,
    folder: Arc<tempfile::TempDir>,
    log: Log,
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
        let (child, log) = spawn(&setup, folder.path());
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Server {
            child,
            setup,
            folder,
            log,
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
    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("pid"));
        nix::sys::signal::kill(pid, signal).expect("signal");
    }
    /// Waits for its end.
    pub fn exited(&mut self, seconds: u64) -> ExitStatus {
        let mut status = None;
        wait_for_secs("the server to end", seconds, || {
            status = self.child.try_wait().expect("wait");
            status.is_some()
        });
        status.expect("status")
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

    /// A GET without authentication: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        http(
            self.http,
            &format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"),
        )
    }
    /// The value of a metric's series, named as in the output (`smtp_queue_depth`, `x_total{a="b"}`).
    pub fn metric(&self, series: &str) -> f64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        let line = text.lines().find(|line| {
            line.strip_prefix(series)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        let line = line.unwrap_or_else(|| panic!("no series {series} in\n{text}"));
        line.rsplit(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or_else(|| panic!("no number in {line}"))
    }
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
    /// Waits until nothing is queued.
    pub fn wait_empty(&self) {
        wait_for_secs("the queue to be empty", 60, || {
            self.metric("smtp_queue_depth") == 0.0
        });
    }
    /// Resident memory in octets.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }
    /// The most resident memory that it ever had, in octets.
    pub fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }
    fn memory(&self, figure: &str) -> u64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.child.id())));
        let mut lines = status.lines();
        let value = lines.find_map(|line| line.strip_prefix(figure)).expect(figure);
        let kib = value
            .split_whitespace()
            .next()
            .and_then(|n| n.parse::<u64>().ok());
        kib.expect(figure) * 1024
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

fn prepare(setup: &Setup, folder: &Path) -> Command {
    std::fs::write(folder.join("config.toml"), &setup.config).expect("config.toml");
    let data = setup.data.clone().unwrap_or_else(|| folder.join("data"));
    std::fs::create_dir_all(&data).expect("data folder");
    let server = setup.program.clone().unwrap_or_else(binary);
    let mut command = match setup.under.split_first() {
        None => Command::new(server),
        Some((program, args)) => {
            let mut command = Command::new(program);
            command.args(args).arg(server);
            command
        }
    };
    let config = setup.config_file.clone();
    let config = config.unwrap_or_else(|| folder.join("config.toml"));
    command.arg("run").arg("--config").arg(config);
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("SMTP_DB_PATH", data.join("smtp.db")).envs(&setup.env);
    command
}

fn spawn(setup: &Setup, folder: &Path) -> (Child, Log) {
    let mut command = prepare(setup, folder);
    let stderr = std::fs::File::create(folder.join("stderr")).expect("stderr");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
    let mut child = command.spawn().expect("start the server");
    let stdout = child.stdout.take().expect("stdout");
    let log: Log = Arc::default();
    let lines = log.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Ok(value) = serde_json::from_str::<Value>(&line) {
                note_event(&value);
                lines.lock().expect("log").push(value);
            }
        }
    });
    (child, log)
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

/// One HTTP request on a connection of its own: status and body.
pub fn http(address: SocketAddr, request: &str) -> (u16, String) {
    let stream = TcpStream::connect(address).expect("connect to the HTTP listener");
    parts(&exchange(stream, request.as_bytes()))
}

/// One HTTP request on a connection: the whole answer. What does not come within 20 s does not come.
pub fn exchange(mut stream: TcpStream, request: &[u8]) -> String {
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("timeout");
    stream.write_all(request).expect("send the request");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Status and body of an answer.
pub fn parts(answer: &str) -> (u16, String) {
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_string())
        .unwrap_or_default();
    (status, body)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Bodies under a folder, at any depth: files but the mark that says whose they are. 0 when it is not there.
pub fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let count = |entry: std::fs::DirEntry| match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
        true => files(&entry.path()),
        false => usize::from(entry.file_name() != "owner"),
    };
    entries.flatten().map(count).sum()
}
