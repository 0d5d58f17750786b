//! AUTH: real clients with each mechanism, tokens as Kubernetes projects them, certificates, and what clients do wrong.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL};
use blackbox::server::{Server, Setup};
use blackbox::sink::Sink;
use blackbox::tls::Tls;
use blackbox::tools::{pipe, program, run, swaks_by};
use blackbox::wire::Wire;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) const PASSWORD: &str = "Correct horse 5";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const SUBJECT: &str = "system:serviceaccount:shop:checkout";

/// One account `ann`, which a token and a certificate mean too; everything goes to the sink.
pub(crate) fn config(sink: &Sink) -> String {
    format!(
        "[relay]\nsmarthost = \"{}\"\n\
         [[accounts]]\nname = \"ann\"\npassword = \"{PASSWORD}\"\nsenders = [\"*@x.test\"]\n\
         identities = [\"oauth:{SUBJECT}\", \"cert:app.test\"]\n",
        sink.url()
    )
}

/// A server, its next hop, and the authority that its certificate is trusted by.
pub(crate) struct Stage {
    pub(crate) sink: Sink,
    pub(crate) server: Server,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let sink = Sink::start();
        let server = Server::with(&config(&sink));
        Stage { sink, server }
    }

    fn authority(&self) -> String {
        self.server.data().join("tls/ca.pem").display().to_string()
    }

    /// One message of this client arrived, by this mechanism.
    pub(crate) fn arrived(&self, client: &str, mechanism: &str) {
        let messages = self.sink.wait(1);
        let last = messages.last().expect("a message");
        assert_eq!(last.field("Subject").as_deref(), Some(client), "{}", last.text());
        let received = last.field("Received").expect("Received");
        assert!(received.contains("with ESMTPSA id"), "{received}");
        let event = self.server.wait_event("auth_succeeded", |_| true);
        assert_eq!(
            (&event["account"], &event["mechanism"]),
            (&json!("ann"), &json!(mechanism))
        );
        assert_eq!(self.server.wait_event("received", |_| true)["account"], "ann");
    }
}

pub(crate) fn text(subject: &str) -> String {
    format!("From: a@x.test\r\nTo: b@y.test\r\nSubject: {subject}\r\n\r\ntext\r\n")
}

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

fn curl(stage: &Stage, options: &str) -> Command {
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

fn msmtp(stage: &Stage, mechanism: &str, user: &str, secret: &str) -> Command {
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

fn nodemailer(stage: &Stage, auth: &str, method: &str) {
    let script = format!(
        "const t = require('/usr/share/nodejs/nodemailer').createTransport({{host: '127.0.0.1', port: {},\n\
         requireTLS: true, tls: {{rejectUnauthorized: false}}, authMethod: '{method}', auth: {{{auth}}}}});\n\
         t.sendMail({{from: 'a@x.test', to: 'b@y.test', subject: 'nodemailer', text: 'text'}})\n\
           .then(() => t.close()).catch(e => {{ console.error(e); process.exit(1); }});",
        stage.server.submission().port()
    );
    run(program("/usr/bin/node").args(["-e", &script]));
}

/// An issuer of tokens: an RSA key, as a Kubernetes cluster has it.
pub(crate) struct Issuer {
    folder: tempfile::TempDir,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("key.pem").display().to_string();
        run(program("/usr/bin/openssl").args(["genpkey", "-quiet", "-algorithm", "RSA", "-out", &key]));
        let modulus = run(program("/usr/bin/openssl").args(["rsa", "-in", &key, "-noout", "-modulus"]));
        let modulus = String::from_utf8(modulus.stdout).expect("hex");
        let digits = modulus.trim().strip_prefix("Modulus=").expect("a modulus");
        let octets: Vec<u8> = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex"))
            .collect();
        let keys = json!({ "keys": [{
            "kty": "RSA", "alg": "RS256", "use": "sig", "kid": "k1", "e": "AQAB", "n": BASE64URL.encode(octets),
        }] });
        std::fs::write(folder.path().join("jwks.json"), keys.to_string()).expect("keys");
        Issuer { folder }
    }

    fn config(&self, sink: &Sink) -> String {
        format!(
            "{}[oauth]\nissuer = \"{ISSUER}\"\naudience = [\"smtp\"]\njwks_file = \"{}\"\n",
            config(sink),
            self.folder.path().join("jwks.json").display()
        )
    }

    /// A token as a projected volume has it, with some claims changed.
    pub(crate) fn token(&self, changes: &Value) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("time")
            .as_secs();
        let mut claims = json!({
            "aud": ["smtp"], "exp": now + 600, "iat": now, "nbf": now, "iss": ISSUER, "sub": SUBJECT,
            "kubernetes.io": { "namespace": "shop", "serviceaccount": { "name": "checkout", "uid": "1b2c" } },
        });
        for (name, value) in changes.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        let header = json!({ "alg": "RS256", "kid": "k1" });
        let signed = [header, claims]
            .map(|part| BASE64URL.encode(part.to_string()))
            .join(".");
        let (input, output) = (
            self.folder.path().join("input"),
            self.folder.path().join("signature"),
        );
        std::fs::write(&input, &signed).expect("input");
        let mut openssl = program("/usr/bin/openssl");
        openssl
            .args(["dgst", "-sha256", "-sign"])
            .arg(self.folder.path().join("key.pem"));
        run(openssl.arg("-out").arg(&output).arg(&input));
        let signature = std::fs::read(&output).expect("a signature");
        format!("{signed}.{}", BASE64URL.encode(signature))
    }

    pub(crate) fn stage(&self) -> Stage {
        let sink = Sink::start();
        let server = Server::with(&self.config(&sink));
        Stage { sink, server }
    }
}

#[test]
fn a_service_accounts_token_logs_in() {
    let issuer = Issuer::new();
    let token = issuer.token(&json!({}));
    // curl knows the older form too, but prefers this one whatever it is told.
    let stage = issuer.stage();
    let mut curl = curl(&stage, "AUTH=OAUTHBEARER");
    pipe(
        curl.args(["--user", "ann:", "--oauth2-bearer", &token]),
        &text("curl"),
    );
    stage.arrived("curl", "oauthbearer");
    for mechanism in ["oauthbearer", "xoauth2"] {
        let stage = issuer.stage();
        pipe(&mut msmtp(&stage, mechanism, "ann", &token), &text("msmtp"));
        stage.arrived("msmtp", mechanism);
    }
    let stage = issuer.stage();
    let auth = format!("type: 'OAuth2', user: 'ann', accessToken: '{token}'");
    nodemailer(&stage, &auth, "XOAUTH2");
    stage.arrived("nodemailer", "xoauth2");
}

#[test]
fn a_token_for_others_opens_nothing_and_is_not_logged() {
    let issuer = Issuer::new();
    let stage = issuer.stage();
    for (changes, reason) in [
        (json!({ "aud": ["vault"] }), "audience"),
        (json!({ "exp": 1 }), "expired"),
        (json!({ "iss": "https://elsewhere.test" }), "issuer"),
        (
            json!({ "sub": "system:serviceaccount:shop:other" }),
            "no account has the identity oauth:system:serviceaccount:shop:other",
        ),
    ] {
        let token = issuer.token(&changes);
        let message = BASE64.encode(format!("n,,\x01auth=Bearer {token}\x01\x01"));
        let mut tls = Tls::open(stage.server.smtps(), false, &[]);
        tls.expect(&format!("AUTH OAUTHBEARER {message}"), "334 ");
        tls.expect("AQ==", "535 5.7.8");
        let failed = stage.server.events("auth_failed");
        let said = failed.last().expect("an event").to_string();
        assert!(said.contains(reason), "{said}");
        let log = stage.server.log();
        assert!(!log.iter().any(|line| line.to_string().contains(&token[..40])));
    }
    assert_eq!(
        stage
            .server
            .metric("smtp_auth_total{mechanism=\"oauthbearer\",result=\"refused\"}"),
        4.0
    );
}

fn plain(name: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", BASE64.encode(format!("\0{name}\0{password}")))
}

/// A certificate of an authority for clients, and its key.
fn client_certificate(folder: &Path) {
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=clients \
                  -keyout ca.key -out ca.pem && \
                  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=app.test \
                  -keyout app.key -out app.csr && \
                  echo subjectAltName=DNS:app.test > app.ext && \
                  openssl x509 -req -extfile app.ext -in app.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out app.pem";
    let mut shell = Command::new("/bin/sh");
    run(shell.args(["-c", script]).current_dir(folder));
}

#[test]
fn a_clients_certificate_logs_in() {
    let folder = tempfile::tempdir().expect("a folder");
    client_certificate(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let sink = Sink::start();
    let config = format!(
        "{}[tls]\nclient_ca_file = \"{}\"\n",
        config(&sink),
        path("ca.pem")
    );
    let stage = Stage {
        server: Server::with(&config),
        sink,
    };
    let (cert, key) = (path("app.pem"), path("app.key"));
    let args = ["-cert", &cert, "-key", &key];
    let mut tls = Tls::open(stage.server.smtps(), false, &args);
    assert!(tls.expect("EHLO again", "250").contains(" EXTERNAL "));
    tls.expect(&format!("AUTH EXTERNAL {}", BASE64.encode("somebody")), "535");
    tls.expect("AUTH EXTERNAL =", "235");
    tls.expect("MAIL FROM:<a@x.test>", "250");
    tls.expect("RCPT TO:<b@y.test>", "250");
    tls.expect("DATA", "354");
    tls.expect(&(text("openssl").replace("\r\n", "\n") + "."), "250");
    stage.arrived("openssl", "external");
    let mut without = Tls::open(stage.server.smtps(), false, &[]);
    assert!(!without.expect("EHLO again", "250").contains("EXTERNAL"));
    without.expect("AUTH EXTERNAL =", "504");
}

#[test]
fn credentials_in_clear_are_refused_and_auth_is_not_offered() {
    let stage = Stage::new();
    for address in [stage.server.smtp, stage.server.submission()] {
        let mut wire = Wire::connect(address);
        wire.reply();
        assert!(!wire.expect("EHLO client.test", 250).text().contains("AUTH"));
        wire.expect(&plain("ann", PASSWORD), 538);
        wire.expect("AUTH LOGIN", 538);
    }
    assert!(stage.server.events("auth_succeeded").is_empty());
}

#[test]
fn clients_that_break_the_exchange_are_not_logged_in() {
    let stage = Stage::new();
    let mut tls = Tls::open(stage.server.submission(), true, &[]);
    tls.expect("AUTH LOGIN", "334 VXNlcm5hbWU6");
    tls.expect("*", "501 5.7.0");
    tls.expect("AUTH LOGIN YW5u", "334 UGFzc3dvcmQ6");
    tls.expect("%%%", "501 5.5.2");
    tls.expect("AUTH PLAIN", "334 ");
    tls.expect(&"A".repeat(12_400), "5");
    tls.expect("MAIL FROM:<a@x.test>", "530 5.7.0");
    tls.expect(&plain("ann", PASSWORD), "235 2.7.0");
    tls.expect(&plain("ann", PASSWORD), "503");
    tls.expect("MAIL FROM:<a@x.test>", "250");
    tls.expect("AUTH PLAIN AA==", "503");
}

#[test]
fn what_comes_behind_starttls_in_clear_is_no_command_under_tls() {
    let stage = Stage::new();
    let mut wire = Wire::connect(stage.server.submission());
    wire.reply();
    wire.expect("EHLO client.test", 250);
    wire.send(format!("STARTTLS\r\n{}\r\n", plain("ann", PASSWORD)));
    // Either the session ends at once, or it waits for a handshake; it says nothing to what was injected.
    let first = wire.reply().code;
    assert!(first == 220 || first == 554, "{first}");
    assert!(stage.server.events("auth_succeeded").is_empty());
    assert!(stage.server.events("auth_failed").is_empty());
}

#[test]
fn failures_lock_a_name_where_it_failed() {
    let sink = Sink::start();
    let config = config(&sink) + "[auth]\nlock_after = 2\n";
    let server = Setup::new(config).start();
    let mut tls = Tls::open(server.smtps(), false, &[]);
    tls.expect(&plain("ann", "guess one"), "535 5.7.8");
    tls.expect(&plain("ann", "guess two"), "535 5.7.8");
    tls.expect(&plain("ann", PASSWORD), "535 5.7.8");
    let locked = server.wait_event("auth_locked", |_| true);
    assert_eq!(
        (&locked["account"], &locked["scope"]),
        (&json!("ann"), &json!("pair"))
    );
    let results: Vec<Value> = server
        .events("auth_failed")
        .iter()
        .map(|line| line["result"].clone())
        .collect();
    assert_eq!(results, ["refused", "refused", "locked"]);
    assert_eq!(server.metric("smtp_auth_lockouts_total{scope=\"pair\"}"), 1.0);
    for secret in ["guess one", PASSWORD] {
        let shown = BASE64.encode(format!("\0ann\0{secret}"));
        let leaks = |line: &Value| line.to_string().contains(secret) || line.to_string().contains(&shown);
        assert!(!server.log().iter().any(leaks));
    }
}

#[test]
fn tokens_are_taken_after_a_reload_that_names_an_issuer() {
    let issuer = Issuer::new();
    let sink = Sink::start();
    let mut server = Server::with(&config(&sink));
    let mut tls = Tls::open(server.smtps(), false, &[]);
    assert!(!tls.expect("EHLO again", "250").contains("OAUTHBEARER"));
    server.write_config(&issuer.config(&sink));
    server.signal(nix::sys::signal::Signal::SIGHUP);
    server.wait_event("config_reloaded", |_| true);
    let stage = Stage { sink, server };
    let mut curl = curl(&stage, "AUTH=OAUTHBEARER");
    let token = issuer.token(&json!({}));
    pipe(
        curl.args(["--user", "ann:", "--oauth2-bearer", &token]),
        &text("curl"),
    );
    stage.arrived("curl", "oauthbearer");
}
