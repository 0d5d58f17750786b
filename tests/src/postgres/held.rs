//! Connections, and locks of tables, that somebody else has.

use super::Postgres;
use crate::wait_for_secs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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
}
