//! One queue in PostgreSQL, and servers of two versions at work on it: a rolling update.

use crate::shared_queue::{assert_empty, setup};
use blackbox::load::{Clients, arrived};
use blackbox::postgres::Postgres;
use blackbox::server::{Server, Setup, binary, next_version, refusal};
use blackbox::sink::Sink;
use blackbox::wait_for;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A queue, and who sends to its servers.
struct Scene {
    database: Postgres,
    sink: Sink,
    clients: Clients,
    servers: Vec<Server>,
}

impl Scene {
    /// With two servers, and clients that never stop sending.
    fn start() -> Scene {
        let (database, sink) = (Postgres::start(), Sink::start());
        let start = || setup(&database.url(), &sink.relay_config()).start();
        let servers: Vec<Server> = (0..2).map(|_| start()).collect();
        let addresses: Vec<_> = servers.iter().map(|server| server.smtp).collect();
        Scene {
            clients: Clients::start(6, &addresses),
            database,
            sink,
            servers,
        }
    }

    /// A server of a version that knows so many migrations more than this one.
    fn of_version(&self, further: usize) -> Setup {
        let setup = setup(&self.database.url(), &self.sink.relay_config());
        match further {
            0 => setup,
            _ => setup
                .program(next_version())
                .env("NEXT_VERSIONS", further.to_string()),
        }
    }

    fn schema(&self) -> usize {
        let version = self.database.sql("SELECT version FROM schema_version");
        version.parse().expect("a number")
    }

    /// So many more messages are taken, by all servers in turn.
    fn goes_on(&self, count: usize) {
        let before = self.clients.load.acknowledged();
        wait_for("the load to go on", || {
            self.clients.load.acknowledged() >= before + count
        });
    }

    /// A new server is there before an old one goes, as Kubernetes does it; for each of the old.
    fn replace_all(&mut self, further: usize) {
        let addresses = |servers: &[Server]| -> Vec<_> { servers.iter().map(|server| server.smtp).collect() };
        for _ in 0..self.servers.len() {
            self.servers.push(self.of_version(further).start());
            self.clients.load.set_servers(&addresses(&self.servers));
            self.goes_on(200);
            let mut old = self.servers.remove(0);
            self.clients.load.set_servers(&addresses(&self.servers));
            assert!(old.stop().success());
            assert_no_failure(&old);
        }
    }

    /// Nothing was said but 250, and by servers that stop 421.
    fn assert_nobody_was_put_off(&self) {
        let mut put_off = self.clients.load.put_off();
        put_off.retain(|reply| !reply.starts_with("421"));
        assert!(put_off.is_empty(), "{put_off:?}");
    }
}

fn assert_no_failure(server: &Server) {
    let failed = server.events("store_failed");
    assert!(failed.is_empty(), "{failed:?}");
}

/// `migrate`, by the program of a version; what it printed.
fn migrate(program: &Path, database: &Postgres, args: &[&str]) -> String {
    let mut command = Command::new("/usr/bin/timeout");
    command
        .arg("60")
        .arg(program)
        .arg("migrate")
        .args(args)
        .env_clear();
    let output = command.env("SMTP_DATABASE_URL", database.url()).output();
    let output = output.expect("migrate");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn versions_follow_each_other_under_load_and_nothing_is_lost_or_put_off() {
    let mut scene = Scene::start();
    scene.goes_on(300);
    let (this, next): (usize, PathBuf) = (scene.schema(), next_version());
    // Tried, with all its locks, and taken back.
    let tried = migrate(&next, &scene.database, &["--dry-run"]);
    assert!(
        tried.starts_with(&format!("-- to version {}\n", this + 1)) && tried.contains("recipients_later"),
        "{tried}"
    );
    assert_eq!(scene.schema(), this);
    scene.goes_on(300);
    // As a Job does it before the update. The servers of before work on.
    let migrated = migrate(&next, &scene.database, &[]);
    assert_eq!(migrated, format!("migrated to version {}\n", this + 1));
    assert_eq!(migrate(&next, &scene.database, &[]), "", "once");
    scene.goes_on(600);
    scene.assert_nobody_was_put_off();
    scene.replace_all(1);
    // Who starts as before is told, and so is who would migrate.
    let (code, text) = refusal(&scene.of_version(0));
    assert!(code == 74 && text.contains("newer version"), "{code} {text}");
    let back = Command::new(binary())
        .arg("migrate")
        .env_clear()
        .env("SMTP_DATABASE_URL", scene.database.url())
        .output();
    let back = back.expect("migrate");
    assert_eq!(back.status.code(), Some(74), "{back:?}");
    // Without a Job the first new server does it.
    scene.replace_all(2);
    assert_eq!(scene.schema(), this + 2);
    scene.assert_nobody_was_put_off();
    let Scene {
        database,
        sink,
        clients,
        servers,
    } = scene;
    let acknowledged = clients.end();
    servers[0].wait_empty();
    servers.iter().for_each(assert_no_failure);
    let copies = arrived(&sink);
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|one| !copies.contains_key(one))
        .collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    let twice: Vec<_> = copies.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "more than once: {twice:?}");
    assert_empty(&database);
    println!(
        "{} messages, six servers, {} migrations more",
        acknowledged.len(),
        2
    );
}
