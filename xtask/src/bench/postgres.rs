//! The queue in PostgreSQL, on the same disk and the same cores: beside Postfix, and beside ourselves with SQLite.

use super::load::Load;
use super::memory::send_large;
use super::peers::{Ours, Postfix, Sink, free_address};
use super::speed::{loaded_until_empty, until_empty};
use super::{Bench, Bound, median};
use real_postgres::{Server, Version};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// A PostgreSQL of our own, as Debian ships it but for its shared memory. Dropped, it is ended.
struct Postgres {
    server: Server,
    port: u16,
}

impl Postgres {
    fn start(folder: &Path) -> Result<Postgres, String> {
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

    fn ask(&self, database: &str, sql: &str) -> Result<String, String> {
        self.server.ask(database, sql)
    }

    /// A new database.
    fn database(&self, name: &str) -> Result<(), String> {
        self.ask("postgres", &format!("CREATE DATABASE {name}"))?;
        self.ask(name, "CREATE EXTENSION pg_stat_statements").map(drop)
    }

    fn url(&self, name: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{name}", self.port)
    }

    fn number(&self, database: &str, sql: &str) -> Result<f64, String> {
        let answer = self.ask(database, sql)?;
        answer.parse().map_err(|_| format!("{sql}: {answer}"))
    }
}

fn config(smarthost: SocketAddr, url: &str) -> String {
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

/// Fills a queue that a server has made: so many messages of so many octets that are due then.
fn fill(database: &Postgres, name: &str, count: u32, octets: u32, due: &str) -> Result<(), String> {
    let sql = format!(
        "WITH new AS (
             INSERT INTO messages (key, id, received_at, sender, size, body_type, smtputf8, has_8bit, header_8bit, origin, content)
             SELECT nextval('message_keys'), uuid_send(gen_random_uuid()), (extract(epoch FROM now()) * 1000)::bigint, 'a@x.test', {octets}, 0, false, false,
                    false, 'bench', convert_to(rpad('Subject: x' || chr(13) || chr(10) || chr(13) || chr(10), {octets}, 'x'), 'UTF8')
             FROM generate_series(1, {count}) RETURNING key)
         INSERT INTO recipients (message, idx, address, domain, state, attempts, due, epoch, delay_notified, parked)
         SELECT key, 0, 'b@y' || key % 50 || '.test', 'y' || key % 50 || '.test', 2, 1, {due}, 0, false, false FROM new"
    );
    database.ask(name, &sql).map(drop)
}

/// Time of a claim with few and with many deferred messages behind it.
pub(crate) fn claims(bench: &mut Bench) -> Result<(), String> {
    const DUE: u32 = 10_000;
    let postgres = Postgres::start(&bench.folder.join("postgres-claims"))?;
    let hop = Sink::start()?;
    let mut times = vec![];
    for backlog in [1_000_u32, 1_000_000] {
        let name = format!("backlog{backlog}");
        postgres.database(&name)?;
        let text = config(hop.address, &postgres.url(&name));
        let folder = bench.folder.join(format!("pg-{name}"));
        // It makes the tables.
        Ours::configured(&bench.server, &folder, &text, &[])?.0.stop()?;
        fill(
            &postgres,
            &name,
            backlog,
            500,
            "(extract(epoch FROM now() + interval '1 day' * random()) * 1000 + 86400000)::bigint",
        )?;
        postgres.ask(&name, "VACUUM ANALYZE")?;
        let mut figures = vec![];
        for _ in 0..bench.rounds {
            fill(&postgres, &name, DUE, 5120, "0")?;
            figures.push(claim_all(bench, &postgres, &name, (&folder, &text), DUE)?);
        }
        let time = median(figures);
        bench.say(format!(
            "claiming with {backlog} deferred messages behind: {time:.0} µs a recipient"
        ));
        times.push(time);
    }
    bench.judge(
        "claiming with 1,000,000 deferred messages, beside with 1,000",
        times[1] / times[0],
        "x",
        Bound::AtMost(1.5),
    );
    Ok(())
}

/// Deliveries by one server and by four of what waits.
pub(crate) fn together(bench: &mut Bench) -> Result<(), String> {
    let postgres = Postgres::start(&bench.folder.join("postgres-together"))?;
    let hop = Sink::start()?;
    // They take turns, so that a disk that becomes slower does so for both.
    let (mut alone, mut four) = (vec![], vec![]);
    for round in 0..bench.rounds {
        alone.push(deliver_together(bench, &postgres, hop.address, 1, round)?);
        four.push(deliver_together(bench, &postgres, hop.address, 4, round)?);
    }
    let (alone, four) = (median(alone), median(four));
    bench.say(format!(
        "delivering what waits: one server {alone:.0}/s, four {four:.0}/s"
    ));
    bench.judge(
        "delivering by four servers, beside one",
        four / alone,
        "x",
        Bound::AtLeast(1.0),
    );
    Ok(())
}

/// Microseconds that the claim of a recipient takes while a server delivers so many that are due.
fn claim_all(
    bench: &Bench,
    postgres: &Postgres,
    name: &str,
    (folder, text): (&Path, &str),
    due: u32,
) -> Result<f64, String> {
    postgres.ask(name, "SELECT pg_stat_statements_reset()")?;
    let (server, _) = Ours::configured(&bench.server, folder, text, &[])?;
    let end = Instant::now() + Duration::from_secs(120);
    while server.metric("smtp_deliveries_total{status=\"sent\"}") < f64::from(due) {
        if Instant::now() > end {
            return Err("what is due is not delivered".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    server.stop()?;
    let mine = "query LIKE 'WITH next AS MATERIALIZED%' AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
    postgres.number(
        name,
        &format!("SELECT sum(total_exec_time) / sum(rows) * 1000 FROM pg_stat_statements WHERE {mine}"),
    )
}

/// Messages a second that so many servers deliver of what waits; each exactly once.
fn deliver_together(
    bench: &Bench,
    postgres: &Postgres,
    hop: SocketAddr,
    servers: usize,
    round: usize,
) -> Result<f64, String> {
    // Some seconds of work: of 20,000, which take 1.5 s, a look that comes 50 ms late is a twentieth.
    const WAITING: u32 = 60_000;
    let name = format!("together{servers}_{round}");
    postgres.database(&name)?;
    let text = config(hop, &postgres.url(&name));
    let folder = |number: usize| bench.folder.join(format!("pg-{name}-{number}"));
    let start =
        |number| Ours::configured(&bench.server, &folder(number), &text, &[]).map(|(server, _)| server);
    let running: Vec<Ours> = (0..servers).map(start).collect::<Result<_, _>>()?;
    // They have seen each other.
    std::thread::sleep(Duration::from_secs(2));
    fill(
        postgres,
        &name,
        WAITING,
        5120,
        "(extract(epoch FROM now()) * 1000)::bigint + 25000",
    )?;
    let sent = || -> f64 {
        running
            .iter()
            .map(|server| server.metric("smtp_deliveries_total{status=\"sent\"}"))
            .sum()
    };
    let end = Instant::now() + Duration::from_secs(180);
    while sent() == 0.0 {
        std::thread::sleep(Duration::from_millis(5));
        if Instant::now() > end {
            return Err("nothing is delivered".into());
        }
    }
    let begun = Instant::now();
    while postgres.number(&name, "SELECT sum(messages) FROM figures")? > 0.0 {
        if Instant::now() > end {
            return Err("the queue does not become empty".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let time = begun.elapsed().as_secs_f64();
    match sent() {
        all if all == f64::from(WAITING) => Ok(f64::from(WAITING) / time),
        all => Err(format!("{WAITING} messages waited, {all} were delivered")),
    }
}
