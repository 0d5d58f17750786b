//! Two databases, one of which follows the other; and which of them is which.

use super::{Postgres, new_folder, write_settings};
use crate::ports::free_port;
use crate::tools::run;
use crate::wait_for_secs;
use real_postgres::{Server, Version, unprivileged};

impl Postgres {
    /// A standby that follows this one, and that this one waits for with each COMMIT.
    pub fn synchronous_standby(&self) -> Postgres {
        let folder = new_folder();
        let data = folder.path().join("data");
        let mut copy = unprivileged(&Version::Debian.program("pg_basebackup").expect("PostgreSQL"));
        copy.args([
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-R",
            "-c",
            "fast",
            "-X",
            "stream",
            "-p",
        ]);
        run(copy.arg(self.port.to_string()).arg("-D").arg(&data));
        let port = free_port().port();
        let standby = Postgres {
            server: Server::start(Version::Debian, &data, port, &[]).expect("the standby"),
            folder,
            data,
            port,
            name: self.name.clone(),
        };
        self.wait_for_its_standby();
        standby
    }

    /// From now on each COMMIT waits for the standby.
    fn wait_for_its_standby(&self) {
        self.ask("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.ask("postgres", "SELECT pg_reload_conf()");
        wait_for_secs("the standby to be synchronous", 30, || {
            self.ask("postgres", "SELECT sync_state FROM pg_stat_replication") == "sync"
        });
    }

    /// Makes a standby the primary. It waits for no standby, until it has one.
    pub fn promote(&self) {
        let mut promote = unprivileged(&Version::Debian.program("pg_ctl").expect("PostgreSQL"));
        run(promote.args(["promote", "-w", "-D"]).arg(&self.data));
        self.ask("postgres", "ALTER SYSTEM RESET synchronous_standby_names");
        self.ask("postgres", "SELECT pg_reload_conf()");
    }

    /// From now on this standby hears nothing of its primary, which goes on waiting for it.
    pub fn shut_out_by(&self, primary: &Postgres) {
        self.ask("postgres", "ALTER SYSTEM SET primary_conninfo = ''");
        self.ask("postgres", "SELECT pg_reload_conf()");
        wait_for_secs("the standby to be gone", 30, || {
            primary.ask("postgres", "SELECT count(*) FROM pg_stat_replication") == "0"
        });
    }

    /// Ends it in good order: its standby has everything then.
    pub fn stop(&mut self) {
        self.server.stop().expect("stop");
    }

    /// Starts one that was stopped in good order again, as the standby of the one that was promoted then.
    pub fn follow(&mut self, primary: &Postgres) {
        let settings = format!(
            "primary_conninfo = 'host=127.0.0.1 port={} user=postgres'",
            primary.port
        );
        write_settings(&self.data, &settings);
        let signal = self.data.join("standby.signal");
        std::fs::write(&signal, "").expect("standby.signal");
        super::hand_over(&signal);
        self.start_again();
        primary.wait_for_its_standby();
    }

    /// Starts one that crashed again, as one that was shut out: whoever asks it can only read what it knew then.
    pub fn start_reading(&mut self) {
        write_settings(&self.data, "default_transaction_read_only = on");
        self.start_again();
    }

    /// Breaks all connections that our servers have.
    pub fn break_connections(&self) {
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'smtp-server%'",
        );
    }
}
