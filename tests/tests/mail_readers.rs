//! How mail readers speak: the dialogs of Thunderbird, Outlook and Apple Mail, word for word but for names and secrets.

use crate::auth::tokens::Issuer;
use crate::auth::{PASSWORD, Stage, text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use blackbox::tls::Tls;
use serde_json::json;

/// A step of a dialog: what the reader says, and how the reply must start.
type Step = (String, &'static str);

fn step(line: impl Into<String>, start: &'static str) -> Step {
    (line.into(), start)
}

fn plain() -> String {
    BASE64.encode(format!("\0ann\0{PASSWORD}"))
}

/// How the reader proves who it is; each as a mail reader says it.
fn logins() -> Vec<(&'static str, Vec<Step>)> {
    vec![
        // Thunderbird sends the initial response.
        ("plain", vec![step(format!("AUTH PLAIN {}", plain()), "235 ")]),
        // Older readers wait for the challenge.
        ("plain", vec![step("AUTH PLAIN", "334 "), step(plain(), "235 ")]),
        // Outlook, and Thunderbird as its second choice.
        (
            "login",
            vec![
                step("AUTH LOGIN", "334 VXNlcm5hbWU6"),
                step(BASE64.encode("ann"), "334 UGFzc3dvcmQ6"),
                step(BASE64.encode(PASSWORD), "235 "),
            ],
        ),
        // Apple Mail names the user at once.
        (
            "login",
            vec![
                step(format!("AUTH LOGIN {}", BASE64.encode("ann")), "334 UGFzc3dvcmQ6"),
                step(BASE64.encode(PASSWORD), "235 "),
            ],
        ),
        // Thunderbird tries what it prefers and is not offered, then something else.
        (
            "plain",
            vec![
                step("AUTH GSSAPI", "504 "),
                step("AUTH NTLM TlRMTVNTUAABAAAABzIAAAAAAAAAAAAAAAAAAAAAAAA=", "504 "),
                step(format!("AUTH PLAIN {}", plain()), "235 "),
            ],
        ),
    ]
}

/// A message as Thunderbird sends it: BODY before SIZE, one recipient after the other, QUIT at the end.
fn send(tls: &mut Tls) {
    tls.expect("MAIL FROM:<a@x.test> BODY=8BITMIME SIZE=431", "250 ");
    tls.expect("RCPT TO:<b@y.test>", "250 ");
    tls.expect("RCPT TO:<c@y.test>", "250 ");
    tls.expect("DATA", "354 ");
    tls.expect(&(text("reader").replace("\r\n", "\n") + "."), "250 ");
    tls.expect("QUIT", "221 ");
}

fn log_in(tls: &mut Tls, steps: &[Step]) {
    // It names itself by its address, and again after STARTTLS.
    let offered = tls.expect("EHLO [192.168.1.23]", "250-");
    for extension in ["SIZE ", "8BITMIME", "AUTH ", "PIPELINING", "ENHANCEDSTATUSCODES"] {
        assert!(offered.contains(extension), "{extension}: {offered}");
    }
    assert!(!offered.contains("STARTTLS"), "{offered}");
    for (line, start) in steps {
        tls.expect(line, start);
    }
}

#[test]
fn mail_readers_log_in_and_send_on_both_listeners() {
    for (mechanism, steps) in logins() {
        for starttls in [true, false] {
            let stage = Stage::new();
            let address = match starttls {
                true => stage.server.submission(),
                false => stage.server.smtps(),
            };
            let mut tls = Tls::open(address, starttls, &[]);
            log_in(&mut tls, &steps);
            send(&mut tls);
            stage.arrived("reader", mechanism);
        }
    }
}

#[test]
fn a_mail_reader_with_a_token_logs_in() {
    let issuer = Issuer::new();
    let token = issuer.token(&json!({}));
    let bearer = |text: String| BASE64.encode(text);
    for (mechanism, line) in [
        (
            "xoauth2",
            bearer(format!("user=ann\x01auth=Bearer {token}\x01\x01")),
        ),
        (
            "oauthbearer",
            bearer(format!("n,a=ann,\x01auth=Bearer {token}\x01\x01")),
        ),
    ] {
        let stage = issuer.stage();
        let mut tls = Tls::open(stage.server.submission(), true, &[]);
        let auth = format!("AUTH {} {line}", mechanism.to_uppercase());
        log_in(&mut tls, &[step(auth, "235 ")]);
        send(&mut tls);
        stage.arrived("reader", mechanism);
    }
}

#[test]
fn a_mail_reader_that_mistypes_is_asked_again_on_the_same_connection() {
    let stage = Stage::new();
    let mut tls = Tls::open(stage.server.submission(), true, &[]);
    let wrong = BASE64.encode("\0ann\0wrong");
    log_in(&mut tls, &[step(format!("AUTH PLAIN {wrong}"), "535 5.7.8")]);
    tls.expect("MAIL FROM:<a@x.test> BODY=8BITMIME SIZE=431", "530 5.7.0");
    tls.expect(&format!("AUTH PLAIN {}", plain()), "235 2.7.0");
    // In somebody else's name: refused before the message is sent.
    tls.expect(
        "MAIL FROM:<boss@elsewhere.test> BODY=8BITMIME SIZE=431",
        "553 5.7.1",
    );
    send(&mut tls);
    stage.arrived("reader", "plain");
}
