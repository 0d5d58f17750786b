//! A queue in PostgreSQL whose database cannot do what it is asked, for a while: what clients are told, and what becomes of what they sent.

use crate::shared_queue::{assert_empty, setup};
use blackbox::disk::{Filler, Tmpfs};
use blackbox::load::{Clients, Ledger, Load, send_again};
use blackbox::postgres::{Cut, Held, Postgres, Proxy};
use blackbox::server::Server;
use blackbox::sink::Sink;
use blackbox::wire::Wire;
use blackbox::{wait_for, wait_for_secs};
use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

/// Messages that are taken before it begins, and after its end.
const MESSAGES: usize = 200;
/// What a client is told, and nothing else.
const REFUSED: &str = "451 4.3.0 ";
/// So long a client that has sent its content waits before its dot.
const AT_DOT: Duration = Duration::from_secs(10);
/// Whoever is in doubt for longer may refuse what is stored: the database is to answer before, counted from when it may have begun not to.
const DOUBT: Duration = Duration::from_secs(18);
/// Most of what was refused that is sent again.
const AGAIN: usize = 50;

/// Something that keeps the database from doing what it is asked.
pub(crate) struct Fault<'f> {
    pub(crate) name: &'static str,
    /// Begins it, and comes back when it has begun.
    pub(crate) begin: &'f dyn Fn(),
    /// Called again and again while it lasts.
    pub(crate) meanwhile: &'f dyn Fn(),
    pub(crate) end: &'f dyn Fn(),
    /// How long it lasts at least.
    pub(crate) lasts: Duration,
    /// Whether it may end then.
    pub(crate) enough: &'f dyn Fn() -> bool,
    pub(crate) heard: Heard,
}

/// Who has to hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The database answers: contents are refused.
    AtEnd,
    /// Connections break: whoever begins is refused, and what is at its end may wait for certainty.
    AtMail,
    /// The database answers, connections break one by one: whether anybody hears of it is chance.
    ByChance,
}

/// Numbered mail comes before it, while it lasts, and after it. Clients are told 451 4.3.0 and nothing else; the server lives; mail is taken again
/// without anybody's help. What was acknowledged arrives once; what was refused does not, until its client sends it again.
pub(crate) fn stand(server: &Server, sink: &Sink, fault: &Fault<'_>) {
    sink.clear();
    let clients = Clients::start(8, &[server.smtp]);
    let load = clients.load.clone();
    wait_for_secs("a load", 60, || load.acknowledged() > MESSAGES);
    load.halt();
    let began = Instant::now();
    (fault.begin)();
    bear(server, &load, fault, began);
    assert_eq!(server.get("/health/live").0, 200, "{}", fault.name);
    (fault.end)();
    let (ended, before) = (Instant::now(), load.acknowledged());
    let lasted = ended - began;
    let doubtless = fault.heard != Heard::AtMail || lasted < DOUBT;
    assert!(doubtless, "{}: {lasted:?}", fault.name);
    wait_for_secs(&format!("mail after {}", fault.name), 60, || {
        load.acknowledged() > before + MESSAGES
    });
    let mended = ended.elapsed();
    let ledger = clients.end_with_ledger();
    println!(
        "{}: {lasted:?}, mended after {mended:?}; {} acknowledged, {} refused, {} of them at their end",
        fault.name,
        ledger.acknowledged.len(),
        ledger.refused.len(),
        ledger.refused_at_end().len()
    );
    judge(server, sink, fault, ledger);
}

/// Until clients have heard of it.
fn bear(server: &Server, load: &Load, fault: &Fault<'_>, began: Instant) {
    wait_for_secs(fault.name, 60, || {
        (fault.meanwhile)();
        let ledger = load.ledger();
        let halts = fault.heard != Heard::ByChance && ledger.refused.is_empty();
        if !halts || began.elapsed() > AT_DOT {
            load.go_on();
        }
        let heard = match fault.heard {
            Heard::AtEnd => !ledger.refused_at_end().is_empty(),
            Heard::AtMail => is_refused(server, fault),
            Heard::ByChance => true,
        };
        heard && began.elapsed() >= fault.lasts && (fault.enough)()
    });
    load.go_on();
}

/// Whether one who begins is told to come again.
fn is_refused(server: &Server, fault: &Fault<'_>) -> bool {
    let reply = Wire::hello(server.smtp).say("MAIL FROM:<a@x.test>");
    let refused = reply.code == 451 && reply.text().starts_with("4.3.0 ");
    assert!(refused || reply.code == 250, "{}: {reply:?}", fault.name);
    refused
}

/// What was told is compared with what came.
fn judge(server: &Server, sink: &Sink, fault: &Fault<'_>, mut ledger: Ledger) {
    let name = fault.name;
    assert!(
        ledger.unheard.is_empty(),
        "{name}: broken off: {:?}",
        ledger.unheard
    );
    for (number, refusal) in &ledger.refused {
        assert!(
            refusal.reply.starts_with(REFUSED),
            "{name}: {number}: {refusal:?}"
        );
    }
    wait_for_secs("the queue to be empty", 120, || {
        server.metric("smtp_queue_depth") == 0.0
    });
    ledger.assert_kept(sink, name);
    let aside = server.events("result_set_aside");
    assert!(aside.is_empty(), "{name}: no result was to blame: {aside:?}");
    let before = sink.count();
    let again: Vec<u64> = ledger.refused_at_end().into_iter().take(AGAIN).collect();
    for &number in &again {
        send_again(server.smtp, number);
        ledger.refused.remove(&number);
        ledger.acknowledged.insert(number);
    }
    sink.wait(before + again.len());
    server.wait_empty();
    ledger.assert_kept(sink, name);
}

#[test]
fn what_clients_were_told_holds_whatever_the_database_cannot_do() {
    const CONNECTIONS: usize = 12;
    let (data, log) = (Tmpfs::new("160m"), Tmpfs::new("80m"));
    let settings = "max_connections = 16\nsuperuser_reserved_connections = 4\nmax_wal_size = 32MB\nmin_wal_size = 2MB\nwal_recycle = off\n";
    let database = RefCell::new(Postgres::on_disks(data.path(), log.path(), settings));
    let sql = |sql: &str| database.borrow().sql(sql);
    sql("CREATE ROLE mail LOGIN");
    sql("CREATE ROLE other LOGIN");
    sql("GRANT ALL ON SCHEMA public TO mail");
    let sink = Sink::start();
    let proxy = Proxy::before(database.borrow().address());
    let (url, config) = {
        let database = database.borrow();
        let url = format!("postgresql://mail@{}/{}", proxy.address, database.name);
        (url, format!("{}[storage]\npool_size = 8\n", sink.relay_config()))
    };
    let server = setup(&url, &config).start();
    let set = |setting: &str| database.borrow().reconfigure(setting);
    let (filler, hogs) = (RefCell::new(None::<Filler>), RefCell::new(Vec::<Held>::new()));
    let take_one = || {
        let one = database.borrow().hold_connection("other");
        let is_one = one.is_some();
        hogs.borrow_mut().extend(one);
        is_one
    };
    let take_all_connections = || {
        // Those that nobody has. Only then are ours kept out, until the others have them all: doubt begins with that.
        while take_one() {}
        sql("ALTER ROLE mail CONNECTION LIMIT 0");
        wait_for("all connections to be taken", || {
            database.borrow().break_connections();
            take_one();
            hogs.borrow().len() == CONNECTIONS
        });
        sql("ALTER ROLE mail CONNECTION LIMIT -1");
        assert!(
            database.borrow().hold_connection("mail").is_none(),
            "none is left"
        );
    };
    let brief = Fault {
        name: "",
        begin: &|| (),
        meanwhile: &|| (),
        end: &|| (),
        lasts: Duration::from_secs(2),
        enough: &|| true,
        heard: Heard::AtEnd,
    };
    // Of a change that stores messages. A claim whose answer is lost would keep its mail for a minute.
    let lost = Cell::new(0);
    let lose_an_answer = || {
        if proxy.is_done() {
            lost.set(lost.get() + 1);
            proxy.cut(Cut::Answer(b"X-Number: ".to_vec()));
        }
    };
    let faults = [
        Fault {
            name: "answers that are lost",
            meanwhile: &lose_an_answer,
            lasts: Duration::from_secs(4),
            enough: &|| lost.get() >= 10,
            heard: Heard::ByChance,
            ..brief
        },
        Fault {
            name: "a full disk",
            begin: &|| *filler.borrow_mut() = Some(data.fill()),
            end: &|| drop(filler.take()),
            ..brief
        },
        Fault {
            name: "statements that time out",
            begin: &|| set("statement_timeout = 1ms"),
            end: &|| set("statement_timeout = 0"),
            ..brief
        },
        Fault {
            name: "a database that only reads",
            begin: &|| set("default_transaction_read_only = on"),
            end: &|| set("default_transaction_read_only = off"),
            ..brief
        },
        Fault {
            name: "no connection left",
            begin: &take_all_connections,
            end: &|| hogs.borrow_mut().clear(),
            heard: Heard::AtMail,
            ..brief
        },
        Fault {
            // It crashes, and gives up when it cannot even write that.
            name: "no room for the database's log",
            begin: &|| *filler.borrow_mut() = Some(log.fill()),
            end: &|| {
                drop(filler.take());
                database.borrow_mut().start_if_it_ended();
            },
            heard: Heard::AtMail,
            ..brief
        },
    ];
    for fault in &faults {
        stand(&server, &sink, fault);
        assert_empty(&database.borrow());
    }
}
