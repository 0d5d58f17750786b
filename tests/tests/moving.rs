//! Everything moves from one database to another, and back.

use crate::shared_queue::assert_empty;
use crate::webhooks::{self, SECRET, receiver, webhook};
use blackbox::postgres::{PgBouncer, Postgres};
use blackbox::server::{Server, Setup, binary, files};
use blackbox::sink::{Act, Moment, Sink, put_off_while};
use blackbox::tools::{run, swaks};
use blackbox::wait_for_secs;
use blackbox::wire::{Wire, queue_id};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// `queue migrate`, with a folder for large bodies.
pub(crate) fn migrate(from: &str, to: &str, scratch: &Path) -> Command {
    let mut command = Command::new("/usr/bin/timeout");
    command.arg("120").arg(binary()).env_clear();
    command.args([
        "queue",
        "migrate",
        "--output",
        "json",
        "--from",
        from,
        "--to",
        to,
        "--scratch",
    ]);
    command.arg(scratch);
    command
}

/// Kills it as soon as it is in the middle.
pub(crate) fn kill_in_the_middle(mut command: Command, is_there: impl FnMut() -> bool) {
    let mut broken = command.spawn().expect("migrate");
    wait_for_secs("the move to be in the middle", 30, is_there);
    run(Command::new("/usr/bin/pkill").args(["-KILL", "-P", &broken.id().to_string()]));
    let status = broken.wait().expect("migrate");
    assert!(!status.success(), "it was through already");
}

/// Once more, when all was moved: nothing is.
fn moves_nothing(mut command: Command) {
    let nothing = json!({
        "messages": 0, "already_there": 0, "directory_records": 0, "suspensions_and_tokens": 0, "webhook_calls": 0, "left": [],
    });
    assert_eq!(moved(&run(&mut command)), nothing);
}

/// What it said that it moved.
pub(crate) fn moved(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A queue with all that belongs to one.
struct Full {
    /// Of the account `ann`.
    secret: String,
    messages: f64,
    seen: Vec<Value>,
}

impl Full {
    /// Fills a server's.
    fn new(server: &Server) -> Full {
        let account = server.json(&["account", "add", "ann", "--app", "--sender", "*@x.test"]);
        server.done(&["domain", "add", "z.test", "--deliver", "capture"]);
        server.done(&["alias", "add", "team@z.test", "b@y.test"]);
        server.done(&["queue", "suspend", "--domain", "waits.test", "--reason", "a move"]);
        server.done(&["token", "add", "robot", "--scope", "read"]);
        let mut client = Wire::hello(server.smtp);
        client.mail(
            "a@x.test",
            &["first@y.test", "b@y.test"],
            "Subject: half delivered\r\n\r\n",
        );
        client.mail("", &["c@waits.test"], "Subject: parked\r\n\r\n");
        let line = format!("{}\r\n", "y".repeat(70));
        let large = format!("Subject: large\r\n\r\n{}", line.repeat(30_000));
        client.mail("a@x.test", &["d@y.test"], &large);
        let held = queue_id(&client.mail("a@x.test", &["e@y.test"], "Subject: held\r\n\r\n"));
        wait_for_secs("deferrals", 30, || {
            let attempts = server.events("delivery");
            let deferred = attempts.iter().filter(|line| line["status"] == "deferred");
            deferred.count() >= 3
        });
        server.done(&["queue", "hold", &held]);
        // Many more, so that there is something to break off.
        for number in 0..2000 {
            let content = format!("Subject: {number}\r\n\r\n");
            client.mail("a@x.test", &["f@waits.test"], &content);
        }
        Full {
            secret: account[0]["secret"].as_str().expect("a secret").to_owned(),
            messages: server.metric("smtp_queue_depth"),
            seen: seen(server),
        }
    }

    /// A server has all of it, as it was.
    fn assert_in(&self, server: &Server) {
        assert_eq!(server.metric("smtp_queue_depth"), self.messages);
        assert_eq!(seen(server), self.seen);
        assert_eq!(server.queue(&["suspensions"])[0]["reason"], "a move");
        let tokens = server.json(&["token", "list"]);
        assert!(tokens.iter().any(|token| token["name"] == "robot"), "{tokens:?}");
        let shown = server.json(&["alias", "list"]);
        assert!(
            shown.iter().any(|alias| alias["name"] == "team@z.test"),
            "{shown:?}"
        );
    }
}

/// How many messages a database has; none before it has a table for them.
fn messages_in(database: &Postgres) -> f64 {
    let is_made = database.sql("SELECT count(*) FROM pg_class WHERE relname = 'messages'") == "1";
    let count = is_made.then(|| database.sql("SELECT count(*) FROM messages"));
    count.map_or(0.0, |count| count.parse().expect("a number"))
}

/// Out of a file, killed in the middle, and begun again with another folder, as a Job's next pod has.
fn move_in(from: &str, database: &Postgres, scratch: &Path, full: &Full) {
    kill_in_the_middle(migrate(from, &database.url(), scratch), || {
        messages_in(database) > 150.0
    });
    // Its entry among the servers is there for a minute, which whoever has another folder waits for. Most of it is over.
    database.sql("UPDATE servers SET seen = seen - 57000");
    let second = run(&mut migrate(
        from,
        &database.url(),
        &scratch.with_file_name("another"),
    ));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        said.contains("--to: a server used this database within the last minute"),
        "{said}"
    );
    let told = moved(&second);
    assert!(
        told["messages"]
            .as_f64()
            .is_some_and(|moved| moved < full.messages),
        "{told}"
    );
    assert_eq!(messages_in(database), full.messages);
    assert!(
        told["webhook_calls"].as_u64().is_some_and(|calls| calls >= 3),
        "{told}"
    );
    moves_nothing(migrate(from, &database.url(), scratch));
}

/// Into a file, through a pooler, killed in the middle, and begun again. Gives how many calls of webhooks were moved the second time.
fn move_out(database: &Postgres, to: &str, scratch: &Path) -> usize {
    let (pooler, before) = (PgBouncer::start(database), messages_in(database));
    let migrate = || {
        let mut migrate = migrate(&database.url_at(pooler.address), to, scratch);
        migrate.arg("--pooler");
        migrate
    };
    kill_in_the_middle(migrate(), || messages_in(database) < before - 150.0);
    let at_work = "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' AND datname = current_database() AND pid <> pg_backend_pid()";
    wait_for_secs("what it had begun to end", 30, || database.sql(at_work) == "0");
    let left = messages_in(database);
    let calls = database.sql("SELECT count(*) FROM webhook_calls");
    let calls: usize = calls.parse().expect("a number");
    let second = run(&mut migrate());
    // Whoever looks at its log sees how far it is. Its folder is the one that was killed: nothing is waited for.
    let progress = format!("moving: 100 of {left}\n");
    assert!(
        String::from_utf8_lossy(&second.stderr).starts_with(&progress),
        "{second:?}"
    );
    let told = moved(&second);
    let number = |name: &str| told[name].as_f64().expect("a number");
    assert_eq!(number("messages") + number("already_there"), left);
    assert_eq!(number("webhook_calls"), calls as f64);
    moves_nothing(migrate());
    assert_empty(database);
    calls
}

/// All that waits is let go, and arrives: so many recipients, besides the one that had it before.
fn deliver(server: &Server, sink: &Sink, recipients: f64) {
    server.done(&["queue", "release", "--all"]);
    server.done(&["queue", "resume", "--domain", "waits.test"]);
    server.done(&["queue", "retry", "--all"]);
    server.wait_empty();
    let messages = sink.messages();
    let all = messages.iter().flat_map(|message| &message.to);
    let all = all.filter(|to| !to.contains("first@")).count();
    assert_eq!(all as f64, recipients);
    assert!(messages.iter().any(|message| message.content.len() > 2_000_000));
}

/// What an operator sees of every message, but for the store's own numbers.
fn seen(server: &Server) -> Vec<Value> {
    let listed = server.queue(&["list"]);
    listed
        .iter()
        .take(30)
        .map(|one| {
            let mut shown = server.queue(&["show", one["id"].as_str().expect("id")]).remove(0);
            for recipient in shown["recipients"].as_array_mut().expect("recipients") {
                // Mail that is due is tried now and then.
                for passing in ["due", "due_in_seconds", "attempts", "last_result", "state"] {
                    if recipient["state"] != "held" {
                        recipient.as_object_mut().expect("object").remove(passing);
                    }
                }
            }
            shown
        })
        .collect()
}

/// Whoever is told that nothing was there to be moved takes it that the old database can go.
#[test]
fn nothing_moves_from_or_to_a_name_with_a_mistake_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("smtp.db"), "").expect("a new database");
    for (from, to) in [
        ("claim/smtp.db", "new.db"),
        (".", "new.db"),
        ("postgersql://ann:secret@h/x", "new.db"),
        ("smtp.db", "postgersql://ann:secret@h/x"),
    ] {
        let mut command = migrate(from, to, &folder.path().join("scratch"));
        let output = command.current_dir(&folder).output().expect("migrate");
        assert_eq!(output.status.code(), Some(64), "{from} to {to}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("secret"), "{said}");
        let there = std::fs::read_dir(folder.path()).expect("the folder");
        let there: Vec<_> = there.flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(there, ["smtp.db"], "something was made of it");
    }
    // A folder that somebody else has made where everybody can.
    let scratch = folder.path().join("scratch");
    std::fs::create_dir(&scratch).expect("the folder");
    run(Command::new("/bin/chown").arg("nobody").arg(&scratch));
    let mut command = migrate("smtp.db", "postgresql://ann@127.0.0.1:9/x", &scratch);
    let output = command.current_dir(&folder).output().expect("migrate");
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert_eq!(std::fs::read_dir(&scratch).expect("the folder").count(), 0);
}

#[test]
fn a_queue_moves_with_all_that_belongs_to_it_and_back() {
    let busy = Arc::new(AtomicBool::new(true));
    let puts_off = put_off_while(&busy);
    let sink = Sink::scripted(move |connection, moment| match moment {
        Moment::Command(line) if line.contains("first@") => Act::Default,
        _ => puts_off(connection, moment),
    });
    let folder = tempfile::tempdir().expect("a folder");
    let (data, scratch) = (folder.path().join("data"), folder.path().join("scratch"));
    // Nobody is there yet to hear of deferred mail.
    let hook = |url: &str| webhook("told", url, "events = [\"deferred\"]");
    let config = format!(
        "{}{}[delivery]\nretry_initial = 3600\nretry_max = 3600\n",
        sink.relay_config(),
        hook("http://127.0.0.1:1/")
    );
    let mut server = Setup::new(&config).data(&data).start();
    let full = Full::new(&server);
    assert!(server.stop().success());
    let database = Postgres::start();
    let from = data.join("smtp.db").display().to_string();
    move_in(&from, &database, &scratch, &full);
    assert_eq!(files(&data.join("bodies")), 0, "the old queue is empty");
    let config = config.replace("[delivery]", "[storage]\npool_size = 5\n[delivery]");
    let setup = Setup::new(&config).env("SMTP_DATABASE_URL", database.url());
    let mut server = setup.start();
    full.assert_in(&server);
    let mut submit = swaks(server.submission(), "ann", &full.secret);
    run(submit.args(["--from", "ann@x.test", "--to", "g@waits.test"]));
    // In use, nothing is moved from it.
    let refused = migrate(&database.url(), &from, &scratch)
        .output()
        .expect("migrate");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(75) && said.contains("stop them first"),
        "{refused:?}"
    );
    assert!(server.stop().success());
    // And back, into another file. There it is delivered.
    let other = folder.path().join("other");
    let calls = move_out(&database, &other.join("smtp.db").display().to_string(), &scratch);
    let hears = receiver(SECRET, "0", &["ok"]);
    let config = config.replace(&hook("http://127.0.0.1:1/"), &hook(&hears.url));
    let server = Setup::new(&config).data(&other).start();
    assert_eq!(seen(&server), full.seen);
    assert_eq!(server.metric("smtp_queue_depth"), full.messages + 1.0);
    busy.store(false, Ordering::SeqCst);
    deliver(&server, &sink, full.messages + 1.0);
    wait_for_secs("the calls", 30, || {
        server.metric("smtp_webhook_calls_waiting") == 0.0
    });
    assert_eq!(
        (hears.with("call").len(), webhooks::ids(&hears).len()),
        (calls, calls)
    );
    assert_eq!(files(&other.join("bodies")), 0);
}

#[test]
fn a_schema_is_brought_up_to_date_by_command_and_under_running_mail() {
    let (database, sink) = (Postgres::start(), Sink::start());
    let command = |args: &[&str]| {
        let mut command = Command::new(binary());
        command
            .args(args)
            .env_clear()
            .env("SMTP_DATABASE_URL", database.url());
        command.output().expect("migrate")
    };
    let dry = command(&["migrate", "--dry-run"]);
    let text = String::from_utf8_lossy(&dry.stdout).into_owned();
    assert!(
        dry.status.success() && text.contains("-- to version 1") && text.contains("CREATE TABLE messages"),
        "{dry:?}"
    );
    assert_eq!(
        database.sql("SELECT count(*) FROM pg_class WHERE relname = 'messages'"),
        "0",
        "only tried"
    );
    // A database as the first version made it, with mail in it.
    let first = include_str!("../../crates/queue/src/postgres/0001.sql");
    database.sql(&format!("BEGIN; CREATE TABLE schema_version (version integer NOT NULL); INSERT INTO schema_version VALUES (1); {first} COMMIT"));
    let insert = "INSERT INTO messages (key, id, received_at, sender, size, body_type, smtputf8, has_8bit, header_8bit, origin, content)
                  VALUES (nextval('message_keys'), uuid_send(gen_random_uuid()), 1790000000000, 'a@x.test', 14, 0, false, false, false, 'before',
                          convert_to(E'Subject: x\\r\\n\\r\\n', 'UTF8'))";
    for _ in 0..20 {
        database.sql(insert);
    }
    database.sql(
        "INSERT INTO recipients (message, idx, address, domain, state, attempts, due, epoch, delay_notified, parked)
         SELECT key, 0, 'b@y.test', 'y.test', 0, 0, 0, 0, false, false FROM messages",
    );
    let dry = command(&["migrate", "--dry-run"]);
    let text = String::from_utf8_lossy(&dry.stdout).into_owned();
    assert!(
        !text.contains("CREATE TABLE messages") && text.contains("-- to version 2"),
        "{text}"
    );
    // Three servers start at once: one migrates, none fails, the mail is delivered once.
    let config = format!("{}[delivery]\nexpire_after = 315360000\n", sink.relay_config());
    let servers: Vec<Server> = std::thread::scope(|scope| {
        let starting: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    Setup::new(&config)
                        .env("SMTP_DATABASE_URL", database.url())
                        .start()
                })
            })
            .collect();
        starting
            .into_iter()
            .map(|one| one.join().expect("start"))
            .collect()
    });
    wait_for_secs("the mail of before", 30, || {
        servers[0].metric("smtp_queue_depth") == 0.0
    });
    assert_eq!(sink.count(), 20);
    assert!(
        servers
            .iter()
            .all(|server| server.events("store_failed").is_empty())
    );
    let again = command(&["migrate"]);
    assert!(again.status.success() && again.stdout.is_empty(), "{again:?}");
    // Without a database to migrate it is a mistake.
    let none = Command::new(binary())
        .arg("migrate")
        .env_clear()
        .output()
        .expect("migrate");
    assert_eq!(none.status.code(), Some(64), "{none:?}");
}
