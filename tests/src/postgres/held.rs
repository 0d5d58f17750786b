//! Connections, and locks of tables, that somebody else has.

use super::Postgres;
use crate::wait_for_secs;
use real_postgres::Version;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A connection that is taken until this is dropped.
pub struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Postgres {
    /// Takes a connection as an ordinary role and keeps it until it is dropped; `None` when there is none to be had.
    pub fn hold_connection(&self, role: &str) -> Option<Held> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("held {}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut psql = Command::new(Version::Debian.program("psql").expect("psql"));
        psql.arg("-h").arg(self.server.sockets());
        psql.args(["-p", &self.port.to_string(), "-qX", "-U", role, &self.name]);
        // It waits for what it is to do, and ends with that.
        let child = psql
            .env("PGAPPNAME", &name)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("psql");
        let mut held = Held(child);
        // The database has let it in, or it has ended: however long that takes.
        let there = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'");
        let (mut ended, what) = (false, "psql to be let in, or to end");
        wait_for_secs(what, 30, || {
            ended = held.0.try_wait().expect("psql").is_some();
            ended || self.sql(&there) == "1"
        });
        (!ended).then_some(held)
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
}
