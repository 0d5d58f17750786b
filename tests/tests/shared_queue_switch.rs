//! A queue in PostgreSQL whose primary and standby change places, in good order and by a crash.

use crate::shared_queue::{assert_empty, setup};
use blackbox::load::Clients;
use blackbox::postgres::Postgres;
use blackbox::server::refusal;
use blackbox::sink::Sink;
use blackbox::{wait_for, wait_for_secs};
use std::time::{Duration, Instant};

#[test]
fn whichever_is_the_primary_what_clients_were_told_holds() {
    let (mut one, sink) = (Postgres::start(), Sink::start());
    let mut other = one.synchronous_standby();
    // The second is asked first, always.
    let url = format!(
        "postgresql://postgres@127.0.0.1:{},127.0.0.1:{}/{}?target_session_attrs=read-write",
        other.port, one.port, one.name
    );
    let servers = [0, 1].map(|_| setup(&url, &sink.relay_config()).start());
    // A standby alone is no place for a queue.
    let (code, text) = refusal(&setup(&other.url(), &sink.relay_config()));
    assert!(code == 75 && text.contains("only reads"), "{code} {text}");
    let clients = Clients::start(8, &[servers[0].smtp, servers[1].smtp]);
    let load = clients.load.clone();
    let goes_on = |what: &str| {
        let before = load.acknowledged();
        let began = Instant::now();
        wait_for_secs(what, 60, || load.acknowledged() > before + 200);
        println!("{what}: after {:?}", began.elapsed());
    };
    goes_on("a load");
    // In good order: the one that was the primary comes back as the standby of the other.
    one.stop();
    other.promote();
    goes_on("the load, with the other as primary");
    one.follow(&other);
    assert_eq!(one.sql("SELECT pg_is_in_recovery()"), "t");
    goes_on("the load, with one as standby");
    // By a crash: it comes back as if it did not know, with what it had then. It may only read, and it is the first to be asked.
    // For the last second its standby hears nothing of it: what the primary alone has by then, nobody was told.
    one.shut_out_by(&other);
    std::thread::sleep(Duration::from_secs(1));
    other.crash();
    one.promote();
    goes_on("the load, with one as primary again");
    other.start_reading();
    one.break_connections();
    goes_on("the load, with another that only reads");
    // Whoever connects may ask it first, and goes on to the other at once.
    wait_for_secs("nobody to stay there", 10, || other.connections() == 0);
    let ledger = clients.end_with_ledger();
    assert!(!ledger.refused.is_empty(), "clients heard of it");
    for (number, refusal) in &ledger.refused {
        assert!(refusal.reply.starts_with("451 4.3.0 "), "{number}: {refusal:?}");
    }
    assert!(ledger.unheard.is_empty(), "broken off: {:?}", ledger.unheard);
    wait_for_secs("the queue to be empty", 120, || {
        servers[0].metric("smtp_queue_depth") == 0.0
    });
    ledger.assert_kept(&sink, "primary and standby changed places");
    assert_empty(&one);
    wait_for("two servers", || servers[1].metric("smtp_servers") == 2.0);
}
