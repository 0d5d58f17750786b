//! A real PostgreSQL of the test's own, on a port and in folders of its own; its standby; a pooler before it; a proxy that cuts.

use crate::ports::free_port;
use crate::tools::run;
use crate::wait_for_secs;
use nix::sys::signal::Signal;
use real_postgres::{Server, Version, unprivileged};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

mod standby;

/// How a database is set up.
const SETTINGS: &str = "listen_addresses = '127.0.0.1'\nmax_connections = 60\nlog_min_messages = log\nlog_line_prefix = '%m %a '\n\
                        shared_preload_libraries = 'pg_stat_statements'\n";

/// A running PostgreSQL with an empty database `queue…`. Dropped, it is ended.
pub struct Postgres {
    /// Of what a test gives it.
    folder: tempfile::TempDir,
    /// Where its data is, if not in its folder.
    data: PathBuf,
    server: Server,
    pub port: u16,
    /// The queue's database. No other test's has this name: a port that a crash sets free may be another's next.
    pub name: String,
}

fn hand_over(path: &Path) {
    real_postgres::hand_over(path).expect("chown");
}

fn new_folder() -> tempfile::TempDir {
    real_postgres::new_folder().expect("a folder")
}

impl Postgres {
    pub fn start() -> Postgres {
        Postgres::with("")
    }

    /// Of a version, if not Debian's.
    pub fn of(version: Version) -> Postgres {
        let folder = new_folder();
        let data = folder.path().join("data");
        Postgres::at(version, folder, data, "")
    }

    /// With these lines in its configuration too.
    pub fn with(settings: &str) -> Postgres {
        let folder = new_folder();
        let data = folder.path().join("data");
        Postgres::at(Version::Debian, folder, data, settings)
    }

    /// With its data and its log in folders that are there: on disks that may be filled, one without the other.
    pub fn on_disks(data: &Path, log: &Path, settings: &str) -> Postgres {
        let folder = new_folder();
        let data = data.join("data");
        real_postgres::initialise(Version::Debian, &data, false).expect("initdb");
        let (before, after) = (data.join("pg_wal"), log.join("pg_wal"));
        run(Command::new("/bin/mv").arg(&before).arg(&after));
        std::os::unix::fs::symlink(&after, &before).expect("a link");
        Postgres::begin(Version::Debian, folder, data, settings)
    }

    fn at(version: Version, folder: tempfile::TempDir, data: PathBuf, settings: &str) -> Postgres {
        real_postgres::initialise(version, &data, false).expect("initdb");
        Postgres::begin(version, folder, data, settings)
    }

    /// Starts one whose data is there.
    fn begin(version: Version, folder: tempfile::TempDir, data: PathBuf, settings: &str) -> Postgres {
        let port = free_port().port();
        write_settings(&data, &format!("{SETTINGS}{settings}"));
        let server = Server::start(version, &data, port, &[]).expect("PostgreSQL");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let database = Postgres {
            folder,
            data,
            server,
            port,
            name: format!("queue{}", now.expect("clock").as_nanos()),
        };
        database.ask("postgres", &format!("CREATE DATABASE {}", database.name));
        database
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// For `storage.url`.
    pub fn url(&self) -> String {
        self.url_at(self.address())
    }

    /// For `storage.url`, at another address: a proxy's, a pooler's.
    pub fn url_at(&self, address: SocketAddr) -> String {
        format!("postgresql://postgres@{address}/{}", self.name)
    }

    fn ask(&self, database: &str, sql: &str) -> String {
        self.server.ask(database, sql).expect("an answer")
    }

    /// Runs a statement in the queue's database; gives what it answers, a row a line.
    pub fn sql(&self, sql: &str) -> String {
        self.ask(&self.name, sql)
    }

    /// All of its log so far.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Ends it at once, as a crash does.
    pub fn crash(&mut self) {
        self.server.crash().expect("crash");
    }

    /// Starts it again, on the same port.
    pub fn start_again(&mut self) {
        self.server.start_again().expect("PostgreSQL again");
    }

    /// Sees to it that it is there, also when it gave up by itself: its disk was full.
    pub fn start_if_it_ended(&mut self) {
        self.server.start_if_it_ended().expect("PostgreSQL again");
    }

    /// Connections of our servers that there are now, those for hints among them.
    pub fn connections(&self) -> usize {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'smtp-server%'";
        self.sql(sql).parse().expect("a number")
    }

    /// Takes up lines into its configuration; some take effect with a restart only.
    pub fn reconfigure(&self, settings: &str) {
        write_settings(&self.data, settings);
        self.ask("postgres", "SELECT pg_reload_conf()");
    }

    /// Who may connect how, and who is who by which certificate.
    pub fn rules(&self, rules: &str, names: &str) {
        std::fs::write(self.data.join("pg_hba.conf"), rules).expect("pg_hba.conf");
        std::fs::write(self.data.join("pg_ident.conf"), format!("{names}\n")).expect("pg_ident.conf");
        self.server.signal(Signal::SIGHUP).expect("SIGHUP");
        std::thread::sleep(Duration::from_millis(500));
    }

    /// Everybody may connect, as at first.
    pub fn plain_rules(&self) {
        self.rules("local all all trust\nhost all all 127.0.0.0/8 trust\n", "");
    }

    /// Takes a connection as an ordinary role and keeps it until it is dropped; `None` when there is none to be had.
    pub fn hold_connection(&self, role: &str) -> Option<Held> {
        let mut psql = Command::new("/usr/bin/psql");
        psql.arg("-h").arg(self.server.sockets());
        psql.args(["-p", &self.port.to_string(), "-qX", "-U", role, &self.name]);
        // It waits for what it is to do, and ends with that.
        let mut child = psql
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("psql");
        std::thread::sleep(Duration::from_millis(150));
        match child.try_wait().expect("psql") {
            Some(_) => None,
            None => Some(Held(child)),
        }
    }

    /// Does something over a connection that is kept until it is dropped. Whether it is done is to be waited for.
    pub fn hold(&self, sql: &str) -> Held {
        let mut held = self.hold_connection("postgres").expect("a connection");
        let input = held.0.stdin.as_mut().expect("its input");
        input
            .write_all(format!("{sql};\n").as_bytes())
            .expect("a statement");
        held
    }

    /// Keeps everybody from a table, readers too, until it is dropped.
    pub fn lock(&self, table: &str) -> Held {
        let held = self.hold(&format!("BEGIN; LOCK TABLE {table}"));
        wait_for_secs("the lock", 30, || self.locks(table, true) == 1);
        held
    }

    /// Whether somebody waits for a table that is locked.
    pub fn is_awaited(&self, table: &str) -> bool {
        self.locks(table, false) > 0
    }

    /// Exclusive locks of a table that somebody has, or locks that somebody waits for.
    fn locks(&self, table: &str, granted: bool) -> usize {
        let which = match granted {
            true => "granted AND mode = 'AccessExclusiveLock'",
            false => "NOT granted",
        };
        let count = format!("SELECT count(*) FROM pg_locks WHERE {which} AND relation = '{table}'::regclass");
        self.sql(&count).parse().expect("a number")
    }

    /// Puts a file where it can read it, and nobody else.
    pub fn put(&self, from: &Path, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::copy(from, &path).expect("copy");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("permissions");
        hand_over(&path);
        path
    }
}

fn write_settings(data: &Path, settings: &str) {
    let path = data.join("postgresql.conf");
    let before = std::fs::read_to_string(&path).expect("postgresql.conf");
    std::fs::write(&path, format!("{before}\n{settings}\n")).expect("postgresql.conf");
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- end of PostgreSQL's log\n{}", self.server.end_of_log());
        }
    }
}

/// A connection that is taken until this is dropped.
pub struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// PgBouncer in transaction mode. Dropped, it is ended.
pub struct PgBouncer {
    _folder: tempfile::TempDir,
    child: Child,
    pub address: SocketAddr,
}

impl PgBouncer {
    pub fn start(database: &Postgres) -> PgBouncer {
        PgBouncer::with(database, "")
    }

    /// With these lines in its configuration too.
    pub fn with(database: &Postgres, settings: &str) -> PgBouncer {
        assert!(
            Path::new("/usr/sbin/pgbouncer").exists(),
            "pgbouncer is missing: `cargo xtask peers` installs it"
        );
        let folder = new_folder();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port().port()));
        let users = folder.path().join("users");
        let text = format!(
            "[databases]\n{} = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
             auth_type = any\nauth_file = {}\npool_mode = transaction\ndefault_pool_size = 4\nunix_socket_dir =\n{settings}\n",
            database.name,
            database.port,
            address.port(),
            users.display()
        );
        let config = folder.path().join("pgbouncer.ini");
        std::fs::write(&users, "\"postgres\" \"\"\n").expect("users");
        std::fs::write(&config, text).expect("pgbouncer.ini");
        hand_over(folder.path());
        let mut pgbouncer = unprivileged(Path::new("/usr/sbin/pgbouncer"));
        pgbouncer.arg("-q").arg(&config).stdin(Stdio::null());
        let child = pgbouncer.spawn().expect("start PgBouncer");
        wait_for_secs("PgBouncer to listen", 30, || TcpStream::connect(address).is_ok());
        PgBouncer {
            _folder: folder,
            child,
            address,
        }
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a proxy does to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// What a client sends with this in it is passed on, the answer is not: both sides are closed when the transaction that it is part of is over.
    Answer(Vec<u8>),
    /// What a client sends with this in it is not passed on: both sides are closed.
    Request(Vec<u8>),
}

/// How an answer ends after which nothing is under way: `ReadyForQuery`, in no transaction.
const IDLE: &[u8] = b"Z\0\0\0\x05I";

/// A proxy before a database. Everything is passed on until it is told to cut, or to be away.
pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// What is to be cut, and for how long it is away from then on.
    cuts: Mutex<Vec<(Cut, Duration)>>,
    away: Mutex<Option<Instant>>,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub fn before(database: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("address");
        let state: Arc<State> = Arc::default();
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if !shared.is_away()
                    && let Ok(server) = TcpStream::connect(database)
                {
                    shared.keep(&client);
                    let shared = shared.clone();
                    std::thread::spawn(move || pass(&client, &server, &shared));
                }
            }
        });
        Proxy { address, state }
    }

    /// Does this once, with the first that it applies to.
    pub fn cut(&self, what: Cut) {
        self.cut_and_be_away(what, Duration::ZERO);
    }

    /// The same, and is away for so long from then on.
    pub fn cut_and_be_away(&self, what: Cut, time: Duration) {
        self.state.cuts.lock().expect("cuts").push((what, time));
    }

    /// Closes all connections, and passes on none for so long.
    pub fn be_away(&self, time: Duration) {
        self.state.be_away(time);
    }

    /// Whether everything was cut that was to be.
    pub fn is_done(&self) -> bool {
        self.state.cuts.lock().expect("cuts").is_empty()
    }

    pub fn is_away(&self) -> bool {
        self.state.is_away()
    }
}

impl State {
    fn is_away(&self) -> bool {
        let away = self.away.lock().expect("away");
        away.is_some_and(|until| Instant::now() < until)
    }

    fn be_away(&self, time: Duration) {
        *self.away.lock().expect("away") = Some(Instant::now() + time);
        for client in self.open.lock().expect("open").drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    fn keep(&self, client: &TcpStream) {
        let kept = client.try_clone().expect("socket");
        self.open.lock().expect("open").push(kept);
    }

    fn cut_was_done(&self, away: Duration) {
        if !away.is_zero() {
            self.be_away(away);
        }
    }

    /// The first thing to do that applies to what was sent; it is done once.
    fn taken(&self, sent: &[u8]) -> Option<(Cut, Duration)> {
        let mut cuts = self.cuts.lock().expect("cuts");
        let place = cuts.iter().position(|(cut, _)| {
            let (Cut::Answer(marker) | Cut::Request(marker)) = cut;
            sent.windows(marker.len()).any(|window| window == marker)
        })?;
        Some(cuts.remove(place))
    }
}

/// Passes on in both directions.
fn pass(client: &TcpStream, server: &TcpStream, state: &Arc<State>) {
    // For how long it is away when the answer that is swallowed has come.
    let lost: Arc<Mutex<Option<Duration>>> = Arc::default();
    let (back, from_server) = (
        client.try_clone().expect("socket"),
        server.try_clone().expect("socket"),
    );
    let (swallow, after) = (lost.clone(), state.clone());
    let answers = std::thread::spawn(move || {
        let (mut from, mut to, mut block) = (&from_server, &back, vec![0; 64 << 10]);
        while let Ok(count) = from.read(&mut block) {
            let lost = *swallow.lock().expect("lost");
            if let Some(away) = lost {
                if count == 0 || block[..count].ends_with(IDLE) {
                    after.cut_was_done(away);
                    break;
                }
            } else if count == 0 || to.write_all(&block[..count]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
    let (mut from, mut to, mut block) = (client, server, vec![0; 256 << 10]);
    while let Ok(count) = from.read(&mut block) {
        let sent = &block[..count];
        match state.taken(sent) {
            Some((Cut::Request(_), away)) => {
                state.cut_was_done(away);
                break;
            }
            Some((Cut::Answer(_), away)) => *lost.lock().expect("lost") = Some(away),
            None => {}
        }
        if count == 0 || to.write_all(sent).is_err() {
            break;
        }
    }
    if lost.lock().expect("lost").is_none() {
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
    let _ = answers.join();
}
