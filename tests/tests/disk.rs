//! The spool's disk: nearly full, full in the middle, taken by another process, on a network.

use blackbox::disk::Tmpfs;
use blackbox::server::{Server, Setup, files, refusal};
use blackbox::sink::Sink;
use blackbox::tools::{as_root, program, run};
use blackbox::wait_for;
use blackbox::wire::Wire;
use std::path::Path;

fn start(disk: &Tmpfs, sink: &Sink, min_free: u64) -> Server {
    let config = format!("{}[storage]\nmin_free = {min_free}\n", sink.relay_config());
    Setup::new(config).data(disk.join("data")).start()
}

#[test]
fn nearly_full_refuses_at_mail_and_recovers() {
    let disk = Tmpfs::new("24m");
    let sink = Sink::start();
    let server = start(&disk, &sink, 16 << 20);
    let mut wire = Wire::hello(server.smtp);
    wire.mail("a@x.test", &["b@y.test"], "text\r\n");
    // Declared sizes count before they come.
    let reply = wire.expect("MAIL FROM:<a@x.test> SIZE=20000000", 452);
    assert!(reply.lines[0].starts_with("4.3.1 "), "{reply:?}");
    std::fs::write(disk.join("data").join("filler"), vec![1; 10 << 20]).expect("filler");
    wait_for("452 at MAIL", || {
        let reply = wire.say("MAIL FROM:<a@x.test>");
        wire.say("RSET");
        reply.code == 452
    });
    wait_for("not ready", || server.get("/health/ready").0 == 503);
    assert_eq!(server.metric("smtp_ready"), 0.0);
    assert_eq!(server.metric("smtp_storage_size_bytes"), f64::from(24 << 20));
    let free = server.metric("smtp_storage_free_bytes");
    assert!(free > 0.0 && free < f64::from(14 << 20), "{free}");
    assert_eq!(server.get("/health/live").0, 200);
    std::fs::remove_file(disk.join("data").join("filler")).expect("remove");
    wait_for("ready again", || server.get("/health/ready").0 == 200);
    assert_eq!(server.metric("smtp_ready"), 1.0);
    assert_eq!(wire.mail("a@x.test", &["b@y.test"], "text\r\n").code, 250);
    sink.wait(2);
}

#[test]
fn full_in_the_middle_of_a_large_message_keeps_nothing_of_it() {
    let disk = Tmpfs::new("6m");
    let sink = Sink::start();
    let server = start(&disk, &sink, 0);
    let mut wire = Wire::hello(server.smtp);
    let large = format!(
        "Subject: large\r\n\r\n{}",
        format!("{}\r\n", "x".repeat(70)).repeat(150_000)
    );
    let reply = wire.mail("a@x.test", &["b@y.test"], &large);
    assert_eq!(reply.code, 452, "{reply:?}");
    assert!(reply.lines[0].starts_with("4.3.1 "), "{reply:?}");
    wait_for("nothing left of it", || {
        files(&disk.join("data").join("bodies")) == 0
    });
    // The session goes on, and so does the store.
    assert_eq!(wire.mail("a@x.test", &["b@y.test"], "small\r\n").code, 250);
    let messages = sink.wait(1);
    assert!(messages[0].text().contains("small"));
    server.wait_empty();
}

/// Signed mail is written with room for its signatures in front, which are filled in at the end.
#[test]
fn full_in_the_middle_of_a_message_that_is_signed_keeps_nothing_of_it() {
    let disk = Tmpfs::new("8m");
    let sink = Sink::start();
    let keys = tempfile::tempdir().expect("a folder");
    let key = keys.path().join("key.pem").display().to_string();
    run(program("/usr/bin/openssl").args(["genpkey", "-quiet", "-algorithm", "ed25519", "-out", &key]));
    let config = format!(
        "{}[storage]\nmin_free = 0\n[[dkim_keys]]\ndomain = \"x.test\"\nselector = \"s\"\nkey_file = \"{key}\"\n",
        sink.relay_config()
    );
    let server = Setup::new(config).data(disk.join("data")).start();
    let mut wire = Wire::hello(server.smtp);
    let content = |lines: usize| {
        let text = format!("{}\r\n", "x".repeat(70)).repeat(lines);
        format!("From: a@x.test\r\nSubject: signed\r\n\r\n{text}")
    };
    let reply = wire.mail("a@x.test", &["b@y.test"], &content(150_000));
    assert_eq!(reply.code, 452, "{reply:?}");
    wait_for("nothing left of it", || {
        files(&disk.join("data").join("bodies")) == 0
    });
    // One that fits is signed, in a file as well as in memory.
    for lines in [10_000, 1] {
        assert_eq!(wire.mail("a@x.test", &["b@y.test"], &content(lines)).code, 250);
    }
    for message in sink.wait(2) {
        let signature = message.field("DKIM-Signature").expect("a signature");
        assert!(signature.contains("d=x.test"), "{signature}");
    }
    server.wait_empty();
}

#[test]
fn full_at_the_commit_refuses_then_recovers() {
    let disk = Tmpfs::new("3m");
    // Nobody takes the mail: the disk fills with what was acknowledged.
    let nowhere = blackbox::ports::free_port();
    let config = |hop: std::net::SocketAddr| {
        format!(
            "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{hop}\"\n\
             [storage]\nmin_free = 0\n[delivery]\nretry_initial = 1\nretry_max = 1\n"
        )
    };
    let server = Setup::new(config(nowhere)).data(disk.join("data")).start();
    let mut wire = Wire::hello(server.smtp);
    let text = format!("{}\r\n", "x".repeat(70)).repeat(700);
    let mut taken = 0;
    let refused = loop {
        let reply = wire.say("MAIL FROM:<a@x.test>");
        if reply.code != 250 {
            break reply;
        }
        wire.expect("RCPT TO:<b@y.test>", 250);
        wire.expect("DATA", 354);
        wire.send(format!("X-Number: {taken}\r\n\r\n{text}"));
        let reply = wire.say(".");
        if reply.code != 250 {
            break reply;
        }
        taken += 1;
        assert!(taken < 500, "3 MiB cannot hold 25 MiB");
    };
    assert!(refused.code == 451 || refused.code == 452, "{refused:?}");
    assert!(taken > 5, "{taken}");
    // Killed when full, and started with room: what was acknowledged is there, and goes.
    let mut server = server;
    server.kill();
    disk.resize("64m");
    let sink = Sink::start();
    server.write_config(&config(sink.address));
    let server = server.restart();
    server.wait_empty();
    let numbers: std::collections::BTreeSet<_> = sink
        .messages()
        .iter()
        .map(|m| m.field("X-Number").expect("number"))
        .collect();
    for number in 0..taken {
        assert!(
            numbers.contains(&number.to_string()),
            "message {number} of {taken} was acknowledged, and is lost"
        );
    }
}

#[test]
fn a_second_process_is_refused() {
    let server = Server::with("");
    let setup = Setup::new("").data(server.data());
    let (code, text) = refusal(&setup);
    assert_eq!(code, 75, "{text}");
    assert!(text.contains("another process"), "{text}");
}

#[test]
fn a_network_file_system_is_refused() {
    // FUSE: what sshfs, s3fs and many CSI drivers are.
    let disk = Path::new("/usr/bin/bindfs");
    assert!(
        disk.exists(),
        "bindfs is missing: `cargo xtask peers` installs it"
    );
    let (real, seen) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    run(as_root("/usr/bin/bindfs").arg(real.path()).arg(seen.path()));
    let (code, text) = refusal(&Setup::new("").data(seen.path().join("data")));
    let _ = as_root("/bin/umount").arg("-l").arg(seen.path()).status();
    assert_eq!(code, 78, "{text}");
    assert!(
        text.contains("network file system") || text.contains("FUSE"),
        "{text}"
    );
}

#[test]
fn a_newer_or_foreign_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("smtp.db");
    std::fs::write(
        &path,
        b"this is no database, but somebody's only copy of something",
    )
    .expect("write");
    let (code, text) = refusal(&Setup::new("").data(folder.path()));
    assert_eq!(code, 74, "{text}");
    assert!(text.contains("smtp.db"), "{text}");
    assert!(
        std::fs::read(&path)
            .expect("read")
            .starts_with(b"this is no database")
    );
}
