//! Texts that mean something to SQL, wherever anybody can say something: in mail and by next hops, in logins, before a proxy's connection, by
//! commands, by the API and in the console's forms. They mean nothing: what is kept is as it was, nothing of them is in a statement, nobody waits
//! for a sleep of the database's, and where they are shown they are shown as they were given.

mod logins;
mod mail;
mod pages;
mod requests;

use crate::api::keeps_its_promises;
use crate::shared_queue::setup;
use blackbox::injection::{MARK, SETTINGS, SLEEP, Witness, texts};
use blackbox::postgres::Postgres;
use blackbox::server::Server;
use blackbox::sink::Sink;
use blackbox::wait_for;
use blackbox::wire::{Wire, queue_id};
use serde_json::Value;
use std::time::{Duration, Instant};

/// What is asked is answered long before a sleep would have ended.
fn in_time<T>(what: &str, asked: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let answer = asked();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(SLEEP / 2), "{what} took {took:?}");
    answer
}

/// The server; before one of its listeners is a proxy, at 127.0.0.9, and a webhook does not answer.
fn server(database: &Postgres, sink: &Sink) -> Server {
    let hook = format!(
        "http://127.0.0.1:1/'%3B%20DROP%20TABLE%20webhook_calls%3B%20--{MARK}?q=')%3BSELECT%20pg_sleep(20)--"
    );
    let config = format!(
        "{}[smtps]\nproxy_protocol = \"v2\"\nproxy_networks = [\"127.0.0.9\"]\n[auth]\nlock_after = 1000\n\
         [[domains]]\nname = \"here.test\"\ndeliver = \"capture\"\n\
         [[webhooks]]\nname = \"hook\"\nurl = \"{hook}\"\nsecret = \"whsec_bmV3IHNlY3JldCBvZiB0aGlydHktdHdvIG9jdGV0cw==\"\n\
         events = [\"bounced\"]\n",
        sink.relay_config()
    );
    // Nothing is tried again while it is looked at.
    let setup = setup(&database.url(), &config);
    let slow = setup.config.replace(
        "retry_initial = 1\nretry_max = 2\n",
        "retry_initial = 3600\nretry_max = 3600\n",
    );
    Server::start(blackbox::server::Setup {
        config: slow,
        ..setup
    })
}

/// What is kept: a message that is held, and one of everything else.
fn keep(server: &Server) {
    let reply = Wire::hello(server.smtp).mail("keep@x.test", &["keep@later.test"], "Subject: kept\r\n\r\n");
    let id = queue_id(&reply);
    server.wait_event("delivery", |line| line["id"] == id.as_str());
    for args in [
        &["queue", "hold", "--sender", "keep@x.test"][..],
        &["queue", "suspend", "--domain", "keep.test"],
        &["domain", "add", "keep.test", "--deliver", "capture"],
        &["account", "add", "keep", "--app"],
        &["alias", "add", "keep@here.test", "a@x.test"],
        &["token", "add", "keep", "--scope", "read"],
    ] {
        server.done(args);
    }
    server.json(&["history", "show", &id]);
}

/// By commands: the filters of each, and what it names.
fn by_commands(server: &Server) {
    let filters = [
        "--sender",
        "--domain",
        "--recipient",
        "--reason",
        "--account",
        "--older-than",
    ];
    let texts = texts();
    for text in texts.iter().filter(|text| !text.contains('\0')).step_by(5) {
        let text = text.as_str();
        let run = |args: &[&str]| {
            let output = in_time(&format!("{args:?}"), || server.command(args));
            // Nothing is meant by it, or it is refused as what it is.
            let code = output.status.code().unwrap_or(-1);
            assert!([0, 64, 65, 78].contains(&code), "{args:?}: {output:?}");
            output
        };
        for action in ["list", "delete", "retry", "bounce", "hold", "release", "stats"] {
            for filter in filters {
                run(&["queue", action, filter, text]);
            }
        }
        for action in ["show", "delete", "retry", "bounce", "hold", "release"] {
            run(&["queue", action, "--", text]);
        }
        for kind in ["--domain", "--sender", "--account", "--destination"] {
            run(&["queue", "suspend", kind, text, "--reason", text]);
            run(&["queue", "resume", kind, text]);
        }
        for filter in [
            "--sender",
            "--recipient",
            "--message-id",
            "--account",
            "--newer-than",
        ] {
            run(&["history", "list", filter, text]);
        }
        run(&["history", "show", "--", text]);
        for what in ["account", "domain", "token"] {
            run(&[what, "add", "--", text]);
        }
        run(&["alias", "add", "--", text, text]);
    }
}

/// Each table has as many rows as what was said makes.
fn as_many_as_were_made(database: &Postgres, server: &Server, received: usize) {
    let count = |table: &str| -> usize {
        let count = database.sql(&format!("SELECT count(*) FROM {table}"));
        count.parse().expect("a number")
    };
    for (table, rows) in [
        ("messages", 1),
        ("recipients", 1),
        ("bodies", 0),
        ("uploads", 0),
        ("servers", 1),
    ] {
        wait_for(table, || count(table) == rows);
    }
    // Each change by an operator is in the trail; each message that had an id, and each report, in history; each bounce is told.
    let lines = |event: &str, meant: fn(&Value) -> bool| {
        server.events(event).iter().filter(|line| meant(line)).count()
    };
    let named = |event: &str| lines(event, |line| line["id"].is_string());
    wait_for("the trail", || count("audit") == lines("admin_action", |_| true));
    wait_for("history", || {
        count("history") == received + named("dsn_queued") + named("rejected")
    });
    wait_for("calls of the webhook", || {
        count("webhook_calls") == lines("delivery", |line| line["status"] == "bounced")
    });
}

#[test]
fn what_means_something_to_sql_means_nothing_wherever_it_is_said() {
    let database = Postgres::with(SETTINGS);
    let sink = mail::talkative();
    let server = server(&database, &sink);
    keep(&server);
    let witness = Witness::of(&database);
    let received = mail::by_clients(&server, &sink) + mail::by_next_hops(&server, &sink);
    logins::and_proxies(&server);
    by_commands(&server);
    requests::to_the_api(&server);
    pages::of_the_console(&server);
    as_many_as_were_made(&database, &server, received + 1);
    witness.assert_unharmed(&database);
    // Requests that fit the API's description, and such as nearly do: they may change what they like, but nothing breaks. What else there is to
    // find out about shapes does not depend on the store.
    keeps_its_promises(&server, 2, &["--phases", "examples,fuzzing"]);
    witness.assert_sound(&database);
    let failed = server.events("store_failed");
    assert!(failed.is_empty(), "{failed:?}");
}
