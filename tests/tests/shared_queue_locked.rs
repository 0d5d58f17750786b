//! A queue in PostgreSQL of which somebody keeps a table: how many connections wait for it, and what becomes of mail.

use crate::shared_queue::{assert_empty, setup};
use crate::shared_queue_trials::{Fault, Heard, stand};
use blackbox::postgres::{Held, Postgres};
use blackbox::server::Server;
use blackbox::sink::Sink;
use blackbox::{wait_for, wait_for_secs};
use std::cell::{Cell, RefCell};
use std::process::Stdio;
use std::time::Duration;

/// Connections of the pool, and one for hints.
const MOST: usize = 5;

/// How many connections there are, but for those that are just being closed.
fn connections(database: &Postgres) -> usize {
    let count = database.connections();
    if count <= MOST {
        return count;
    }
    std::thread::sleep(Duration::from_millis(300));
    count.min(database.connections())
}

/// Somebody asks for what is locked, and goes away: a moment later nothing of that waits in the database any more. Nothing is to be queued.
pub(crate) fn leaves_nothing_behind(server: &Server, database: &Postgres) {
    let _keeper = database.lock("messages");
    let mut asks = server.prepared(&["queue", "list"]);
    let mut asking = asks.stdout(Stdio::null()).spawn().expect("the command");
    wait_for("its statement to wait", || database.is_awaited("messages"));
    asking.kill().expect("kill");
    asking.wait().expect("wait");
    wait_for_secs("nothing to wait any more", 5, || !database.is_awaited("messages"));
}

#[test]
fn whoever_keeps_a_table_is_waited_for_by_the_pool_and_no_more() {
    let (database, sink) = (Postgres::start(), Sink::start());
    let config = format!("{}[storage]\npool_size = {}\n", sink.relay_config(), MOST - 1);
    let server = setup(&database.url(), &config).start();
    let (keeper, most) = (RefCell::new(None::<Held>), Cell::new(0));
    let fault = Fault {
        name: "a table that somebody keeps",
        begin: &|| *keeper.borrow_mut() = Some(database.lock("messages")),
        meanwhile: &|| most.set(most.get().max(connections(&database))),
        end: &|| drop(keeper.take()),
        // Statements are waited for for 20 s; then others come in their place.
        lasts: Duration::from_secs(28),
        enough: &|| true,
        heard: Heard::AtEnd,
    };
    stand(&server, &sink, &fault);
    assert_eq!(most.get(), MOST, "all were used, and no more");
    assert_empty(&database);
}
