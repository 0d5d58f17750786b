//! Accounts, aliases and quotas from the configuration: who may send what, and to whom mail for an address goes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use blackbox::server::{Server, Setup, refusal};
use blackbox::tools::{self, maildir, program, run};
use blackbox::wait_for;
use blackbox::wire::Wire;
use std::process::Command;

const PASSWORD: &str = "Correct horse 5";

/// Mailboxes of `local.test` below the store's folder; known ones only.
fn domain(folder: &str) -> String {
    format!("[[domains]]\nname = \"local.test\"\ndeliver = \"maildir:{folder}/{{local}}\"\n")
}

fn account(name: &str, more: &str) -> String {
    format!("[[accounts]]\nname = \"{name}\"\npassword = \"{PASSWORD}\"\n{more}\n")
}

fn swaks(server: &Server, user: &str, args: &[&str]) -> Command {
    let mut swaks = tools::swaks(server.submission(), user, PASSWORD);
    swaks.args(args);
    swaks
}

/// Runs a client that is refused; gives the transcript.
fn refused(command: &mut Command) -> String {
    let output = command.output().expect("start");
    assert!(!output.status.success());
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn an_account_sends_as_itself_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = domain(&folder.path().display().to_string())
        + &account("ann@local.test", "senders = [\"*@team.test\"]")
        + &account("bob@local.test", "");
    let server = Server::with(&config);
    let to = ["--to", "bob@local.test"];
    for from in ["bob@local.test", "ann@elsewhere.test", "x@sub.team.test"] {
        let said = refused(swaks(&server, "ann@local.test", &to).args(["--from", from]));
        assert!(said.contains("553 5.7.1"), "{said}");
    }
    let header = ["--from", "ann@local.test", "--header", "From: boss@local.test"];
    let said = refused(swaks(&server, "ann@local.test", &to).args(header));
    assert!(said.contains("550 5.7.1"), "{said}");
    for from in ["ann@local.test", "ann+news@local.test", "any@team.test"] {
        run(swaks(&server, "ann@local.test", &to).args(["--from", from]));
    }
    wait_for("the mails", || maildir(&folder.path().join("bob")).len() == 3);
    assert_eq!(
        server.metric("smtp_messages_rejected_total{reason=\"sender_denied\"}"),
        4.0
    );
}

#[test]
fn a_quota_is_told_with_the_time_to_wait() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = domain(&folder.path().display().to_string())
        + &account("ann@local.test", "quota = [\"1/hour\", \"recipients:3/day\"]");
    let server = Server::with(&config);
    let args = ["--from", "ann@local.test", "--to", "ann@local.test"];
    run(&mut swaks(&server, "ann@local.test", &args));
    let said = refused(&mut swaks(&server, "ann@local.test", &args));
    assert!(
        said.contains("450 4.7.1") && said.contains("try again in "),
        "{said}"
    );
    assert!(said.contains("1/hour"), "{said}");
}

#[test]
fn recipients_of_a_local_domain_are_known_or_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = domain(&folder.path().display().to_string())
        + &account("ann@local.test", "")
        + &account("bob@local.test", "")
        + "[[aliases]]\nname = \"sales@local.test\"\nto = [\"team@local.test\"]\n\
           [[aliases]]\nname = \"team@local.test\"\nto = [\"ann@local.test\", \"bob@local.test\"]\n";
    let server = Server::with(&config);
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<x@client.test>", 250);
    for unknown in [
        "nobody@local.test",
        "an@local.test",
        "x@sub.local.test",
        "ann@local",
    ] {
        let reply = wire.say(&format!("RCPT TO:<{unknown}>"));
        let wanted = if unknown.ends_with("@local.test") {
            (550, "5.1.1")
        } else {
            (554, "5.7.1")
        };
        assert_eq!((reply.code, &reply.text()[..5]), wanted, "{unknown}");
    }
    for known in [
        "SALES@local.test",
        "ann+x@local.test",
        "Postmaster@local.test",
        "abuse@local.test",
    ] {
        wire.expect(&format!("RCPT TO:<{known}>"), 250);
    }
    wire.expect("DATA", 354);
    wire.expect("Subject: x\r\n\r\nx\r\n.", 250);
    // Postmaster and abuse are the first account's.
    wait_for("the mails", || {
        maildir(&folder.path().join("ann")).len() == 2 && maildir(&folder.path().join("bob")).len() == 1
    });
    server.wait_empty();
    let original = server.wait_event("delivery", |line| line["to"] == "bob@local.test");
    assert_eq!(original["orig_to"], "SALES@local.test");
}

#[test]
fn a_domain_may_catch_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = domain(&folder.path().display().to_string())
        + &account("ann@local.test", "")
        + "[[aliases]]\nname = \"@local.test\"\nto = [\"ann@local.test\"]\n";
    let server = Server::with(&config);
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<x@client.test>", 250);
    for any in ["whoever@local.test", "\"a b\"@local.test", "ann@local.test"] {
        wire.expect(&format!("RCPT TO:<{any}>"), 250);
    }
    wire.expect("DATA", 354);
    wire.expect("Subject: x\r\n\r\nx\r\n.", 250);
    wait_for("one copy", || maildir(&folder.path().join("ann")).len() == 1);
    server.wait_empty();
    assert_eq!(maildir(&folder.path().join("ann")).len(), 1);
}

#[test]
fn aliases_that_lead_in_a_circle_end_the_start() {
    let config = domain("/tmp/unused")
        + "[[aliases]]\nname = \"a@local.test\"\nto = [\"b@local.test\"]\n\
           [[aliases]]\nname = \"b@local.test\"\nto = [\"a@local.test\"]\n";
    let (code, said) = refusal(&Setup::new(config));
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("aliases[0].to: it leads back to itself"), "{said}");
}

#[test]
fn a_reload_takes_accounts_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let domain = domain(&folder.path().display().to_string());
    let mut server = Server::with(&(domain.clone() + &account("ann@local.test", "")));
    let known = |server: &Server, address: &str| {
        let mut wire = Wire::hello(server.smtp);
        wire.expect("MAIL FROM:<x@client.test>", 250);
        wire.say(&format!("RCPT TO:<{address}>")).code == 250
    };
    assert!(!known(&server, "bob@local.test"));
    server.write_config(&(domain.clone() + &account("bob@local.test", "")));
    server.signal(nix::sys::signal::Signal::SIGHUP);
    server.wait_event("config_reloaded", |_| true);
    assert!(known(&server, "bob@local.test") && !known(&server, "ann@local.test"));
    let circle = "[[aliases]]\nname = \"a@local.test\"\nto = [\"b@local.test\"]\n\
                  [[aliases]]\nname = \"b@local.test\"\nto = [\"a@local.test\"]\n";
    server.write_config(&(domain + circle));
    server.signal(nix::sys::signal::Signal::SIGHUP);
    server.wait_event("config_refused", |_| true);
    assert!(known(&server, "bob@local.test"));
}

#[test]
fn a_developer_can_try_auth_at_once() {
    let server = Setup::new("").env("SMTP_PROFILE", "development").start();
    let password = blackbox::server::PASSWORD;
    let mut swaks = tools::swaks(server.submission(), "dev", password);
    run(swaks.args(["--from", "me@anywhere.test", "--to", "you@anywhere.test"]));
    assert_eq!(server.wait_event("received", |_| true)["account"], "dev");
    // In another profile there is none.
    let server = Server::with("");
    let plain = BASE64.encode(format!("\0dev\0{password}"));
    let mut swaks = tools::swaks(server.submission(), "dev", password);
    let said = refused(swaks.args(["--quit-after", "AUTH"]));
    assert!(said.contains("535 5.7.8") && said.contains(&plain), "{said}");
}

/// Address forms that have made relays of servers, and plainly foreign ones.
const FOREIGN: &[&str] = &[
    "<ann@remote.test>",
    "<ann@remote.test.>",
    "<ann%remote.test@mx.test>",
    "<ann%remote.test@[127.0.0.1]>",
    "<ann%remote.test%mx.test@other.test>",
    "<@mx.test:ann@remote.test>",
    "<@mx.test,@local.test:ann@remote.test>",
    "<@local.test:ann@remote.test>",
    "<\"ann@remote.test\"@mx.test>",
    "<\"ann%remote.test\"@mx.test>",
    "<\"ann@remote.test\">",
    "<\"ann@remote.test\"@>",
    "<ann@[127.0.0.1]>",
    "<ann@[127.1]>",
    "<ann@127.0.0.1>",
    "<ann@[IPv6:::1]>",
    "<ann@[IPv6:::ffff:127.0.0.1]>",
    "<ann@[0.0.0.0]>",
    "<postmaster@[127.0.0.1]>",
    "<remote.test!ann>",
    "<remote.test!ann@mx.test>",
    "<mx.test!remote.test!ann>",
    "<local.test!ann@remote.test>",
    "<ann@remote.test@local.test>",
    "<ann@local.test@remote.test>",
    "<ann@remote.test%local.test>",
    "<ann@local.test.remote.test>",
    "<ann@sub.local.test>",
    "<ann@xlocal.test>",
    "<ann@local.testx>",
    "<ann@localhost>",
    "<ann@mx.test>",
    "<ann@localtest>",
    "<ann@xn--bcher-kva.test>",
    "<ann@b\u{fc}cher.test>",
    "<ann@local\u{3002}test.remote.test>",
    "<ann@\u{2139}ocal.remote.test>",
    "<\u{e4}nn@remote.test>",
    "<ann@remote.test,bob@local.test>",
    "<ann@remote.test> <bob@local.test>",
    "<bob@local.test> <ann@remote.test>",
    "<ann@remote.test\0@local.test>",
    "<ann@remote.test\t@local.test>",
    "<ann remote.test@local.test>",
    "ann@remote.test",
    "<ann>",
    "<>",
    "<@>",
    "<ann@>",
    "<@remote.test>",
    "<ann@remote..test>",
    "<ann\\@remote.test@local.test>",
];

#[test]
fn nothing_foreign_is_accepted_from_strangers() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = domain(&folder.path().display().to_string()) + &account("bob@local.test", "");
    let server = Server::with(&config);
    for form in FOREIGN {
        for smtputf8 in ["", " SMTPUTF8"] {
            let mut wire = Wire::hello(server.smtp);
            wire.expect(&format!("MAIL FROM:<x@client.test>{smtputf8}"), 250);
            let code = wire.say(&format!("RCPT TO:{form}")).code;
            assert!((500..560).contains(&code), "{form:?}: {code}");
        }
        // Under submission nothing is taken before AUTH, wherever it goes.
        let mut wire = Wire::hello(server.submission());
        wire.expect("MAIL FROM:<x@client.test>", 530);
        let code = wire.say(&format!("RCPT TO:{form}")).code;
        assert!((500..560).contains(&code), "{form:?}: {code}");
    }
    let mut script = String::from(
        "import smtplib, ssl, sys\nc = ssl._create_unverified_context()\n\
         s = smtplib.SMTP_SSL('127.0.0.1', int(sys.argv[1]), context=c)\ns.ehlo()\n",
    );
    for form in FOREIGN {
        let form: String = form.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect();
        script += &format!(
            "s.send(b'MAIL FROM:<x@client.test>\\r\\n'); assert s.getreply()[0] == 530\n\
             s.send('RCPT TO:{form}\\r\\n'.encode()); assert 500 <= s.getreply()[0] < 560\n\
             s = smtplib.SMTP_SSL('127.0.0.1', int(sys.argv[1]), context=c); s.ehlo()\n"
        );
    }
    let port = server.smtps().port().to_string();
    run(program("/usr/bin/python3").args(["-c", &script, &port]));
    assert_eq!(server.metric("smtp_queue_depth"), 0.0);
    assert!(server.events("received").is_empty());
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<x@client.test>", 250);
    wire.expect("RCPT TO:<bob@local.test>", 250);
}
