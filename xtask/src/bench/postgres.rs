//! The queue in PostgreSQL, on the same disk and the same cores: beside Postfix, and beside ourselves with SQLite.

use super::load::Load;
use super::memory::send_large;
use super::ours::Ours;
use super::peers::{Postfix, Sink, free_address};
use super::speed::{loaded_until_empty, until_empty};
use super::{Bench, Bound, median};
use real_postgres::{Server, Version};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// A PostgreSQL of our own, as Debian ships it but for its shared memory. Dropped, it is ended.
pub(super) struct Postgres {
    server: Server,
    port: u16,
}

impl Postgres {
    pub(super) fn start(folder: &Path) -> Result<Postgres, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        std::fs::create_dir_all(folder).map_err(failed)?;
        real_postgres::hand_over(folder)?;
        let data = folder.join("data");
        real_postgres::initialise(Version::Debian, &data, true)?;
        let port = free_address()?.port();
        let settings = [
            "listen_addresses=127.0.0.1",
            "shared_buffers=512MB",
            "max_wal_size=4GB",
            "shared_preload_libraries=pg_stat_statements",
            "log_min_messages=fatal",
        ];
        let server = Server::start(Version::Debian, &data, port, &settings)?;
        Ok(Postgres { server, port })
    }

    pub(super) fn ask(&self, database: &str, sql: &str) -> Result<String, String> {
        self.server.ask(database, sql)
    }

    /// Waits until no message is queued.
    pub(super) fn wait_until_empty(&self, database: &str) -> Result<(), String> {
        let sql = "SELECT coalesce(sum(messages), 0) FROM figures";
        self.server
            .wait_for(database, sql, "0", Duration::from_millis(20))
    }

    /// A new database.
    pub(super) fn database(&self, name: &str) -> Result<(), String> {
        self.ask("postgres", &format!("CREATE DATABASE {name}"))?;
        self.ask(name, "CREATE EXTENSION pg_stat_statements").map(drop)
    }

    pub(super) fn url(&self, name: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{name}", self.port)
    }

    pub(super) fn number(&self, database: &str, sql: &str) -> Result<f64, String> {
        let answer = self.ask(database, sql)?;
        answer.parse().map_err(|_| format!("{sql}: {answer}"))
    }
}

/// The configuration of a server of ours whose queue is there.
pub(super) fn config(smarthost: SocketAddr, url: &str) -> String {
    format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{smarthost}\"\n[server]\nmax_connections = 12000\n\
         [storage]\nurl = \"{url}\"\n"
    )
}

/// All statements since the figures were reset. BEGIN, COMMIT and settings are part of other statements' round trips, and counted all the same.
const STATEMENTS: &str = "SELECT sum(calls) FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Accepting and relaying with the queue in PostgreSQL; how many statements a message takes.
pub(crate) fn speed(bench: &mut Bench) -> Result<(), String> {
    const MESSAGES: usize = 20_000;
    let database = Postgres::start(&bench.folder.join("postgres-speed"))?;
    let (mut postfix, mut sqlite, mut ours) = ([vec![], vec![]], [vec![], vec![]], [vec![], vec![]]);
    let mut statements = vec![];
    for round in 0..bench.rounds {
        let folder = |name: &str| bench.folder.join(format!("{name}-{round}"));
        let peer = Postfix::start(&folder("postfix-accept-pg"), None)?;
        postfix[0].push(Load::of(4_000).rate(peer.address)?);
        drop(peer);
        let (server, _) = Ours::start(&bench.server, &folder("sqlite-accept"), free_address()?, &[])?;
        sqlite[0].push(Load::of(MESSAGES).rate(server.smtp)?);
        drop(server);
        let name = format!("accept{round}");
        database.database(&name)?;
        let text = config(free_address()?, &database.url(&name));
        let (server, _) = Ours::configured(&bench.server, &folder("pg-accept"), &text, &[])?;
        ours[0].push(Load::of(MESSAGES).rate(server.smtp)?);
        drop(server);
        let hop = Sink::start()?;
        let peer = Postfix::start(&folder("postfix-relay-pg"), Some(hop.address))?;
        postfix[1].push(until_empty(4_000, peer.address, || peer.queued() == 0)?);
        drop(peer);
        let (server, _) = Ours::start(&bench.server, &folder("sqlite-relay"), hop.address, &[])?;
        sqlite[1].push(until_empty(MESSAGES, server.smtp, || {
            server.metric("smtp_queue_depth") == 0.0
        })?);
        drop(server);
        let name = format!("relay{round}");
        database.database(&name)?;
        let text = config(hop.address, &database.url(&name));
        let (server, _) = Ours::configured(&bench.server, &folder("pg-relay"), &text, &[])?;
        database.ask(&name, "SELECT pg_stat_statements_reset()")?;
        ours[1].push(until_empty(MESSAGES, server.smtp, || {
            server.metric("smtp_queue_depth") == 0.0
        })?);
        statements.push(database.number(&name, STATEMENTS)? / MESSAGES as f64);
        let sent = server.metric("smtp_deliveries_total{status=\"sent\"}");
        if sent != MESSAGES as f64 {
            return Err(format!("{MESSAGES} messages were taken, {sent} delivered"));
        }
    }
    let [postfix, sqlite, ours] = [postfix, sqlite, ours].map(|figures| figures.map(median));
    for (place, what, least) in [(0, "accept", 3.0), (1, "accept and relay", 2.0)] {
        bench.say(format!(
            "{what}: Postfix {:.0}/s, ours with SQLite {:.0}/s, with PostgreSQL {:.0}/s ({:.2} x SQLite's)",
            postfix[place],
            sqlite[place],
            ours[place],
            ours[place] / sqlite[place]
        ));
        bench.judge(
            &format!("{what} with PostgreSQL, beside Postfix"),
            ours[place] / postfix[place],
            "x",
            Bound::AtLeast(least),
        );
    }
    bench.judge(
        "statements a message, accepted and relayed",
        median(statements),
        "",
        Bound::AtMost(3.0),
    );
    Ok(())
}

/// What a message takes when nothing can be shared: one client, which sends the next when it has the answer.
pub(crate) fn alone(bench: &mut Bench) -> Result<(), String> {
    const MESSAGES: usize = 2_000;
    let (database, hop) = (
        Postgres::start(&bench.folder.join("postgres-alone"))?,
        Sink::start()?,
    );
    let (mut rates, mut statements, mut transactions) = (vec![], vec![], vec![]);
    for round in 0..bench.rounds {
        let name = format!("alone{round}");
        database.database(&name)?;
        let text = config(hop.address, &database.url(&name));
        let folder = bench.folder.join(format!("pg-{name}"));
        let (server, _) = Ours::configured(&bench.server, &folder, &text, &[])?;
        // What a server asks anyhow, every second, is not a message's.
        let begun = Instant::now();
        database.ask(&name, "SELECT pg_stat_statements_reset()")?;
        std::thread::sleep(Duration::from_secs(10));
        let idle = (database.number(&name, STATEMENTS)? - 1.0) / begun.elapsed().as_secs_f64();
        let idle_transactions = idle_rate(&database, &name)?;
        let (begun, before) = (Instant::now(), committed(&database, &name)?);
        database.ask(&name, "SELECT pg_stat_statements_reset()")?;
        let load = Load::of(MESSAGES).reused().one_at_a_time();
        rates.push(loaded_until_empty(load, server.smtp, || {
            server.metric("smtp_queue_depth") == 0.0
        })?);
        let all = database.number(&name, STATEMENTS)?;
        statements.push((all - idle * begun.elapsed().as_secs_f64()) / MESSAGES as f64);
        let all = committed(&database, &name)? - before;
        transactions.push((all - idle_transactions * begun.elapsed().as_secs_f64()) / MESSAGES as f64);
    }
    bench.say(format!(
        "one client at a time, accepted and relayed: {:.0}/s, {:.2} statements a message, settings and COMMITs counted",
        median(rates),
        median(statements)
    ));
    // Each is sent as a whole, and its answers are waited for once.
    bench.judge(
        "transactions, which are round trips, of a message of one client at a time",
        median(transactions),
        "",
        Bound::AtMost(3.0),
    );
    Ok(())
}

/// Transactions that were committed, when all connections have reported them.
fn committed(database: &Postgres, name: &str) -> Result<f64, String> {
    std::thread::sleep(Duration::from_secs(3));
    let sql = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
    database.number(name, sql)
}

/// The same a second, of a server that has nothing to do.
fn idle_rate(database: &Postgres, name: &str) -> Result<f64, String> {
    let (begun, before) = (Instant::now(), committed(database, name)?);
    std::thread::sleep(Duration::from_secs(10));
    Ok((committed(database, name)? - before) / begun.elapsed().as_secs_f64())
}

/// Memory of a server whose queue is elsewhere: at rest, after a load, and while a large message passes.
pub(crate) fn memory(bench: &mut Bench) -> Result<(), String> {
    const MESSAGES: usize = 20_000;
    let (database, hop) = (
        Postgres::start(&bench.folder.join("postgres-memory"))?,
        Sink::start()?,
    );
    database.database("memory")?;
    let text = config(hop.address, &database.url("memory"));
    let (server, _) = Ours::configured(&bench.server, &bench.folder.join("pg-memory"), &text, &[])?;
    let base = server.memory_at_rest();
    server.reset_peak();
    let empty = || server.metric("smtp_queue_depth") == 0.0;
    until_empty(MESSAGES, server.smtp, empty)?;
    let (peak, after) = (server.memory("VmHWM:"), server.memory_at_rest());
    bench.say(format!(
        "memory with the queue in PostgreSQL: {base} KiB at rest, {peak} KiB at most while {MESSAGES} messages are relayed, {after} KiB afterwards"
    ));
    server.reset_peak();
    send_large(server.smtp, 25 * 1024 * 1024 - 1024)?;
    let end = Instant::now() + Duration::from_secs(60);
    while !empty() {
        if Instant::now() > end {
            return Err("the large message does not arrive".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let peak = server.memory("VmHWM:");
    bench.judge(
        "growth with a 25 MiB message, the queue in PostgreSQL",
        (peak as f64 - after as f64) / 1024.0,
        "MiB",
        Bound::AtMost(8.0),
    );
    Ok(())
}
