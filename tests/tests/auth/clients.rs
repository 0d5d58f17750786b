//! Real clients log in, with each mechanism that they know.

use super::{PASSWORD, Stage, text};
use blackbox::tools::{pipe, program, run, swaks_by};
use std::process::Command;

#[test]
fn swaks_logs_in() {
    for mechanism in ["PLAIN", "LOGIN"] {
        let stage = Stage::new();
        let mut swaks = swaks_by(mechanism, "--tls", stage.server.submission(), "ann", PASSWORD);
        swaks.args([
            "--from",
            "a@x.test",
            "--to",
            "b@y.test",
            "--header",
            "Subject: swaks",
        ]);
        run(&mut swaks);
        stage.arrived("swaks", &mechanism.to_ascii_lowercase());
    }
}

pub(super) fn curl(stage: &Stage, options: &str) -> Command {
    let port = stage.server.smtps().port();
    let mut curl = program("/usr/bin/curl");
    curl.args(["--silent", "--show-error", "--cacert", &stage.authority()]);
    curl.args(["--resolve", &format!("mx.test:{port}:127.0.0.1")]);
    curl.args([&format!("smtps://mx.test:{port}"), "--login-options", options]);
    curl.args([
        "--mail-from",
        "a@x.test",
        "--mail-rcpt",
        "b@y.test",
        "--upload-file",
        "-",
    ]);
    curl
}

#[test]
fn curl_logs_in() {
    for mechanism in ["PLAIN", "LOGIN"] {
        let stage = Stage::new();
        let mut curl = curl(&stage, &format!("AUTH={mechanism}"));
        pipe(curl.args(["--user", &format!("ann:{PASSWORD}")]), &text("curl"));
        stage.arrived("curl", &mechanism.to_ascii_lowercase());
    }
}

pub(super) fn msmtp(stage: &Stage, mechanism: &str, user: &str, secret: &str) -> Command {
    let mut msmtp = program("/usr/bin/msmtp");
    msmtp.args([
        "--host=127.0.0.1",
        &format!("--port={}", stage.server.submission().port()),
    ]);
    msmtp.args(["--tls=on", "--tls-starttls=on", "--tls-certcheck=off"]);
    msmtp.args([&format!("--auth={mechanism}"), &format!("--user={user}")]);
    msmtp.arg(format!("--passwordeval=printf %s '{secret}'"));
    msmtp.args(["--from=a@x.test", "b@y.test"]);
    msmtp
}

#[test]
fn msmtp_logs_in() {
    for mechanism in ["plain", "login", "scram-sha-256"] {
        let stage = Stage::new();
        pipe(&mut msmtp(&stage, mechanism, "ann", PASSWORD), &text("msmtp"));
        stage.arrived("msmtp", mechanism);
    }
}

#[test]
fn python_smtplib_logs_in() {
    for mechanism in ["PLAIN", "LOGIN"] {
        let stage = Stage::new();
        let script = format!(
            "import smtplib, ssl\n\
             s = smtplib.SMTP('127.0.0.1', {})\n\
             c = ssl.create_default_context(cafile='{}')\nc.check_hostname = False\n\
             s.starttls(context=c)\ns.ehlo()\n\
             s.user, s.password = 'ann', '{PASSWORD}'\n\
             assert s.auth('{mechanism}', s.auth_{}) [0] == 235\n\
             s.sendmail('a@x.test', ['b@y.test'], '''{}''')\ns.quit()\n",
            stage.server.submission().port(),
            stage.authority(),
            mechanism.to_ascii_lowercase(),
            text("smtplib").replace("\r\n", "\\r\\n"),
        );
        run(program("/usr/bin/python3").args(["-c", &script]));
        stage.arrived("smtplib", &mechanism.to_ascii_lowercase());
    }
}

#[test]
fn nodemailer_logs_in() {
    for mechanism in ["PLAIN", "LOGIN"] {
        let stage = Stage::new();
        nodemailer(
            &stage,
            &format!("user: 'ann', pass: '{PASSWORD}', method: '{mechanism}'"),
            mechanism,
        );
        stage.arrived("nodemailer", &mechanism.to_ascii_lowercase());
    }
}

pub(super) fn nodemailer(stage: &Stage, auth: &str, method: &str) {
    let script = format!(
        "const t = require('/usr/share/nodejs/nodemailer').createTransport({{host: '127.0.0.1', port: {},\n\
         requireTLS: true, tls: {{rejectUnauthorized: false}}, authMethod: '{method}', auth: {{{auth}}}}});\n\
         t.sendMail({{from: 'a@x.test', to: 'b@y.test', subject: 'nodemailer', text: 'text'}})\n\
           .then(() => t.close()).catch(e => {{ console.error(e); process.exit(1); }});",
        stage.server.submission().port()
    );
    run(program("/usr/bin/node").args(["-e", &script]));
}
