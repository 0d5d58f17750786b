//! The binary as `sendmail`, called by real programs and as they call it.

use blackbox::dovecot::Dovecot;
use blackbox::sendmail::Sendmail;
use blackbox::server::{PASSWORD, Server};
use blackbox::sink::{Act, Message, Moment, Sink};
use blackbox::tools::{feed, maildir, program, run};
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A server that relays to a sink, and a sendmail that hands mail to the server.
fn relay() -> (Sink, Server, Sendmail) {
    let sink = Sink::start();
    let server = Server::with(&sink.relay_config());
    let sendmail = Sendmail::to(format!("smtp://{}", server.smtp));
    (sink, server, sendmail)
}

/// A sendmail whose server is a sink.
fn direct(script: impl Fn(usize, &Moment) -> Act + Send + Sync + 'static) -> (Sink, Sendmail) {
    let sink = Sink::scripted(script);
    let sendmail = Sendmail::to(sink.url());
    (sink, sendmail)
}

fn addresses(message: &Message) -> Vec<&str> {
    message
        .to
        .iter()
        .map(|to| to.split(['<', '>']).nth(1).unwrap_or_default())
        .collect()
}

#[test]
fn python_writes_to_its_standard_input() {
    let (sink, _server, sendmail) = relay();
    let script = format!(
        "import subprocess, email.message\n\
         m = email.message.EmailMessage()\n\
         m['From'] = 'Ann <a@x.test>'; m['To'] = 'Bob <b@y.test>, c@y.test'; m['Bcc'] = 'd@y.test'; m['Subject'] = 'by python'\n\
         m.set_content('ä\\n.\\nafter the dot\\n'); m.add_attachment(bytes(300000), maintype='a', subtype='b', filename='c')\n\
         subprocess.run([{:?}, '-t', '-oi', '-f', 'bounces@x.test'], input=m.as_bytes(), check=True)",
        sendmail.path()
    );
    let mut python = program("/usr/bin/python3");
    run(sendmail.env(python.args(["-c", &script])));
    let message = sink.only("by python");
    assert!(message.from.starts_with("<bounces@x.test>"), "{}", message.from);
    assert_eq!(addresses(&message), ["b@y.test", "c@y.test", "d@y.test"]);
    assert_eq!(message.field("Bcc"), None);
    assert!(message.content.len() > 400_000);
    assert!(message.field("Date").is_some() && message.field("Message-ID").is_some());
}

#[test]
fn s_nail_and_bsd_mailx_take_it_as_their_sendmail() {
    let (sink, _server, sendmail) = relay();
    let mta = format!("mta={}", sendmail.path().display());
    let mut snail = program("/usr/bin/s-nail");
    snail.args(["-:/", "-S", &mta, "-S", "v15-compat", "-r", "a@x.test"]);
    snail.args(["-s", "by s-nail", "b@y.test"]);
    let output = feed(sendmail.env(&mut snail), "a line\n.\nanother\n");
    assert!(output.status.success(), "{output:?}");
    let message = sink.only("by s-nail");
    assert_eq!(addresses(&message), ["b@y.test"]);
    assert!(message.text().contains("another"), "{}", message.text());

    sink.clear();
    let rc = sendmail.folder().join("mailrc");
    std::fs::write(&rc, format!("set sendmail={}\n", sendmail.path().display())).expect("mailrc");
    let mut mailx = program("/usr/bin/bsd-mailx");
    mailx.args(["-s", "by mailx", "-c", "c@y.test", "b@y.test"]);
    let output = feed(sendmail.env(&mut mailx).env("MAILRC", rc), "a line\n");
    assert!(output.status.success(), "{output:?}");
    let message = sink.only("by mailx");
    assert_eq!(addresses(&message), ["b@y.test", "c@y.test"]);
    assert!(message.from.contains("@host.test>"), "{}", message.from);
}

#[test]
fn nodemailer_has_a_transport_for_it() {
    let (sink, _server, sendmail) = relay();
    let script = format!(
        "require('/usr/share/nodejs/nodemailer').createTransport({{sendmail: true, path: {:?}}})\n\
         .sendMail({{from: 'a@x.test', to: 'b@y.test', bcc: 'c@y.test', subject: 'by nodemailer', text: 'text'}})\n\
         .catch(e => {{ console.error(e); process.exit(1); }});",
        sendmail.path()
    );
    let mut node = program("/usr/bin/node");
    run(sendmail.env(node.args(["-e", &script])));
    let message = sink.only("by nodemailer");
    assert_eq!(addresses(&message), ["b@y.test", "c@y.test"]);
}

#[test]
fn as_php_and_cron_call_it() {
    let (sink, _server, sendmail) = relay();
    // PHP: sendmail_path, through a shell.
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("{} -t -i", sendmail.path().display())]);
    let mail = "To: b@y.test\nSubject: by php\nX-PHP-Originating-Script: 0:a.php\n\nline\n.\nlast\n";
    let output = feed(sendmail.env(&mut shell), mail);
    assert!(output.status.success(), "{output:?}");
    let message = sink.only("by php");
    assert!(
        message.text().contains("line\r\n.\r\nlast\r\n"),
        "{}",
        message.text()
    );

    sink.clear();
    let cron = ["-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root"];
    let mail = "From: root (Cron Daemon)\nTo: root\nSubject: by cron\n\nä\n";
    assert_eq!(sendmail.expect(&cron, mail, 0), "");
    let message = sink.only("by cron");
    assert_eq!(addresses(&message), ["root@host.test"]);
    assert!(message.from.contains("BODY=8BITMIME"), "{}", message.from);
    assert_eq!(message.field("From").as_deref(), Some("root (Cron Daemon)"));
}

#[test]
fn a_header_is_completed_and_a_dot_ends_the_message() {
    let (sink, sendmail) = direct(|_, _| Act::Default);
    let args = ["-f", "<ann>", "-F", "Ann, Ötting", "--", "b@y.test", "bob"];
    assert_eq!(sendmail.expect(&args, "no header\nat all\n.\nunseen\n", 0), "");
    let message = sink.wait(1)[0].clone();
    assert!(message.from.starts_with("<ann@host.test>"), "{}", message.from);
    assert_eq!(addresses(&message), ["b@y.test", "bob@host.test"]);
    let from = message.field("From").expect("From");
    assert!(
        from.starts_with("=?utf-8?Q?") && from.ends_with(" <ann@host.test>"),
        "{from}"
    );
    assert!(
        message.text().ends_with("\r\n\r\nno header\r\nat all\r\n"),
        "{}",
        message.text()
    );
    assert!(message.field("Date").is_some() && message.field("Message-ID").is_some());

    sink.clear();
    let mail = "To: c@y.test, B <b@y.test>\nResent-Nothing: 1\nCc: d\nBcc: e@y.test\n\nx\n";
    assert_eq!(
        sendmail
            .expect(&["-f", "", "-tv", "b@y.test"], mail, 0)
            .lines()
            .count(),
        4
    );
    let message = sink.wait(1)[0].clone();
    assert!(message.from.starts_with("<>"), "{}", message.from);
    assert_eq!(
        addresses(&message),
        ["b@y.test", "c@y.test", "d@host.test", "e@y.test"]
    );
    assert_eq!(message.field("Bcc"), None);
}

#[test]
fn reports_are_asked_for() {
    let (sink, sendmail) = direct(|_, _| Act::Default);
    let args = [
        "-N",
        "success,delay",
        "-R",
        "hdrs",
        "-V",
        "order=7",
        "-f",
        "a@x.test",
        "b@y.test",
    ];
    sendmail.expect(&args, "Subject: s\n\nx\n", 0);
    let message = sink.wait(1)[0].clone();
    assert!(
        message.from.contains("RET=HDRS ENVID=order+3D7"),
        "{}",
        message.from
    );
    assert!(
        message.to[0].ends_with("NOTIFY=SUCCESS,DELAY"),
        "{:?}",
        message.to
    );
    for wrong in [["-N", "sometimes"], ["-R", "some"], ["-b", "d"], ["-Z", "x"]] {
        sendmail.expect(&[wrong[0], wrong[1], "b@y.test"], "x\n", 64);
    }
    sendmail.expect(&[], "x\n", 64);
    sendmail.expect(&["-bi"], "", 0);
    assert_eq!(sink.count(), 1);
}

#[test]
fn refusals_are_said_with_a_code_and_wait_nowhere() {
    let (sink, sendmail) = direct(|_, moment| match moment {
        Moment::Command(line) if line.starts_with("RCPT TO:<unknown@") => Act::Say("550 5.1.1 who?".into()),
        Moment::Command(line) if line.starts_with("RCPT TO:<denied@") => {
            Act::Say("554 5.7.1 not for you".into())
        }
        Moment::Command(line) if line.starts_with("RCPT TO:<odd@") => Act::Say("554 5.5.0 odd".into()),
        Moment::EndOfData(message) if message.text().contains("spam") => Act::Say("554 5.6.0 spam".into()),
        _ => Act::Default,
    });
    let mail = "Subject: s\n\nx\n";
    let said = sendmail.expect(&["-f", "a@x.test", "unknown@y.test", "b@y.test"], mail, 67);
    assert!(said.contains("<unknown@y.test>: 550 5.1.1 who?"), "{said}");
    assert!(!said.contains("b@y.test"), "{said}");
    assert_eq!(addresses(&sink.wait(1)[0]), ["b@y.test"]);
    sendmail.expect(&["denied@y.test"], mail, 77);
    sendmail.expect(&["odd@y.test"], mail, 69);
    sendmail.expect(&["b@y.test"], "Subject: spam\n\nx\n", 65);
    sendmail.expect(&["not an address"], mail, 65);
    sendmail.expect(&["-t"], "To: a b c\n\nx\n", 65);
    sendmail.expect(&["-t"], "Subject: nobody\n\nx\n", 65);
    assert!(sendmail.waiting().is_empty());
    // -v: everybody's answer.
    let said = sendmail.expect(&["-v", "b@y.test", "unknown@y.test"], mail, 67);
    assert!(said.contains("<b@y.test>: 250 2.0.0 taken"), "{said}");
}

#[test]
fn too_large_a_message_is_refused() {
    let (sink, sendmail) = direct(|_, _| Act::Default);
    let mut shell = Command::new("/bin/sh");
    let path = sendmail.path();
    shell.args([
        "-c",
        &format!("head -c 100000000 /dev/zero | {} b@y.test", path.display()),
    ]);
    let output = feed(sendmail.env(&mut shell), "");
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("64 MiB"),
        "{output:?}"
    );
    assert_eq!(sink.count(), 0);
}

#[test]
fn by_lmtp_each_recipient_has_its_own_answer() {
    let dovecot = Dovecot::start("plain");
    let sendmail = Sendmail::to(format!("lmtp://{}", dovecot.lmtp));
    let mail = "Subject: by LMTP\n\nx\n";
    let said = sendmail.expect(&["-v", "ann@y.test", "nobody@y.test"], mail, 67);
    assert!(said.contains("<ann@y.test>: 250 2.0.0"), "{said}");
    assert!(said.contains("<nobody@y.test>: 550 5.1.1"), "{said}");
    assert_eq!(maildir(&dovecot.mailbox("ann")).len(), 1);
}

/// A server where ann has an account, and what verifies its certificate.
fn with_account() -> (Sink, Server, String) {
    let sink = Sink::start();
    let config = format!(
        "{}[[accounts]]\nname = \"ann@x.test\"\npassword = \"{PASSWORD}\"\n",
        sink.relay_config().replace("127.0.0.0/8", "192.0.2.0/24")
    );
    let server = Server::with(&config);
    let authority = server.data().join("tls/ca.pem").display().to_string();
    (sink, server, authority)
}

#[test]
fn it_logs_in_under_verified_tls() {
    let (sink, server, authority) = with_account();
    let sendmail = Sendmail::to(format!(
        "smtps://ann%40x.test@localhost:{}",
        server.smtps().port()
    ));
    let password = sendmail.folder().join("password");
    std::fs::write(&password, format!("{PASSWORD}\n")).expect("password");
    let password = password.display().to_string();
    let args = [
        "--password-file",
        &password,
        "--ca-file",
        &authority,
        "--tls",
        "verified",
    ];
    let mail = |more: &[&'static str]| [&args[..], more].concat();
    sendmail.expect(&mail(&["-f", "ann@x.test", "b@y.test"]), "Subject: in\n\nx\n", 0);
    assert_eq!(addresses(&sink.only("in")), ["b@y.test"]);
    // Without the authority the certificate is nobody's: it waits, and the reason says it.
    let said = sendmail.expect(
        &["--password-file", &password, "--tls", "verified", "b@y.test"],
        "x\n",
        0,
    );
    assert!(
        said.contains("waits as") && said.contains("certificate"),
        "{said}"
    );
    assert_eq!(sendmail.waiting().len(), 1);
    // A dialog begins where the login has been done.
    let mut dialog = Dialog::start(&sendmail, &mail(&["-bs"]));
    assert!(dialog.reply().starts_with("220 "));
    for (say, code) in [
        ("EHLO c", "250 "),
        ("MAIL FROM:<ann@x.test>", "250 "),
        ("RCPT TO:<c@y.test>", "250 "),
        ("DATA", "354 "),
        ("Subject: by hand\r\n\r\nx\r\n.", "250 "),
        ("QUIT", "221 "),
    ] {
        dialog.expect(say, code);
    }
    assert_eq!(addresses(&sink.wait(2)[1]), ["c@y.test"]);
}

/// `sendmail -bs`, reply by reply.
struct Dialog {
    child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

impl Dialog {
    fn start(sendmail: &Sendmail, args: &[&str]) -> Dialog {
        let mut command = sendmail.command(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start");
        Dialog {
            to: child.stdin.take().expect("stdin"),
            from: BufReader::new(child.stdout.take().expect("stdout")).lines(),
            child,
        }
    }
    fn reply(&mut self) -> String {
        loop {
            let line = self.from.next().expect("a reply").expect("a reply");
            if line.as_bytes()[3] != b'-' {
                return line;
            }
        }
    }
    fn expect(&mut self, say: &str, code: &str) {
        write!(self.to, "{say}\r\n").expect("write");
        let said = self.reply();
        assert!(said.starts_with(code), "{say}: {said}");
    }
}

#[test]
fn bs_carries_a_dialog_to_the_server() {
    let (sink, _server, sendmail) = relay();
    let mut dialog = Dialog::start(&sendmail, &["-bs"]);
    assert!(dialog.reply().starts_with("220 "));
    for (say, code) in [
        ("EHLO client.test", "250 "),
        ("MAIL FROM:<a@x.test>", "250 "),
        ("RCPT TO:<b@y.test>", "250 "),
        ("NONSENSE", "500 "),
        ("DATA", "354 "),
        ("Subject: by hand\r\n\r\n..x\r\n.", "250 "),
        ("QUIT", "221 "),
    ] {
        dialog.expect(say, code);
    }
    // Standard input is still open.
    assert!(dialog.child.wait().expect("wait").success());
    assert!(sink.only("by hand").text().ends_with("\r\n\r\n.x\r\n"));
    let away = Sendmail::to(format!("smtp://{}", blackbox::ports::free_port()));
    assert!(away.expect(&["-bs"], "EHLO x\r\n", 75).starts_with("421 4.4.1 "));
}
