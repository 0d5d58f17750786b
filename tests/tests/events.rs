//! Events that need some trouble to be seen. That every event is seen in a run is looked at by `cargo xtask test`.

use blackbox::disk::Tmpfs;
use blackbox::ports::free_port;
use blackbox::server::{PASSWORD, Server, Setup};
use blackbox::sink::Sink;
use blackbox::tls::Tls;
use blackbox::tools::sql;
use blackbox::wait_for;
use blackbox::wire::{Wire, queue_id};
use serde_json::json;

#[test]
fn at_debug_every_step_of_a_session_is_a_line() {
    let sink = Sink::start();
    let setup = Setup::new(sink.relay_config()).env("SMTP_LOG_LEVEL", "debug");
    let server = setup.start();
    let mut wire = Wire::hello(server.smtp);
    let id = queue_id(&wire.mail("a@x.test", &["b@y.test"], "text\r\n"));
    wire.expect("QUIT", 221);
    drop(Tls::open(server.smtps(), false, &[]));
    for event in [
        "connected",
        "command",
        "committed",
        "disconnected",
        "tls_established",
    ] {
        server.wait_event(event, |_| true);
    }
    server.wait_event("removed", |line| line["id"] == id.as_str());
}

#[test]
fn a_variable_of_a_service_is_passed_over_with_a_warning() {
    let server = Setup::new("")
        .env("SMTP_SERVICE_PORT", "tcp://10.0.0.1:25")
        .start();
    let line = server.wait_event("config_warning", |_| true);
    assert!(
        line["warning"]
            .as_str()
            .expect("text")
            .contains("SMTP_SERVICE_PORT"),
        "{line}"
    );
}

#[test]
fn without_descriptors_accepting_pauses_and_goes_on() {
    let mut setup = Setup::new("[server]\nmax_connections = 1000\n");
    setup.under = ["/usr/bin/prlimit", "--nofile=70:70"].map(String::from).into();
    let server = setup.start();
    let mut open = Vec::new();
    wait_for("the last descriptor to be gone", || {
        open.extend(std::net::TcpStream::connect(server.smtp));
        !server.events("accept_failed").is_empty()
    });
    assert!(
        server.events("accept_failed")[0]["error"]
            .as_str()
            .expect("error")
            .contains("Too many open files")
    );
    drop(open);
    // Whoever waited is served once there is room.
    Wire::hello(server.smtp).expect("NOOP", 250);
}

#[test]
fn a_full_disk_costs_history_and_the_trail_and_says_so() {
    let disk = Tmpfs::new("24m");
    let config = format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{}\"\n[storage]\nmin_free = 4000000\n[logging]\nlevel = \"debug\"\n",
        free_port()
    );
    let server = Setup::new(config).data(disk.join("data")).start();
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<a@x.test>", 250);
    wire.expect("RCPT TO:<b@y.test>", 250);
    wire.expect("DATA", 354);
    // As much as fits.
    let filler = std::fs::File::create(disk.join("data").join("filler")).expect("filler");
    let mut filler = std::io::BufWriter::new(filler);
    while std::io::Write::write_all(&mut filler, &[1; 65536]).is_ok() {}
    wait_for("not ready", || server.get("/health/ready").0 == 503);
    wire.send("x".repeat(1500) + "\r\n");
    assert!(wire.say(".").code >= 500);
    assert!(
        server.wait_event("rejected", |_| true)["id"].is_string(),
        "it is a step of a message that never was"
    );
    server.wait_event("history_failed", |line| {
        line["error"].to_string().contains("nearly full")
    });
    server.wait_event("history_dropped", |_| true);
    // The change is made, and that the trail does not have it is said.
    assert_eq!(server.ask(Some(PASSWORD), "POST", "/api/v1/reload", "{}").0, 200);
    let line = server.wait_event("audit_failed", |_| true);
    assert_eq!(
        (&line["who"], &line["action"]),
        (&json!("admin"), &json!("reload"))
    );
    assert_eq!(server.get("/health/ready").0, 503);
    assert_eq!(server.get("/health/live").0, 200);
    drop(filler);
    std::fs::remove_file(disk.join("data").join("filler")).expect("remove");
    wait_for("ready again", || server.get("/health/ready").0 == 200);
    let id = queue_id(&Wire::hello(server.smtp).mail("a@x.test", &["b@y.test"], "text\r\n"));
    // It keeps again.
    server.done(&["history", "show", &id]);
}

#[test]
fn a_reader_that_is_stuck_costs_lines_and_that_is_said() {
    let mut setup = Setup::new("").env("SMTP_LOG_LEVEL", "debug");
    // The reader stops behind `ready` and goes on when the file is there.
    let go = tempfile::tempdir().expect("folder");
    let go = go.path().join("go");
    let reader = format!(
        "sed -u '/\"event\":\"ready\"/q'; for turn in $(seq 900); do [ -e '{}' ] && break; sleep 0.1; done; exec cat",
        go.display()
    );
    setup.under = ["/bin/bash", "-c", &format!("exec \"$@\" > >({reader})"), "bash"]
        .map(String::from)
        .into();
    let server = setup.start();
    let commands = "NOOP\r\n".repeat(20) + "QUIT\r\n";
    wait_for("lines to be dropped", || {
        for _ in 0..50 {
            let mut wire = Wire::hello(server.smtp);
            wire.send(&commands);
            (0..20).for_each(|_| assert_eq!(wire.reply().code, 250));
        }
        server.metric("smtp_log_lines_dropped_total") > 0.0
    });
    std::fs::write(&go, "").expect("go");
    let line = server.wait_event("log_dropped", |_| true);
    assert!(line["lines"].as_u64().expect("lines") > 0);
}

#[test]
fn a_result_that_the_store_never_takes_is_set_aside() {
    let sink = Sink::start();
    let closed = format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{}\"\n",
        free_port()
    );
    let mut server = Server::with(&closed);
    let id = queue_id(&Wire::hello(server.smtp).mail("a@x.test", &["spoilt@y.test"], "text\r\n"));
    Wire::hello(server.smtp).mail("a@x.test", &["b@y.test"], "text\r\n");
    wait_for("both to be deferred", || {
        server.metric("smtp_queue_recipients{state=\"deferred\"}") == 2.0
    });
    assert!(server.stop().success());
    // The database does not let go of one recipient, whatever happens to it.
    let spoil = "CREATE TRIGGER spoilt BEFORE DELETE ON recipients \
                 WHEN OLD.address = 'spoilt@y.test' BEGIN SELECT RAISE(ABORT, 'spoilt'); END";
    sql(&server.data().join("smtp.db"), spoil);
    server.write_config(&sink.relay_config());
    let server = server.restart();
    server.done(&["queue", "retry", "--all"]);
    sink.wait(2);
    // That the store takes others' results is what shows whose fault it is.
    wait_for("it to be set aside", || {
        Wire::hello(server.smtp).mail("a@x.test", &["c@y.test"], "text\r\n");
        std::thread::sleep(std::time::Duration::from_millis(300));
        !server.events("result_set_aside").is_empty()
    });
    let line = server.wait_event("result_set_aside", |_| true);
    assert_eq!(
        (&line["id"], &line["recipients"]),
        (&json!(id), &json!(1)),
        "{line}"
    );
    // The others are not held up by it.
    wait_for("the others to be gone", || {
        server.metric("smtp_queue_depth") == 1.0
    });
}
