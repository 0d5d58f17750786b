//! Mail that waits for a server: kept durably, sent on once by whoever comes first, and nobody's to disturb.

use blackbox::disk::Tmpfs;
use blackbox::ports::free_port;
use blackbox::sendmail::{Sendmail, mail_in};
use blackbox::server::{Server, Setup};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::tools::feed;
use blackbox::wait_for;
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

const MAIL: &str = "Subject: waits\n\nx\n";

/// A server that looks through the folder of `sendmail`, and relays to a sink.
fn looking(sendmail: &Sendmail, sink: &Sink) -> Server {
    let drop = sendmail.drop().display().to_string();
    Setup::new(sink.relay_config())
        .env("SMTP_SENDMAIL__DROP_PATH", drop)
        .start()
}

fn away() -> Sendmail {
    Sendmail::to(format!("smtp://{}", free_port()))
}

/// How often each subject arrived.
fn subjects(sink: &Sink) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for message in sink.messages() {
        *counts
            .entry(message.field("Subject").expect("Subject"))
            .or_default() += 1;
    }
    counts
}

#[test]
fn a_server_that_comes_back_finds_what_waits() {
    let sendmail = away();
    let args = ["-N", "never", "-f", "", "b@y.test", "c@y.test"];
    let said = sendmail.expect(&args, MAIL, 0);
    assert!(said.contains("waits as") && said.contains("refused"), "{said}");
    assert_eq!(sendmail.waiting().len(), 1);
    let sink = Sink::start();
    let server = looking(&sendmail, &sink);
    let message = sink.wait(1)[0].clone();
    assert_eq!(message.to.len(), 2);
    assert!(
        message.from.starts_with("<>") && message.to[0].ends_with("NOTIFY=NEVER"),
        "{message:?}"
    );
    wait_for("the folder to be empty", || sendmail.waiting().is_empty());
    // What comes while it runs is found, too.
    sendmail.expect(&["d@y.test"], "Subject: second\n\nx\n", 0);
    sink.wait(2);
    wait_for("the folder to be empty", || sendmail.waiting().is_empty());
    assert!(server.events("drop_refused").is_empty() && server.events("drop_ignored").is_empty());
}

#[test]
fn q_and_every_later_call_send_on_what_waits() {
    let address = free_port();
    let sendmail = Sendmail::to(format!("smtp://{address}"));
    sendmail.expect(&["b@y.test"], "Subject: 1\n\nx\n", 0);
    let said = sendmail.expect(&["-q"], "", 75);
    assert!(said.contains("1 waiting in"), "{said}");
    let usual = ["PIPELINING", "8BITMIME"];
    let sink = Sink::on(&address.to_string(), &usual, |_, _| Act::Default);
    sendmail.expect(&["-q"], "", 0);
    assert_eq!(sink.count(), 1);
    drop(sink);
    wait_for("the port to be free", || {
        std::net::TcpListener::bind(address).is_ok()
    });
    sendmail.expect(&["b@y.test"], "Subject: 2\n\nx\n", 0);
    let sink = Sink::on(&address.to_string(), &usual, |_, _| Act::Default);
    assert_eq!(sendmail.expect(&["b@y.test"], "Subject: 3\n\nx\n", 0), "");
    assert_eq!(
        subjects(&sink).into_iter().collect::<Vec<_>>(),
        [("2".into(), 1), ("3".into(), 1)]
    );
    assert!(sendmail.waiting().is_empty());
}

#[test]
fn only_those_wait_whom_the_server_put_off() {
    let sink = Sink::scripted(|connection, moment| match moment {
        Moment::Command(line) if line.contains("<late@") && connection < 2 => {
            Act::Say("451 4.2.1 later".into())
        }
        Moment::Command(line) if line.contains("<never@") => Act::Say("550 5.1.1 who?".into()),
        _ => Act::Default,
    });
    let sendmail = Sendmail::to(sink.url());
    let said = sendmail.expect(&["late@y.test", "never@y.test", "now@y.test"], MAIL, 67);
    assert!(
        said.contains("waits as") && said.contains("451 4.2.1 later"),
        "{said}"
    );
    assert_eq!(sink.count(), 1);
    assert_eq!(sendmail.waiting().len(), 1);
    assert_eq!(sink.connections(), 1);
    sendmail.expect(&["-q"], "", 0);
    let messages = sink.messages();
    assert_eq!((messages.len(), messages[1].to[0].as_str()), (2, "<late@y.test>"));
    assert!(sendmail.waiting().is_empty());
}

#[test]
fn what_is_refused_later_is_kept_beside_with_the_reason() {
    let sendmail = away();
    sendmail.expect(&["-f", "a@x.test", "never@y.test", "b@z.test"], MAIL, 0);
    let sink = Sink::start();
    let config = format!(
        "{}[[domains]]\nname = \"y.test\"\ndeliver = \"capture\"\nrecipients = \"known\"\n",
        sink.relay_config()
    );
    let drop = sendmail.drop().display().to_string();
    let server = Setup::new(config).env("SMTP_SENDMAIL__DROP_PATH", drop).start();
    let event = server.wait_event("drop_refused", |event| event["to"] == "never@y.test");
    assert_eq!(event["from"], "a@x.test");
    assert!(
        event["text"].as_str().expect("text").starts_with("550 5.1.1 "),
        "{event}"
    );
    assert_eq!(sink.wait(1)[0].to, ["<b@z.test>"]);
    wait_for("the folder to be empty", || sendmail.waiting().is_empty());
    let failed = mail_in(&sendmail.drop().join("failed"));
    assert_eq!(failed.len(), 1);
    let file = std::fs::read_to_string(sendmail.drop().join("failed").join(&failed[0])).expect("a file");
    assert!(
        file.contains("never@y.test") && file.contains("550 5.1.1") && !file.contains("b@z.test"),
        "{file}"
    );
}

#[test]
fn killed_while_it_queues_it_leaves_the_whole_message_or_none() {
    let sendmail = away();
    let mut left = Vec::new();
    for (call, when) in [
        ("write", 2),
        ("fchmod", 1),
        ("fsync", 1),
        ("rename", 1),
        ("fsync", 2),
        ("fsync", 0),
    ] {
        let mut strace = blackbox::tools::program("/usr/bin/strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
        if when > 0 {
            // As the call begins; it is not made.
            let inject = format!("inject={call}:error=EIO:signal=SIGKILL:when={when}");
            strace.args(["-e", &inject]);
        }
        strace.arg(sendmail.path()).arg("b@y.test");
        let before = sendmail.waiting().len();
        let output = feed(
            sendmail.env(&mut strace),
            format!("Subject: {call} {when}\n\nx\n"),
        );
        assert_eq!(output.status.success(), when == 0, "{call} {when}: {output:?}");
        if sendmail.waiting().len() > before {
            left.push(format!("{call} {when}"));
        }
    }
    // Only after the name was given, and of the one that was left alone.
    assert_eq!(left, ["fsync 2", "fsync 0"]);
    let sink = Sink::start();
    let server = looking(&sendmail, &sink);
    sink.wait(2);
    wait_for("the folder to be empty", || sendmail.waiting().is_empty());
    assert_eq!(subjects(&sink).into_values().collect::<Vec<_>>(), [1, 1]);
    assert!(server.events("drop_ignored").is_empty());
}

#[test]
fn many_who_send_on_at_once_send_each_once() {
    let sendmail = away();
    let count = 60;
    for number in 0..count {
        sendmail.expect(&["b@y.test"], &format!("Subject: {number}\n\nx\n"), 0);
    }
    let sink = Sink::start();
    let server = looking(&sendmail, &sink);
    let mut others: Vec<_> = (0..4)
        .map(|_| {
            let mut command = sendmail.command(&["-q"]);
            command.env("SMTP_SENDMAIL_URL", format!("smtp://{}", server.smtp));
            command.spawn().expect("start")
        })
        .collect();
    for other in &mut others {
        other.wait().expect("wait");
    }
    wait_for("the folder to be empty", || sendmail.waiting().is_empty());
    sink.wait(count);
    server.wait_empty();
    assert!(
        subjects(&sink).into_values().all(|times| times == 1),
        "{:?}",
        subjects(&sink)
    );
}

#[test]
fn who_comes_late_to_a_lock_sends_nothing() {
    let sendmail = away();
    sendmail.expect(&["b@y.test"], MAIL, 0);
    let sink = Sink::start();
    // It has opened the file, and waits before it asks for the lock.
    let log = sendmail.folder().join("log");
    let mut strace = blackbox::tools::program("/usr/bin/strace");
    strace.args([
        "-f",
        "-e",
        "trace=openat,flock",
        "-e",
        "inject=flock:delay_enter=3000000",
    ]);
    strace.arg("-o").arg(&log).arg(sendmail.path());
    strace.args(["-q", "--server", &sink.url()]);
    let mut late = sendmail.env(&mut strace).spawn().expect("start");
    let name = sendmail.waiting()[0].clone();
    wait_for("the file to be open", || {
        std::fs::read_to_string(&log).unwrap_or_default().contains(&name)
    });
    sendmail.expect(&["-q", "--server", &sink.url()], "", 0);
    assert!(late.wait().expect("wait").success());
    assert_eq!(sink.count(), 1);
}

#[test]
fn a_full_disk_is_75_and_keeps_nothing() {
    let disk = Tmpfs::new("256k");
    let folder = disk.join("data");
    std::fs::create_dir_all(&folder).expect("a folder");
    let sendmail = away();
    let path = folder.display().to_string();
    let mail = format!("Subject: s\n\n{}", "x\n".repeat(300_000));
    let said = sendmail.expect(&["--drop-folder", &path, "b@y.test"], &mail, 75);
    assert!(
        said.contains("cannot be kept in") && said.contains("b@y.test"),
        "{said}"
    );
    assert_eq!(std::fs::read_dir(&folder).expect("the folder").count(), 0);
    sendmail.expect(&["--drop-folder", &path, "b@y.test"], MAIL, 0);
    let nowhere = "/proc/nowhere";
    sendmail.expect(&["--drop-folder", nowhere, "b@y.test"], MAIL, 75);
}

#[test]
fn garbage_is_left_alone_and_stops_nobody() {
    let sendmail = away();
    sendmail.expect(&["b@y.test"], MAIL, 0);
    let drop = sendmail.drop();
    let mail = drop.join(&sendmail.waiting()[0]);
    let whole = std::fs::read(&mail).expect("the file");
    let name = |last: char| drop.join(format!("00000000000000000000000{last}AA"));
    std::fs::write(name('1'), "nonsense\n").expect("write");
    std::fs::write(name('2'), &whole[..whole.len() - 1]).expect("write");
    std::fs::create_dir(name('3')).expect("a folder");
    let outside = sendmail.folder().join("outside");
    std::fs::write(&outside, &whole).expect("write");
    let linked = sendmail.folder().join("linked");
    std::fs::write(&linked, &whole).expect("write");
    std::os::unix::fs::symlink(&linked, name('4')).expect("a link");
    std::fs::hard_link(&outside, name('5')).expect("a link");
    nix::unistd::mkfifo(&name('6'), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    std::fs::write(drop.join("notes.txt"), "mine").expect("write");
    // Sparse, and larger than any mail.
    std::fs::File::create(name('7'))
        .and_then(|file| file.set_len(1 << 40))
        .expect("a file");
    let sink = Sink::start();
    let server = looking(&sendmail, &sink);
    sink.wait(1);
    wait_for("the mail to be gone", || !mail.exists());
    wait_for("all to be said", || server.events("drop_ignored").len() >= 8);
    // Rounds later each was said once.
    sendmail.expect(&["b@y.test"], MAIL, 0);
    sink.wait(2);
    // The file goes when the server has taken its mail.
    let left = || std::fs::read_dir(&drop).expect("the folder").count();
    wait_for("the second mail to be gone", || left() == 8);
    assert_eq!(
        server.events("drop_ignored").len(),
        8,
        "{:?}",
        server.events("drop_ignored")
    );
    assert_eq!((sink.count(), left()), (2, 8));
    assert_eq!(std::fs::read(&outside).expect("outside"), whole);
}

#[test]
fn everybodys_folder_is_written_by_users_and_read_by_the_server_only() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test changes its user: run it as root"
    );
    let sendmail = away();
    let (drop, nobody) = (sendmail.drop(), 65534);
    std::fs::create_dir(&drop).expect("a folder");
    let copy = sendmail.folder().join("copy");
    std::fs::copy(blackbox::server::binary(), &copy).expect("a copy");
    for (path, mode) in [(sendmail.folder(), 0o755), (&copy, 0o755), (&drop, 0o1733)] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("permissions");
    }
    let as_nobody = |args: &[&str], input: &str| {
        let mut command = Command::new(&copy);
        std::os::unix::process::CommandExt::uid(&mut command, nobody);
        feed(sendmail.env(command.arg("sendmail").args(args)), input)
    };
    sendmail.expect(&["c@y.test"], MAIL, 0);
    let of_root = drop.join(&sendmail.waiting()[0]);
    let output = as_nobody(&["b@y.test"], MAIL);
    assert!(output.status.success(), "{output:?}");
    // It cannot see what is in there.
    assert_eq!(as_nobody(&["-q"], "").status.code(), Some(75));
    let names = sendmail.waiting();
    let mut paths = names.iter().map(|name| drop.join(name));
    let its = paths.find(|path| *path != of_root).expect("its file");
    let is = std::fs::metadata(&its).expect("its file");
    assert_eq!((is.uid(), is.mode() & 0o777), (nobody, 0o644));
    // What it may see but not remove it does not send on, or it would do so for ever.
    let sink = Sink::start();
    for (path, mode) in [(&drop, 0o1777), (&of_root, 0o644)] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("permissions");
    }
    let output = as_nobody(&["-q", "--server", &sink.url()], "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("is left alone: only its owner"), "{said}");
    assert_eq!(sink.wait(1)[0].to, ["<b@y.test>"]);
    assert_eq!(sendmail.waiting().len(), 1);
    // Where the folder hands its group on, a file is for that group and nobody else.
    std::fs::set_permissions(&drop, PermissionsExt::from_mode(0o3733)).expect("permissions");
    let output = as_nobody(&["d@y.test"], MAIL);
    assert!(output.status.success(), "{output:?}");
    let names = sendmail.waiting();
    let mut files = names
        .iter()
        .map(|name| std::fs::metadata(drop.join(name)).expect("a file"));
    let its = files.find(|is| is.uid() == nobody).expect("its file");
    assert_eq!(its.mode() & 0o777, 0o640);
    let _server = looking(&sendmail, &sink);
    sink.wait(3);
    wait_for("the folder to be empty", || sendmail.waiting().is_empty());
}

#[test]
fn a_foreign_folder_for_refused_mail_is_not_used() {
    let sendmail = away();
    sendmail.expect(&["never@y.test", "b@y.test"], MAIL, 0);
    let failed = sendmail.drop().join("failed");
    std::os::unix::fs::symlink(sendmail.folder(), &failed).expect("a link");
    let sink = Sink::scripted(|_, moment| match moment {
        Moment::Command(line) if line.contains("<never@") => Act::Say("550 5.1.1 who?".into()),
        _ => Act::Default,
    });
    let before = std::fs::read_dir(sendmail.folder()).expect("the folder").count();
    for _ in 0..2 {
        let said = sendmail.expect(&["-q", "--server", &sink.url()], "", 75);
        assert!(
            said.contains("never@y.test") && said.contains("belongs to somebody else"),
            "{said}"
        );
    }
    // Who has got it does not get it again; who was refused waits, and nothing was written where the link leads.
    assert_eq!(sink.wait(1)[0].to, ["<b@y.test>"]);
    assert_eq!(
        std::fs::read_dir(sendmail.folder()).expect("the folder").count(),
        before
    );
    std::fs::remove_file(&failed).expect("remove");
    sendmail.expect(&["-q", "--server", &sink.url()], "", 0);
    assert_eq!((mail_in(&failed).len(), sink.count()), (1, 1));
}

#[test]
fn mailq_shows_the_queue_and_what_waits_for_it() {
    let nowhere = free_port();
    let config = format!("[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{nowhere}\"\n");
    let server = Server::with(&config);
    let folder = tempfile::tempdir().expect("a folder");
    let drop = folder.path().join("drop").display().to_string();
    let mailq = |more: &[&str]| server.done(&[&["mailq", "--drop-folder", &drop], more].concat());
    assert_eq!(mailq(&[]), "Mail queue is empty\n");
    let queued = Sendmail::to(format!("smtp://{}", server.smtp));
    queued.expect(&["-f", "a@x.test", "b@y.test", "c@y.test"], MAIL, 0);
    wait_for("a reason", || mailq(&[]).contains("refused"));
    let waits = away();
    waits.expect(&["--drop-folder", &drop, "-f", "d@x.test", "e@y.test"], MAIL, 0);
    let shown = mailq(&[]);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("-Queue ID-"), "{shown}");
    assert!(lines[1].ends_with("  a@x.test"), "{shown}");
    assert!(
        lines[2].trim().starts_with('(') && lines[2].contains("refused"),
        "{shown}"
    );
    assert_eq!([lines[3].trim(), lines[4].trim()], ["b@y.test", "c@y.test"]);
    assert!(lines[6].ends_with("  d@x.test"), "{shown}");
    assert_eq!(lines.last(), Some(&"-- 1 Kbytes in 2 Requests."), "{shown}");
    let json = mailq(&["--output", "json"]);
    let values: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(values.len(), 2);
    assert_eq!(
        (&values[1]["recipients"][0]["state"], &values[1]["sender"]),
        (&"dropped".into(), &"d@x.test".into())
    );
    // sendmail -bp, and without a password: it says what it needs, and shows what it can.
    let mut bp = waits.command(&["-bp", "--drop-folder", &drop]);
    let output = bp.output().expect("run");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(78));
    assert!(err.contains("SMTP_ADMIN_PASSWORD"), "{err}");
    assert!(
        out.contains("d@x.test") && out.ends_with("-- 1 Kbytes in 1 Request.\n"),
        "{out}"
    );
    let mut program = Command::new(waits.folder().join("mailq"));
    assert!(waits.env(&mut program).output().expect("run").stdout.is_empty());
}
