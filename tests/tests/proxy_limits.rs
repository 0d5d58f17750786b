//! Limits, locks and reloads behind a proxy: what counts for its clients, for itself, and for those that it does not name.

use crate::auth::PASSWORD;
use crate::proxy_protocol::{
    FRIEND, STRANGER, config, from_proxy, greeted, header, host, is_turned_away, refused, relays, server,
};
use blackbox::haproxy::{ADDRESS, HaProxy};
use blackbox::sendmail::Sendmail;
use blackbox::server::{Server, Setup, refusal};
use blackbox::sink::Sink;
use blackbox::tools::swaks;
use blackbox::wait_for;
use blackbox::wire::Wire;
use nix::sys::signal::Signal;
use serde_json::json;
use std::net::SocketAddr;

#[test]
fn limits_are_those_of_the_client_and_not_of_the_proxy() {
    let sink = Sink::start();
    let config = format!(
        "{}[rate_limiting]\nexempt = [\"{ADDRESS}\"]\nrequests_per_minute = 1\nburst_size = 2\n[auth]\nlock_after = 1\n",
        config(&sink)
    );
    let server = Server::with(&config);
    for _ in 0..2 {
        greeted(from_proxy(server.smtp, &header(FRIEND))).expect("QUIT", 221);
    }
    let mut third = from_proxy(server.smtp, &header(FRIEND));
    let reply = third.reply();
    assert_eq!((reply.code, &reply.lines[0][..5]), (421, "4.7.0"), "{reply:?}");
    assert!(third.is_closed());
    let line = server.wait_event("connection_refused", |_| true);
    assert_eq!(
        (host(&line, "peer"), &line["reason"]),
        (FRIEND.to_owned(), &json!("rate_limited"))
    );
    // Another client has its own, and so has the proxy, which is exempt.
    greeted(from_proxy(server.smtp, &header(STRANGER))).expect("NOOP", 250);
    for _ in 0..5 {
        greeted(from_proxy(server.smtp, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")).expect("QUIT", 221);
    }
    // A guesser is locked, and others who come through the same proxy are not.
    let proxy = HaProxy::before(&server);
    let login = |client: &str, password: &str| {
        let mut swaks = swaks(proxy.submission, "ann", password);
        swaks.args(["--quit-after", "AUTH", "--local-interface", client]);
        swaks.status().expect("swaks").success()
    };
    assert!(!login("127.0.0.21", "wrong"));
    assert!(!login("127.0.0.21", PASSWORD), "locked");
    assert!(login("127.0.0.22", PASSWORD));
    let line = server.wait_event("auth_locked", |_| true);
    assert_eq!(host(&line, "peer"), "127.0.0.21");
}

#[test]
fn who_sends_no_header_takes_a_place_among_all_for_a_while() {
    let sink = Sink::start();
    let config = config(&sink).replacen("[server]\n", "[server]\nmax_connections = 2\n", 1);
    let server = Server::with(&config);
    let silent = [(); 2].map(|()| Wire::connect_from(ADDRESS, server.smtp));
    let mut third = from_proxy(server.smtp, &header(FRIEND));
    let reply = third.reply();
    assert_eq!((reply.code, &reply.lines[0][..5]), (421, "4.3.2"), "{reply:?}");
    for wire in silent {
        is_turned_away(&server, wire, "proxy_missing", "within 5 s");
    }
    wait_for("a place", || {
        from_proxy(server.smtp, &header(FRIEND))
            .try_reply()
            .is_some_and(|reply| reply.code == 220)
    });
}

/// A connection that is refused gives its place back before its client has gone, which may take as long as that likes.
#[test]
fn who_is_refused_takes_no_place() {
    let sink = Sink::start();
    let config = config(&sink).replacen("[server]\n", "[server]\nmax_connections = 1\n", 1);
    let server = Server::with(&config);
    let mut staying = Vec::new();
    for octets in [&b"NOOP\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c"] {
        let mut wire = from_proxy(server.smtp, octets);
        let reply = wire.reply();
        assert_eq!((reply.code, &reply.lines[0][..5]), (421, "4.7.0"), "{reply:?}");
        staying.push(wire);
        greeted(from_proxy(server.smtp, &header(FRIEND))).expect("QUIT", 221);
        wait_for("the session to be over", || {
            server.metric("smtp_active_connections") == 0.0
        });
    }
    assert_eq!(refused(&server, "smtp", "too_many"), 0.0);
}

/// Those that are waited for are counted: beyond 256 they are told, and let go at once.
#[test]
fn a_crowd_that_is_refused_is_told_and_not_kept() {
    let (_sink, server) = server();
    let before = open_files(&server);
    let mut crowd: Vec<Wire> = (0..600)
        .map(|_| Wire::connect_from(ADDRESS, server.smtp))
        .collect();
    wait_for("the crowd to be in", || open_files(&server) >= before + 600);
    for wire in &mut crowd {
        wire.send(b"NOOP\r\n");
    }
    for wire in &mut crowd {
        assert_eq!(wire.reply().code, 421);
    }
    // Each is let go of a moment after it was told; the last few may not be yet.
    let kept = open_files(&server).saturating_sub(before);
    assert!(kept < 256 + 100, "{kept} are kept");
    wait_for("the server to be alone", || open_files(&server) < before + 50);
    assert_eq!(refused(&server, "smtp", "proxy_missing"), 600.0);
    greeted(from_proxy(server.smtp, &header(FRIEND))).expect("NOOP", 250);
}

fn open_files(server: &Server) -> usize {
    let folder = format!("/proc/{}/fd", server.pid());
    std::fs::read_dir(folder).expect("open files").count()
}

/// A proxy may be exempt for its own checks. Who guesses through it, while it does not say who that is, is not.
#[test]
fn guesses_through_a_proxy_that_is_exempt_lock_it() {
    let sink = Sink::start();
    let config = format!(
        "{}[rate_limiting]\nexempt = [\"127.0.0.0/8\"]\n[auth]\nlock_after = 1\n",
        config(&sink)
    );
    let server = Server::with(&config);
    let login = |client: &str, name: &str, password: &str| {
        let mut swaks = swaks(server.submission(), name, password);
        swaks.args(["--quit-after", "AUTH", "--local-interface", ADDRESS]);
        swaks.args(["--proxy-version", "2", "--proxy-family", "AF_INET"]);
        swaks.args(["--proxy-dest", "192.0.2.25", "--proxy-dest-port", "25"]);
        swaks.args(["--proxy-source", client, "--proxy-source-port", "40001"]);
        swaks.output().expect("swaks").status.success()
    };
    // Five times `lock_after`, each name once, from a client with an address of its own: it is exempt, so others there may log in.
    for name in ["a", "b", "c", "d", "e"] {
        assert!(!login(STRANGER, name, "guess"));
    }
    assert!(login(STRANGER, "ann", PASSWORD));
    for name in ["f", "g", "h", "i", "j"] {
        assert!(!login(ADDRESS, name, "guess"));
    }
    assert!(!login(ADDRESS, "ann", PASSWORD), "nobody else is looked at");
    let line = server.wait_event("auth_locked", |line| line["scope"] == "network");
    assert_eq!(host(&line, "peer"), ADDRESS);
    assert!(login(FRIEND, "ann", PASSWORD), "another client of the same proxy");
}

#[test]
fn a_reload_changes_what_is_asked_of_the_next_connection() {
    let sink = Sink::start();
    let mut server = Server::with(&sink.relay_config());
    let mut before = Wire::hello(server.smtp);
    reload(&mut server, &config(&sink), "config_reloaded");
    is_refused_without_header(&server, server.submission());
    is_refused_without_header(&server, server.smtp);
    assert!(relays(&mut greeted(from_proxy(server.smtp, &header(FRIEND)))));
    before.expect("NOOP", 250);
    // One listener for programs inside, who come directly.
    let inside = format!("{}[submission]\nproxy_protocol = \"off\"\n", config(&sink));
    reload(&mut server, &inside, "config_reloaded");
    Wire::hello(server.submission()).expect("NOOP", 250);
    is_refused_without_header(&server, server.smtp);
    reload(
        &mut server,
        "[server]\nproxy_protocol = \"v2\"\n",
        "config_refused",
    );
    let line = server.wait_event("config_refused", |_| true);
    assert!(
        line["error"].to_string().contains("server.proxy_networks"),
        "{line}"
    );
    is_refused_without_header(&server, server.smtp);
}

/// Puts a configuration in force, or sees it refused.
fn reload(server: &mut Server, config: &str, event: &str) {
    let before = server.events(event).len();
    server.write_config(config);
    server.signal(Signal::SIGHUP);
    wait_for(event, || server.events(event).len() > before);
}

fn is_refused_without_header(server: &Server, address: SocketAddr) {
    let mut wire = Wire::connect(address);
    assert_eq!(
        wire.reply().code,
        421,
        "{:?}",
        server.events("connection_refused")
    );
}

#[test]
fn networks_of_everybody_or_of_nobody_do_not_start() {
    for (networks, why) in [
        ("", "name the addresses of the proxies"),
        ("0.0.0.0/0", "pass for any client"),
        ("::/0", "pass for any client"),
    ] {
        let setup = Setup::new("")
            .env("SMTP_SERVER__PROXY_PROTOCOL", "v2")
            .env("SMTP_SERVER__PROXY_NETWORKS", networks);
        let (code, said) = refusal(&setup);
        assert_eq!(code, 78, "{said}");
        assert!(
            said.contains("SMTP_SERVER__PROXY_NETWORKS") || said.contains("server.proxy_networks"),
            "{said}"
        );
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn mail_of_this_machine_goes_by_the_drop_folder() {
    let sink = Sink::start();
    let sendmail = Sendmail::to("smtp://127.0.0.1:1");
    // Loopback may relay, and is no proxy: nothing but the server itself may come without a header.
    let config = config(&sink).replacen(FRIEND, "127.0.0.1", 1);
    let server = Setup::new(config)
        .env("SMTP_SENDMAIL__DROP_PATH", sendmail.drop().display().to_string())
        .start();
    for count in 1..=2 {
        sendmail.expect(&["b@elsewhere.test"], "Subject: waits\n\nx\n", 0);
        assert!(sink.wait(count).len() == count);
        wait_for("the folder to be empty", || sendmail.waiting().is_empty());
    }
    is_turned_away(
        &server,
        Wire::connect(server.smtp),
        "proxy_untrusted",
        "proxy_networks",
    );
    assert_eq!(
        server.metric("smtp_messages_received_total{listener=\"smtp\"}"),
        2.0
    );
}
