//! PROXY protocol: headers that are as they should be, others that are not, and connections from who is no proxy. Real proxies are in
//! [`crate::proxy_peers`]; what a proxy does to limits, locks and reloads in [`crate::proxy_limits`].

use crate::auth::PASSWORD;
use blackbox::haproxy::ADDRESS;
use blackbox::server::Server;
use blackbox::sink::Sink;
use blackbox::tls::Tls;
use blackbox::wait_for;
use blackbox::wire::{Wire, connect_from};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// A client that may relay.
pub const FRIEND: &str = "127.0.0.5";
/// A client that may not.
pub const STRANGER: &str = "127.0.0.6";
/// Somebody who is no proxy.
const OTHER: &str = "127.0.0.8";

/// Listeners that only the proxy may connect to. It is in `relay.networks`, as an address translation in front of a server
/// would be: a server that takes it for the client is an open relay.
pub fn config(sink: &Sink) -> String {
    format!(
        "[server]\nproxy_protocol = \"v2\"\nproxy_networks = [\"{ADDRESS}\"]\n\
         [logging]\nlevel = \"debug\"\n\
         [relay]\nnetworks = [\"{FRIEND}\", \"{ADDRESS}\", \"2001:db8::/32\"]\nsmarthost = \"{}\"\n\
         [[domains]]\nname = \"local.test\"\ndeliver = \"capture\"\nrecipients = \"any\"\n\
         [[accounts]]\nname = \"ann\"\npassword = \"{PASSWORD}\"\nsenders = [\"*@x.test\"]\n",
        sink.url()
    )
}

pub fn server() -> (Sink, Server) {
    let sink = Sink::start();
    let server = Server::with(&config(&sink));
    (sink, server)
}

/// A header as the specification has it, of a client with IPv4.
pub fn header(client: &str) -> Vec<u8> {
    let client: Ipv4Addr = client.parse().expect("an address");
    let head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    [&head[..], &client.octets(), &[127, 0, 0, 1, 0x9c, 0x41, 0, 25]].concat()
}

/// A connection of the proxy's that begins so.
pub fn from_proxy(address: SocketAddr, octets: &[u8]) -> Wire {
    let mut wire = Wire::connect_from(ADDRESS, address);
    wire.send(octets);
    wire
}

/// One that has been greeted and has said EHLO.
pub fn greeted(mut wire: Wire) -> Wire {
    assert_eq!(wire.reply().code, 220);
    wire.expect("EHLO client.test", 250);
    wire
}

/// May it relay? Local mail is taken in any case.
pub fn relays(wire: &mut Wire) -> bool {
    wire.expect("MAIL FROM:<a@x.test>", 250);
    wire.expect("RCPT TO:<b@local.test>", 250);
    let reply = wire.say("RCPT TO:<b@elsewhere.test>");
    wire.expect("RSET", 250);
    assert!([250, 554].contains(&reply.code), "{reply:?}");
    reply.code == 250
}

pub fn host(line: &Value, field: &str) -> String {
    let address: SocketAddr = line[field]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("no {field} in {line}"));
    address.ip().to_string()
}

pub fn headers(server: &Server, listener: &str, result: &str) -> f64 {
    server.metric(&format!(
        "smtp_proxy_headers_total{{listener=\"{listener}\",result=\"{result}\"}}"
    ))
}

pub fn refused(server: &Server, listener: &str, reason: &str) -> f64 {
    server.metric(&format!(
        "smtp_connections_refused_total{{listener=\"{listener}\",reason=\"{reason}\"}}"
    ))
}

/// Waits for the connection's refusal, and sees that it is told, counted and explained.
pub fn is_turned_away(server: &Server, mut wire: Wire, reason: &str, explained: &str) {
    let local = wire.stream().local_addr().expect("address").to_string();
    let reply = wire.reply();
    assert_eq!((reply.code, &reply.lines[0][..5]), (421, "4.7.0"), "{reply:?}");
    assert!(wire.is_closed());
    // The port may have been another connection's before.
    let line = server.wait_event("connection_refused", |line| {
        line["peer"] == local.as_str() && line["text"].to_string().contains(explained)
    });
    assert_eq!(
        (&line["reason"], &line["level"]),
        (&json!(reason), &json!("warn")),
        "{line}"
    );
    let read = server.wait_event("proxy_header", |line| line["proxy"] == local.as_str());
    assert_eq!(read["result"], reason.trim_start_matches("proxy_"), "{read}");
    assert!(read["client"].is_null(), "{read}");
    let nobody = |line: &Value| line["peer"] == local.as_str();
    assert!(!server.events("connected").iter().any(nobody));
}

#[test]
fn who_is_no_proxy_is_not_listened_to() {
    let (_sink, server) = server();
    for address in [server.smtp, server.submission()] {
        let mut forged = Wire::connect_from(OTHER, address);
        // Only the first of it may be written before the end comes.
        forged.try_send(header(FRIEND));
        is_turned_away(&server, forged, "proxy_untrusted", "proxy_networks");
    }
    // One who sends nothing is told at once as well.
    is_turned_away(
        &server,
        Wire::connect_from(OTHER, server.smtp),
        "proxy_untrusted",
        "server.proxy_networks",
    );
    // Before the handshake there are no words.
    let mut forged = Wire::connect_from(OTHER, server.smtps());
    forged.try_send(header(FRIEND));
    assert!(forged.is_closed());
    let line = server.wait_event("connection_refused", |line| line["listener"] == "smtps");
    assert!(
        line["text"].to_string().contains("smtps.proxy_networks"),
        "{line}"
    );
    assert_eq!(headers(&server, "smtp", "untrusted"), 2.0);
    assert_eq!(headers(&server, "smtps", "untrusted"), 1.0);
    assert_eq!(headers(&server, "submission", "untrusted"), 1.0);
    assert_eq!(refused(&server, "smtp", "proxy_untrusted"), 2.0);
    assert_eq!(headers(&server, "smtp", "taken"), 0.0);
}

#[test]
fn without_a_header_nobody_is_served() {
    let (_sink, server) = server();
    let silent = Wire::connect_from(ADDRESS, server.smtp);
    let mut silent_under_tls = Wire::connect_from(ADDRESS, server.smtps());
    for plain in [
        &b"EHLO client.test\r\n"[..],
        b"\r\n\r\n\0\r\nQUIX",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    ] {
        let wire = from_proxy(server.smtp, plain);
        is_turned_away(&server, wire, "proxy_missing", "send-proxy-v2");
    }
    is_turned_away(&server, silent, "proxy_missing", "within 5 s");
    assert!(silent_under_tls.is_closed());
    assert_eq!(headers(&server, "smtp", "missing"), 4.0);
    assert_eq!(refused(&server, "smtp", "proxy_missing"), 4.0);
    assert_eq!(refused(&server, "smtps", "proxy_missing"), 1.0);
    // Who only looks whether the port is open is not refused. The one after it is, so that the first has had its turn.
    drop(Wire::connect_from(ADDRESS, server.smtp));
    is_turned_away(
        &server,
        from_proxy(server.smtp, b"NOOP\r\n"),
        "proxy_missing",
        "send-proxy-v2",
    );
    assert_eq!(headers(&server, "smtp", "missing"), 5.0);
    assert_eq!(refused(&server, "smtp", "proxy_missing"), 5.0);
}

#[test]
fn headers_that_name_no_client_are_refused() {
    let (_sink, server) = server();
    let whole = header(FRIEND);
    let with = |place: usize, octet: u8| {
        let mut octets = whole.clone();
        octets[place] = octet;
        octets
    };
    for (octets, why) in [
        (
            b"PROXY TCP4 127.0.0.5 127.0.0.1 40001 25\r\n".to_vec(),
            "version 1",
        ),
        (with(12, 0x11), "version or command"),
        (with(12, 0x2f), "version or command"),
        (with(13, 0x12), "TCP"),
        (with(13, 0x00), "UNSPEC"),
        (with(13, 0x21), "cut off"),
        (with(14, 0xff), "4096"),
        // A length within bounds, of which the rest never comes.
        (with(15, 0xff), "5 s"),
        (with(16, 224), "nobody"),
        ([with(15, 14), vec![4, 0]].concat(), "TLV"),
        ([with(15, 19), vec![3, 0, 4, 1, 2, 3, 4]].concat(), "CRC32C"),
    ] {
        let wire = from_proxy(server.smtp, &octets);
        is_turned_away(&server, wire, "proxy_invalid", why);
    }
    // Cut off, at each length that it can have.
    for end in 1..whole.len() {
        let wire = from_proxy(server.smtp, &whole[..end]);
        wire.stream().shutdown(Shutdown::Write).expect("shutdown");
        is_turned_away(&server, wire, "proxy_invalid", "cut off");
    }
    let expected = 11.0 + whole.len() as f64 - 1.0;
    assert_eq!(headers(&server, "smtp", "invalid"), expected);
    assert_eq!(headers(&server, "smtp", "taken"), 0.0);
    greeted(from_proxy(server.smtp, &whole)).expect("NOOP", 250);
}

#[test]
fn a_header_may_come_in_pieces_or_with_what_follows() {
    let sink = Sink::start();
    let patient = format!(
        "{}[limits]\nrefuse_unauthorized_pipelining = false\n",
        config(&sink)
    );
    let server = Server::with(&patient);
    let mut wire = Wire::connect_from(ADDRESS, server.smtp);
    for octet in header(FRIEND) {
        wire.send([octet]);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(relays(&mut greeted(wire)));
    // What stands behind the header is the client's, all of it and nothing else.
    let mut wire = from_proxy(
        server.smtp,
        &[&header(STRANGER)[..], b"EHLO client.test\r\nNOOP\r\n"].concat(),
    );
    let codes: Vec<u16> = (0..3).map(|_| wire.reply().code).collect();
    assert_eq!(codes, [220, 250, 250]);
    assert!(!relays(&mut wire));
    // One header is read. Another is what a client said.
    let mut wire = from_proxy(server.smtp, &[header(STRANGER), header(FRIEND)].concat());
    assert_eq!(wire.reply().code, 220);
    assert!(wire.reply().code >= 500);
    let mut clients = Vec::new();
    wait_for("three clients in the log", || {
        let lines = server.events("connected");
        clients = lines.iter().map(|line| host(line, "peer")).collect();
        clients.len() == 3
    });
    assert_eq!(clients, [FRIEND, STRANGER, STRANGER]);
}

#[test]
fn a_client_that_speaks_too_early_is_known_by_its_own_address() {
    let (_sink, server) = server();
    let mut wire = from_proxy(
        server.smtp,
        &[&header(STRANGER)[..], b"EHLO client.test\r\n"].concat(),
    );
    assert_eq!(wire.reply().code, 554);
    let line = server.wait_event("connection_refused", |_| true);
    assert_eq!(
        (host(&line, "peer"), &line["reason"]),
        (STRANGER.to_owned(), &json!("early_talker"))
    );
}

/// A proxy that holds its header back until the client has spoken, and sends both in one piece.
fn in_one_piece(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("accept");
        let mut hello = [0; 8192];
        let count = client.read(&mut hello).expect("a ClientHello");
        assert_eq!(hello[0], 22, "a handshake");
        let mut there = connect_from(ADDRESS, server);
        there
            .write_all(&[&header(STRANGER)[..], &hello[..count]].concat())
            .expect("send");
        let copy = |mut from: TcpStream, mut to: TcpStream| {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        };
        let back = (
            there.try_clone().expect("clone"),
            client.try_clone().expect("clone"),
        );
        let forth = std::thread::spawn(move || copy(back.0, back.1));
        copy(client, there);
        let _ = forth.join();
    });
    address
}

#[test]
fn a_handshake_in_one_segment_with_the_header_succeeds() {
    let (_sink, server) = server();
    let mut client = Tls::open(in_one_piece(server.smtps()), false, &[]);
    client.expect("NOOP", "250");
    let line = server.wait_event("tls_established", |_| true);
    assert_eq!(host(&line, "peer"), STRANGER);
}
