//! A real PostgreSQL of the test's own, on a port and in folders of its own; what stands before it.

mod held;
mod pgbouncer;
mod proxy;
mod standby;

pub use held::Held;
pub use pgbouncer::PgBouncer;
pub use proxy::{Cut, Proxy};

use crate::ports::free_port;
use crate::tools::run;
use crate::wait_for;
use nix::sys::signal::Signal;
use real_postgres::{Server, Version};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

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

    /// It speaks TLS too from now on: with the certificate that `tools::certificates` has made in this folder, for those of that authority.
    pub fn offer_tls(&self, authority: &Path) {
        let [cert, key, ca] = ["cert.pem", "key.pem", "ca.pem"].map(|name| {
            let copy = self.put(&authority.join(name), name);
            copy.display().to_string()
        });
        self.reconfigure(&format!(
            "ssl = on\nssl_cert_file = '{cert}'\nssl_key_file = '{key}'\nssl_ca_file = '{ca}'"
        ));
        wait_for("TLS", || self.sql("SHOW ssl") == "on");
    }

    /// Who may connect how, and who is who by which certificate; whoever is there already stays. Superusers must be let in over its sockets.
    pub fn rules(&self, rules: &str, names: &str) {
        // Of who connects now: that is when it was read that counts for everybody who comes.
        let read_at = || self.ask("postgres", "SELECT pg_conf_load_time()");
        let before = read_at();
        std::fs::write(self.data.join("pg_hba.conf"), rules).expect("pg_hba.conf");
        std::fs::write(self.data.join("pg_ident.conf"), format!("{names}\n")).expect("pg_ident.conf");
        self.server.signal(Signal::SIGHUP).expect("SIGHUP");
        wait_for("the rules to be read", || read_at() != before);
    }

    /// Everybody may connect, as at first.
    pub fn plain_rules(&self) {
        self.rules("local all all trust\nhost all all 127.0.0.0/8 trust\n", "");
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
