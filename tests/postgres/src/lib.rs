//! A real PostgreSQL for tests and measurements, as Debian ships it or of another version: its data where the caller says, as its own user,
//! ended with its handle.

mod version;

pub use version::{NPM, Version, package};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long it may take to start.
const START: Duration = Duration::from_secs(60);

/// A command as the database's user: it does not run as root.
pub fn unprivileged(program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    command.arg(program);
    command
}

/// Gives a file, or a folder with what is in it, to that user.
///
/// # Errors
/// What `chown` says.
pub fn hand_over(path: &Path) -> Result<(), String> {
    match geteuid().is_root() {
        true => run(Command::new("chown").args(["-R", "postgres"]).arg(path)).map(drop),
        false => Ok(()),
    }
}

/// A new folder that it can work in, and others look into.
///
/// # Errors
/// The file system's.
pub fn new_folder() -> Result<TempDir, String> {
    let failed = |error: std::io::Error| format!("a folder for PostgreSQL: {error}");
    let folder = tempfile::Builder::new()
        .prefix("postgres-")
        .tempdir()
        .map_err(failed)?;
    let readable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), readable).map_err(failed)?;
    hand_over(folder.path())?;
    Ok(folder)
}

/// Runs to the end.
///
/// # Errors
/// It fails, and what it said.
pub fn run(command: &mut Command) -> Result<Output, String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(output),
        false => Err(format!(
            "{command:?} ended with {}\n{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

/// Makes an empty database cluster, whose superuser is `postgres`; without `durable` it is not waited until that is on the disk.
///
/// # Errors
/// What `initdb` says.
pub fn initialise(version: Version, data: &Path, durable: bool) -> Result<(), String> {
    let mut initdb = unprivileged(&version.program("initdb")?);
    initdb.args([
        "--auth=trust",
        "--username=postgres",
        "--encoding=UTF8",
        "--pgdata",
    ]);
    initdb.arg(data);
    if !durable {
        initdb.args(["--no-sync", "--wal-segsize=1"]);
    }
    run(&mut initdb).map(drop)
}

/// A server, running. Dropped, it is ended as by a crash.
#[derive(Debug)]
pub struct Server {
    /// For its sockets and its log. The path is short, as that of a socket has to be.
    folder: TempDir,
    version: Version,
    data: PathBuf,
    port: u16,
    settings: Vec<String>,
    child: Child,
}

impl Server {
    /// Starts it and waits until it answers, on sockets in a folder of its own; on TCP too if a setting says so. `settings` are `name=value`.
    ///
    /// # Errors
    /// It does not start, and the end of its log.
    pub fn start(version: Version, data: &Path, port: u16, settings: &[&str]) -> Result<Server, String> {
        let folder = new_folder()?;
        let settings: Vec<String> = settings.iter().map(|&one| one.to_owned()).collect();
        let child = spawn(version, folder.path(), data, port, &settings)?;
        let server = Server {
            folder,
            version,
            data: data.to_owned(),
            port,
            settings,
            child,
        };
        server.wait()?;
        Ok(server)
    }

    fn wait(&self) -> Result<(), String> {
        let end = Instant::now() + START;
        while let Err(error) = self.ask("postgres", "SELECT 1") {
            if Instant::now() > end {
                return Err(format!(
                    "PostgreSQL does not answer: {error}\n{}",
                    self.end_of_log()
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The folder of its sockets.
    pub fn sockets(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a statement; gives what it answers, a row a line.
    ///
    /// # Errors
    /// What it says.
    pub fn ask(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = self.psql(database)?;
        psql.args(["-c", sql]);
        Ok(String::from_utf8_lossy(&run(&mut psql)?.stdout).trim().to_owned())
    }

    /// Runs a statement again and again over one connection, with such a pause, until it answers this: whoever measures what the database
    /// does meanwhile does not measure a program that starts and a connection for each look.
    ///
    /// # Errors
    /// It said something else for 600 s, or failed.
    pub fn wait_for(&self, database: &str, sql: &str, answer: &str, pause: Duration) -> Result<(), String> {
        let mut psql = self.psql(database)?;
        psql.args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let failed = |error: std::io::Error| format!("psql: {error}");
        let mut child = psql.spawn().map_err(failed)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
            return Err("psql: no pipes".to_owned());
        };
        let script = format!("{sql} \\watch {}\n", pause.as_secs_f64());
        stdin.write_all(script.as_bytes()).map_err(failed)?;
        drop(stdin);
        let found = BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .any(|line| line.trim() == answer);
        // `timeout`, which passes it on.
        let pid = i32::try_from(child.id()).map_err(|error| error.to_string())?;
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        child.wait().map_err(failed)?;
        found.then_some(()).ok_or(format!("{sql}: not {answer}"))
    }

    /// psql, itself: Debian's `/usr/bin/psql` is a script that looks for it.
    fn psql(&self, database: &str) -> Result<Command, String> {
        let mut psql = Command::new("/usr/bin/timeout");
        psql.arg("600").arg(Version::Debian.program("psql")?);
        psql.arg("-h").arg(self.sockets());
        psql.args(["-p", &self.port.to_string(), "-U", "postgres"]);
        psql.args(["-qtAX", "-v", "ON_ERROR_STOP=1", "-d", database]);
        // Whatever the server's are.
        psql.env(
            "PGOPTIONS",
            "-c statement_timeout=0 -c default_transaction_read_only=off",
        );
        Ok(psql)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), String> {
        let pid = i32::try_from(self.child.id()).map_err(|error| error.to_string())?;
        kill(Pid::from_raw(pid), signal).map_err(|error| format!("PostgreSQL: {error}"))
    }

    /// Ends it at once, as a crash does.
    ///
    /// # Errors
    /// It has ended.
    pub fn crash(&mut self) -> Result<(), String> {
        self.signal(Signal::SIGQUIT)?;
        self.child.wait().map(drop).map_err(|error| error.to_string())
    }

    /// Ends it in good order: connections are closed, and a standby gets all there is.
    ///
    /// # Errors
    /// It has ended.
    pub fn stop(&mut self) -> Result<(), String> {
        self.signal(Signal::SIGINT)?;
        self.child.wait().map(drop).map_err(|error| error.to_string())
    }

    /// Starts it again if it gave up, as it does when there is no room to recover in; waits until it answers.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_if_it_ended(&mut self) -> Result<(), String> {
        // It may be at it just now.
        let end = Instant::now() + Duration::from_secs(5);
        while self.ask("postgres", "SELECT 1").is_err() {
            let ended = self.child.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() {
                return self.start_again();
            }
            if Instant::now() > end {
                return self.wait();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Starts it again, with the same data on the same port.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_again(&mut self) -> Result<(), String> {
        self.child = spawn(
            self.version,
            self.folder.path(),
            &self.data,
            self.port,
            &self.settings,
        )?;
        self.wait()
    }

    /// All of its log.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.sockets().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The last lines of its log.
    pub fn end_of_log(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(30)..).unwrap_or_default();
        last.join("\n")
    }
}

fn spawn(
    version: Version,
    folder: &Path,
    data: &Path,
    port: u16,
    settings: &[String],
) -> Result<Child, String> {
    let failed = |error: std::io::Error| format!("PostgreSQL: {error}");
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("log"));
    let log = log.map_err(failed)?;
    let mut postgres = unprivileged(&version.program("postgres")?);
    postgres.arg("-D").arg(data).arg("-k").arg(folder);
    postgres.args(["-p", &port.to_string()]);
    for setting in settings {
        postgres.args(["-c", setting]);
    }
    postgres
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log);
    postgres.spawn().map_err(failed)
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.signal(Signal::SIGQUIT);
        let _ = self.child.wait();
    }
}
