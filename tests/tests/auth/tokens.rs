//! Tokens, as Kubernetes projects them into pods.

use super::clients::{curl, msmtp, nodemailer};
use super::{SUBJECT, Stage, config, text};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL};
use blackbox::server::Server;
use blackbox::sink::Sink;
use blackbox::tls::Tls;
use blackbox::tools::{pipe, program, run};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

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
