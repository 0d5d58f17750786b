//! What waits in PostgreSQL: how it is claimed, with few and with many messages behind, and by one server and by four.

use super::ours::Ours;
use super::peers::Sink;
use super::postgres::{Postgres, config};
use super::{Bench, Bound, median};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

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
///
/// They have delivered others before: each connection is a process of the database, which finds the pages of its memory one by one in its
/// first seconds. That goes by, and there are more of them with more servers.
fn deliver_together(
    bench: &Bench,
    postgres: &Postgres,
    hop: SocketAddr,
    servers: usize,
    round: usize,
) -> Result<f64, String> {
    // Some seconds of work each.
    const BEFORE: u32 = 40_000;
    const MEASURED: u32 = 80_000;
    let name = format!("together{servers}_{round}");
    postgres.database(&name)?;
    let text = config(hop, &postgres.url(&name));
    let folder = |number: usize| bench.folder.join(format!("pg-{name}-{number}"));
    let start =
        |number| Ours::configured(&bench.server, &folder(number), &text, &[]).map(|(server, _)| server);
    let running: Vec<Ours> = (0..servers).map(start).collect::<Result<_, _>>()?;
    // They have seen each other.
    std::thread::sleep(Duration::from_secs(2));
    let sent = || -> f64 {
        running
            .iter()
            .map(|server| server.metric("smtp_deliveries_total{status=\"sent\"}"))
            .sum()
    };
    let mut time = 0.0;
    for (waiting, all) in [(BEFORE, BEFORE), (MEASURED, BEFORE + MEASURED)] {
        let due = "(extract(epoch FROM now()) * 1000)::bigint + 25000";
        fill(postgres, &name, waiting, 5120, due)?;
        let before = f64::from(all - waiting);
        let end = Instant::now() + Duration::from_secs(60);
        while sent() == before {
            std::thread::sleep(Duration::from_millis(5));
            if Instant::now() > end {
                return Err("nothing is delivered".into());
            }
        }
        let begun = Instant::now();
        postgres.wait_until_empty(&name)?;
        time = begun.elapsed().as_secs_f64();
        if sent() != f64::from(all) {
            return Err(format!("{all} messages waited, {} were delivered", sent()));
        }
    }
    Ok(f64::from(MEASURED) / time)
}
