//! PROXY protocol: HAProxy and swaks say who the client is.

use crate::auth::PASSWORD;
use crate::proxy_protocol::{FRIEND, STRANGER, from_proxy, greeted, header, headers, host, relays, server};
use blackbox::haproxy::{ADDRESS, HaProxy};
use blackbox::tls::Tls;
use blackbox::tools::{program, run, swaks_by};
use blackbox::wait_for;
use blackbox::wire::Wire;
use serde_json::{Value, json};

#[test]
fn who_haproxy_names_is_the_client_for_rules_log_and_received() {
    let (sink, server) = server();
    let proxy = HaProxy::before(&server);
    let mut friend = greeted(Wire::connect_from(FRIEND, proxy.smtp));
    assert_eq!(
        friend
            .mail("a@x.test", &["b@elsewhere.test"], "Subject: one\r\n\r\nx\r\n")
            .code,
        250
    );
    let message = sink.wait(1)[0].clone();
    let field = message.field("Received").expect("Received");
    assert!(field.contains(&format!("[{FRIEND}]")), "{field}");
    assert_eq!(host(&server.wait_event("received", |_| true), "peer"), FRIEND);
    // The address that connects may relay; the one behind it may not.
    let mut stranger = greeted(Wire::connect_from(STRANGER, proxy.smtp));
    assert!(!relays(&mut stranger));
    let line = server.wait_event("rejected", |_| true);
    assert_eq!(
        (host(&line, "peer"), &line["reason"]),
        (STRANGER.to_owned(), &json!("relay_denied"))
    );
    let line = server.wait_event("connected", |line| host(line, "peer") == STRANGER);
    assert_eq!(host(&line, "proxy"), ADDRESS);
    let sessions = server.json(&["sessions"]);
    for client in [FRIEND, STRANGER] {
        assert!(
            sessions.iter().any(|one| one.to_string().contains(client)),
            "{sessions:?}"
        );
    }
    assert!(headers(&server, "smtp", "taken") >= 2.0);
    assert_eq!(server.events("connection_refused"), Vec::<Value>::new());
}

#[test]
fn under_tls_too_and_with_a_checksum() {
    let (sink, server) = server();
    let proxy = HaProxy::before(&server);
    let mut openssl = Tls::open(proxy.smtps, false, &["-bind", &format!("{STRANGER}:0")]);
    openssl.expect("NOOP", "250");
    for (front, tls, more) in [
        (proxy.smtps, "--tls-on-connect", &["--quit-after", "AUTH"][..]),
        (proxy.submission, "--tls", &[]),
    ] {
        let mut swaks = swaks_by("PLAIN", tls, front, "ann", PASSWORD);
        swaks.args(["--from", "a@x.test", "--to", "b@elsewhere.test"]);
        run(swaks.args(["--local-interface", STRANGER]).args(more));
    }
    for listener in ["smtps", "submission"] {
        let line = server.wait_event("auth_succeeded", |line| line["listener"] == listener);
        assert_eq!(host(&line, "peer"), STRANGER);
        let line = server.wait_event("tls_established", |line| line["listener"] == listener);
        assert_eq!(host(&line, "peer"), STRANGER);
        assert!(headers(&server, listener, "taken") >= 1.0);
    }
    let message = sink.wait(1)[0].clone();
    let field = message.field("Received").expect("Received");
    assert!(
        field.contains(&format!("[{STRANGER}]")) && field.contains("ESMTPSA"),
        "{field}"
    );
}

#[test]
fn health_checks_are_answered_and_give_no_right() {
    let (_sink, server) = server();
    let proxy = HaProxy::before(&server);
    // Its EHLO is answered; the last answer is to QUIT.
    for (listener, check) in [("smtp", "L7OK/221"), ("smtps", "L4OK/"), ("submission", "L4OK/")] {
        wait_for(&format!("the check of {listener}"), || {
            let (status, last) = proxy.health(listener);
            status == "UP" && last == check
        });
    }
    let line = server.wait_event("command", |line| {
        line["listener"] == "smtp" && line["verb"] == "EHLO"
    });
    assert_eq!(line["code"], 250);
    // The checks come as LOCAL: the connection is the proxy's own, and known as such.
    let own = |line: &Value| line["proxy"].is_string() && line["peer"] == line["proxy"];
    let line = server.wait_event("connected", |line| line["listener"] == "smtp" && own(line));
    assert_eq!(host(&line, "peer"), ADDRESS);
    // It is in relay.networks, and relays nothing: anybody may stand behind it.
    let mut local = greeted(from_proxy(server.smtp, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"));
    assert!(!relays(&mut local));
    // No more does it for a proxy before the proxy, whose address is all that the header says.
    let mut chained = greeted(from_proxy(server.smtp, &header(ADDRESS)));
    assert!(!relays(&mut chained));
    let mut friend = greeted(from_proxy(server.smtp, &header(FRIEND)));
    assert!(relays(&mut friend));
    assert_eq!(server.events("connection_refused"), Vec::<Value>::new());
    drop(server);
    wait_for("HAProxy to see that it is gone", || {
        proxy.health("smtp").0 == "DOWN"
    });
}

#[test]
fn swaks_as_a_proxy() {
    let (sink, server) = server();
    let swaks = |options: &[&str]| {
        let mut swaks = program("/usr/bin/swaks");
        swaks.args(["--server", &server.smtp.to_string(), "--local-interface", ADDRESS]);
        swaks.args(["--from", "a@x.test", "--to", "b@elsewhere.test"]);
        swaks.args(["--proxy-source-port", "40001", "--proxy-dest-port", "25"]);
        swaks.args(options).output().expect("swaks")
    };
    let v4 = [
        "--proxy-family",
        "AF_INET",
        "--proxy-dest",
        "192.0.2.25",
        "--proxy-source",
    ];
    let v6 = [
        "--proxy-family",
        "AF_INET6",
        "--proxy-dest",
        "2001:db8::25",
        "--proxy-source",
    ];
    let version_2 = ["--proxy-version", "2"];
    let ok = |options: &[&[&str]]| {
        let output = swaks(&[&version_2[..], &options.concat()].concat());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), said)
    };
    let (sent, said) = ok(&[&v4, &[FRIEND]]);
    assert!(sent, "{said}");
    let (sent, said) = ok(&[&v6, &["2001:db8::77"]]);
    assert!(sent, "{said}");
    let received: Vec<String> = sink
        .wait(2)
        .iter()
        .filter_map(|message| message.field("Received"))
        .collect();
    assert!(
        received.iter().any(|field| field.contains("[127.0.0.5]")),
        "{received:?}"
    );
    assert!(
        received.iter().any(|field| field.contains("[IPv6:2001:db8::77]")),
        "{received:?}"
    );
    // An IPv4 client that comes to an IPv6 address of the proxy's is one of IPv4.
    let (sent, said) = ok(&[&v6, &["::ffff:7f00:5"]]);
    assert!(sent, "{said}");
    let (sent, said) = ok(&[&v6, &["::ffff:7f00:6"]]);
    assert!(!sent && said.contains("Relay access denied"), "{said}");
    let line = server.wait_event("rejected", |_| true);
    assert_eq!(host(&line, "peer"), "127.0.0.6");
    // Its LOCAL is not tried: it has another number than in the specification, and an octet too few.
    let (sent, said) = ok(&[&v4, &[FRIEND, "--proxy-protocol", "DGRAM"]]);
    assert!(!sent && said.contains("421 4.7.0"), "{said}");
    let output = swaks(&[
        "--proxy-family",
        "TCP4",
        "--proxy-dest",
        "192.0.2.25",
        "--proxy-source",
        FRIEND,
    ]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("421 4.7.0"), "{said}");
    assert_eq!(headers(&server, "smtp", "taken"), 4.0);
    assert_eq!(headers(&server, "smtp", "invalid"), 2.0);
}
