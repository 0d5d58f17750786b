//! Real clients send through the server: swaks, curl, Python's smtplib, nodemailer, msmtp.

use blackbox::server::Server;
use blackbox::sink::{Message, Sink};
use blackbox::tools::{pipe, program, run};

fn relay() -> (Sink, Server) {
    let sink = Sink::start();
    let server = Server::with(&sink.relay_config());
    (sink, server)
}

fn arrived(sink: &Sink, subject: &str) -> Message {
    let message = sink.only(subject);
    assert!(message.from.starts_with("<a@x.test>"), "{}", message.from);
    assert!(message.to[0].starts_with("<b@y.test>"), "{:?}", message.to);
    let received = message.field("Received").expect("a Received field");
    assert!(received.contains("by mx.test"), "{received}");
    message
}

#[test]
fn swaks() {
    let (sink, server) = relay();
    let mut swaks = program("/usr/bin/swaks");
    swaks.args([
        "--server",
        &server.smtp.to_string(),
        "--from",
        "a@x.test",
        "--to",
        "b@y.test",
        "--pipeline",
    ]);
    swaks.args(["--header", "Subject: by swaks", "--body", "one\n.two\n"]);
    let output = run(&mut swaks);
    let transcript = String::from_utf8_lossy(&output.stdout).into_owned();
    let message = arrived(&sink, "by swaks");
    let id = message
        .field("Received")
        .expect("Received")
        .split(" id ")
        .nth(1)
        .expect("id")
        .split(' ')
        .next()
        .map(String::from);
    let id = id.expect("an id in Received");
    assert!(
        transcript.contains(&id),
        "the id {id} is in the reply too:\n{transcript}"
    );
    assert!(message.text().contains("one\r\n.two\r\n"));
}

#[test]
fn curl() {
    let (sink, server) = relay();
    let mut curl = program("/usr/bin/curl");
    curl.args([
        "--silent",
        "--show-error",
        &format!("smtp://{}", server.smtp),
        "--mail-from",
        "a@x.test",
    ]);
    curl.args(["--mail-rcpt", "b@y.test", "--upload-file", "-"]);
    pipe(&mut curl, "From: a@x.test\r\nSubject: by curl\r\n\r\ntext\r\n");
    arrived(&sink, "by curl");
}

#[test]
fn python_smtplib() {
    let (sink, server) = relay();
    let script = format!(
        "import smtplib\nfrom email.message import EmailMessage\n\
         m = EmailMessage()\nm['From'] = 'a@x.test'\nm['To'] = 'b@y.test'\nm['Subject'] = 'by smtplib'\n\
         m.set_content('gr\\u00fc\\u00dfe\\n')\n\
         with smtplib.SMTP('{}', {}) as s:\n\
         \x20   assert s.ehlo()[0] == 250\n\
         \x20   assert s.has_extn('smtputf8') and s.has_extn('size') and s.has_extn('8bitmime'), s.esmtp_features\n\
         \x20   assert s.send_message(m, mail_options=['BODY=8BITMIME']) == {{}}\n\
         \x20   assert s.verify('postmaster')[0] == 252\n\
         \x20   assert s.noop()[0] == 250\n",
        server.smtp.ip(),
        server.smtp.port()
    );
    run(program("/usr/bin/python3").args(["-c", &script]));
    arrived(&sink, "by smtplib");
}

#[test]
fn nodemailer() {
    let (sink, server) = relay();
    let script = format!(
        "const t = require('/usr/share/nodejs/nodemailer').createTransport({{host: '{}', port: {}, ignoreTLS: true, pool: true}});\n\
         t.sendMail({{from: 'a@x.test', to: 'b@y.test', subject: 'by nodemailer', text: 'text',\n\
           attachments: [{{filename: 'a.bin', content: Buffer.alloc(300000, 7)}}]}})\n\
           .then(i => {{ if (!i.response.startsWith('250 2.0.0')) process.exit(2); t.close(); }})\n\
           .catch(e => {{ console.error(e); process.exit(1); }});",
        server.smtp.ip(),
        server.smtp.port()
    );
    assert!(
        std::path::Path::new("/usr/share/nodejs/nodemailer/package.json").exists(),
        "nodemailer is missing"
    );
    run(program("/usr/bin/node").args(["-e", &script]));
    let message = arrived(&sink, "by nodemailer");
    assert!(message.content.len() > 400_000, "{}", message.content.len());
}

#[test]
fn msmtp() {
    let (sink, server) = relay();
    let mut msmtp = program("/usr/bin/msmtp");
    msmtp.args([
        "--host",
        "127.0.0.1",
        "--port",
        &server.smtp.port().to_string(),
        "--from",
        "a@x.test",
    ]);
    msmtp.args([
        "--dsn-notify",
        "failure,delay",
        "--dsn-return",
        "headers",
        "b@y.test",
    ]);
    pipe(&mut msmtp, "From: a@x.test\nSubject: by msmtp\n\ntext\n");
    let message = arrived(&sink, "by msmtp");
    assert!(message.from.contains("RET=HDRS"), "{}", message.from);
    assert!(message.to[0].contains("NOTIFY=FAILURE,DELAY"), "{:?}", message.to);
}
