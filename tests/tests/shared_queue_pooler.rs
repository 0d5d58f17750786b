//! One queue in PostgreSQL behind PgBouncer in transaction mode, which passes no hints on: what one server is told the other finds by itself. What
//! nobody waits for any more is ended through it, in TLS or not.

use crate::shared_queue::{ask_all_to_reload, assert_empty, generation, make_token, setup, status_for};
use crate::shared_queue_locked::leaves_nothing_behind;
use crate::webhooks::{SECRET, receiver, webhook};
use blackbox::load::{Clients, arrived};
use blackbox::postgres::{PgBouncer, Postgres};
use blackbox::server::Server;
use blackbox::sink::Sink;
use blackbox::tools::{certificates, run, swaks};
use blackbox::wire::{Wire, queue_id};
use blackbox::{wait_for, wait_for_secs};
use std::time::Instant;

/// Waits until something is known everywhere: two seconds are documented, the rest is for a machine that has much to do.
fn soon(what: &str, known: impl FnMut() -> bool) {
    let begun = Instant::now();
    wait_for_secs(what, 6, known);
    println!("{what}: after {} ms", begun.elapsed().as_millis());
}

/// Whether a server parks mail for a domain that it gets now. Else it is sent.
fn parks(server: &Server, domain: &str) -> bool {
    let to = format!("b@{domain}");
    let id = queue_id(&Wire::hello(server.smtp).mail("a@x.test", &[&to], "Subject: parked?\r\n\r\n"));
    let mut parked = None;
    wait_for("the message to be parked or sent", || {
        let shown = server.command(&["queue", "show", &id, "--output", "json"]);
        let text = String::from_utf8(shown.stdout).expect("UTF-8");
        parked = match shown.status.success() {
            true => text.contains("\"suspended\":true").then_some(true),
            false => Some(false),
        };
        parked.is_some()
    });
    parked == Some(true)
}

/// Suspensions, the directory, tokens and reloads: each is told one server, and in force at the other.
fn what_one_is_told_the_other_knows(servers: &mut [Server; 2], config: &str) {
    let [one, other] = servers;
    one.done(&["queue", "suspend", "--domain", "parked.test"]);
    assert!(parks(one, "parked.test"), "at once where it was said");
    soon("a suspension", || parks(other, "parked.test"));
    other.done(&["queue", "resume", "--domain", "parked.test"]);
    soon("its end", || !parks(one, "parked.test"));
    let account = ["account", "add", "ann", "--app", "--sender", "*@x.test"];
    let added = one.json(&account);
    let knows = |server: &Server| {
        let all = server.json(&["account", "list"]);
        all.iter().any(|account| account["name"] == "ann")
    };
    soon("an account", || knows(other));
    let mut submit = swaks(
        other.submission(),
        "ann",
        added[0]["secret"].as_str().expect("a secret"),
    );
    run(submit.args(["--from", "ann@x.test", "--to", "b@y.test"]));
    other.done(&["account", "remove", "ann"]);
    soon("that it is gone", || !knows(one));
    let token = make_token(one, "robot");
    soon("a token", || status_for(other, &token) == 200);
    other.done(&["token", "revoke", "robot"]);
    soon("that it is revoked", || status_for(one, &token) == 401);
    let before = generation(other);
    ask_all_to_reload(one);
    soon("a reload", || generation(other) == before + 1.0);
    // A webhook is in the configuration, which each reads when one of them was asked.
    let told = receiver(SECRET, "0", &["ok"]);
    for server in [&mut *one, &mut *other] {
        server.write_config(&format!("{config}{}", webhook("new", &told.url, "")));
    }
    ask_all_to_reload(one);
    soon("a webhook", || {
        let known = other.json(&["webhooks"]);
        known.iter().any(|webhook| webhook["name"] == "new")
    });
    Wire::hello(other.smtp).mail("a@x.test", &["b@y.test"], "Subject: told\r\n\r\n");
    wait_for("its first call", || !told.with("call").is_empty());
}

/// How often servers asked what others did.
fn looks(database: &Postgres) -> f64 {
    let sql = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query LIKE '%FROM directory%FROM servers%FROM recipients%'";
    database.sql(sql).parse().expect("a number")
}

#[test]
fn a_pooler_in_transaction_mode_is_enough() {
    let (database, sink) = (Postgres::start(), Sink::start());
    database.sql("CREATE EXTENSION pg_stat_statements");
    let authority = tempfile::tempdir().expect("a folder");
    certificates(authority.path());
    let path = |name: &str| authority.path().join(name);
    let [cert, key] =
        ["cert.pem", "key.pem"].map(|name| database.put(&path(name), name).display().to_string());
    let tls =
        format!("client_tls_sslmode = allow\nclient_tls_cert_file = {cert}\nclient_tls_key_file = {key}");
    let pooler = PgBouncer::with(&database, &tls);
    let config = format!("{}[storage]\npooler = true\n", sink.relay_config());
    // One finds it by its number: nobody knows that name.
    let (port, name) = (pooler.address.port(), &database.name);
    let numbered =
        format!("postgresql://postgres@pooler.test:{port}/{name}?sslmode=disable&hostaddr=127.0.0.1");
    let (url, roots) = (database.url_at(pooler.address), path("ca.pem"));
    let verified = format!("{url}?sslmode=verify-full&sslrootcert={}", roots.display());
    let mut servers = [numbered, verified].map(|url| setup(&url, &config).start());
    let clients = Clients::start(8, &[servers[0].smtp, servers[1].smtp]);
    wait_for("a load", || clients.load.acknowledged() > 500);
    let acknowledged = clients.end();
    servers[0].wait_empty();
    let copies = arrived(&sink);
    assert!(acknowledged.iter().all(|number| copies.get(number) == Some(&1)));
    for server in &servers {
        leaves_nothing_behind(server, &database);
    }
    let (before, begun) = (looks(&database), Instant::now());
    what_one_is_told_the_other_knows(&mut servers, &config);
    // Each waits two seconds at most between two looks, on the average and however much the machine has to do; a hint tells nobody sooner.
    let (asked, seconds) = (looks(&database) - before, begun.elapsed().as_secs_f64());
    let least = servers.len() as f64 * (seconds / 2.0).floor();
    assert!(asked >= least, "{asked} looks in {seconds} s");
    servers[0].wait_empty();
    for server in &servers {
        for event in ["store_failed", "hints_heard", "hints_lost"] {
            assert!(server.events(event).is_empty(), "{:?}", server.events(event));
        }
    }
    assert_empty(&database);
}
