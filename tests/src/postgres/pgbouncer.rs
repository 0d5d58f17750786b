//! A real pooler before a database.

use super::{Postgres, hand_over, new_folder};
use crate::ports::free_port;
use crate::wait_for_secs;
use real_postgres::unprivileged;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};

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
