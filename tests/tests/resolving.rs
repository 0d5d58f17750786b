//! Mail by MX (RFC 5321 5.1), with DNS servers that tell the truth and ones that lie.

use blackbox::dns::{Dns, Lie};
use blackbox::server::{Server, Setup};
use blackbox::sink::{Act, Sink};
use blackbox::wire::Wire;

/// Sinks on 127.0.0.2 and following, all on one port.
fn sinks(count: u8) -> (u16, Vec<Sink>) {
    let first = Sink::on("127.0.0.2:0", &["PIPELINING"], |_, _| Act::Default);
    let port = first.address.port();
    let mut sinks = vec![first];
    for last in 3..2 + count {
        sinks.push(Sink::on(
            &format!("127.0.0.{last}:{port}"),
            &["PIPELINING"],
            |_, _| Act::Default,
        ));
    }
    (port, sinks)
}

fn direct(dns: &Dns, port: u16) -> Server {
    Setup::new(format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\n{}[delivery]\nport = {port}\nretry_initial = 1\nretry_max = 2\nconnect_timeout = 2\n",
        dns.config()
    ))
    .start()
}

fn send(server: &Server, to: &str) {
    let reply = Wire::hello(server.smtp).mail("", &[to], "Subject: test\r\n\r\n");
    assert_eq!(reply.code, 250, "{reply:?}");
}

fn fate(server: &Server, to: &str) -> (String, String, String) {
    let line = server.wait_event("delivery", |line| line["to"] == to);
    let field = |name: &str| line[name].as_str().unwrap_or_default().to_string();
    (field("status"), field("dsn"), field("text"))
}

#[test]
fn preference_decides_then_the_next_is_tried() {
    let (port, sinks) = sinks(3);
    let dns = Dns::start();
    // Ten domains: a server that takes any of three is right by chance once in 3^10 runs.
    for number in 0..10 {
        let domain = format!("d{number}.test");
        dns.mx(&domain, 30, "third.test");
        dns.mx(&domain, 10, "first.test");
        dns.mx(&domain, 20, "second.test");
    }
    dns.a("first.test", "127.0.0.2");
    dns.a("second.test", "127.0.0.3");
    dns.a("third.test", "127.0.0.4");
    // An MX that refuses connections is passed over.
    dns.mx("e.test", 5, "refuses.test");
    dns.a("refuses.test", "127.0.0.9");
    dns.mx("e.test", 10, "second.test");
    let server = direct(&dns, port);
    for number in 0..10 {
        send(&server, &format!("b@d{number}.test"));
    }
    server.wait_empty();
    assert_eq!(sinks[0].count(), 10);
    send(&server, "b@e.test");
    sinks[1].wait(1);
    server.wait_empty();
    assert_eq!(sinks[2].count(), 0);
    let sent = server.wait_event("delivery", |line| {
        line["to"] == "b@e.test" && line["status"] == "sent"
    });
    assert!(
        sent["relay"]
            .as_str()
            .expect("relay")
            .starts_with("second.test[127.0.0.3]:"),
        "{sent}"
    );
}

#[test]
fn equal_preferences_share() {
    let (port, sinks) = sinks(2);
    let dns = Dns::start();
    for number in 0..40 {
        dns.mx(&format!("d{number}.test"), 10, "one.test");
        dns.mx(&format!("d{number}.test"), 10, "two.test");
    }
    dns.a("one.test", "127.0.0.2");
    dns.a("two.test", "127.0.0.3");
    let server = direct(&dns, port);
    let mut wire = Wire::hello(server.smtp);
    for number in 0..40 {
        assert_eq!(
            wire.mail("", &[&format!("b@d{number}.test")], "text\r\n").code,
            250
        );
    }
    server.wait_empty();
    let (one, two) = (sinks[0].count(), sinks[1].count());
    assert_eq!(one + two, 40);
    // All 40 on one side: once in 2^39 runs.
    assert!(one > 0 && two > 0, "{one} and {two}");
}

#[test]
fn implicit_mx_and_aliases() {
    let (port, sinks) = sinks(1);
    let dns = Dns::start();
    dns.a("implicit.test", "127.0.0.2");
    dns.add("alias.test", blackbox::dns::Record::Cname("real.test".into()));
    dns.mx("real.test", 10, "mx.real.test");
    dns.add("mx.real.test", blackbox::dns::Record::Cname("host.test".into()));
    dns.a("host.test", "127.0.0.2");
    let server = direct(&dns, port);
    send(&server, "b@implicit.test");
    sinks[0].wait(1);
    send(&server, "b@alias.test");
    sinks[0].wait(2);
    send(&server, "b@[127.0.0.2]");
    sinks[0].wait(3);
}

#[test]
fn ipv6_is_used() {
    let sink = Sink::on("[::1]:0", &["PIPELINING"], |_, _| Act::Default);
    let dns = Dns::start();
    dns.mx("six.test", 10, "mx.six.test");
    dns.add(
        "mx.six.test",
        blackbox::dns::Record::Aaaa("::1".parse().expect("address")),
    );
    let server = direct(&dns, sink.address.port());
    send(&server, "b@six.test");
    sink.wait(1);
    let sent = server.wait_event("delivery", |line| line["status"] == "sent");
    assert!(sent["relay"].as_str().expect("relay").contains("::1"), "{sent}");
}

#[test]
fn domains_that_take_no_mail_bounce_at_once() {
    let (port, sinks) = sinks(1);
    let dns = Dns::start();
    dns.mx("null.test", 0, ".");
    dns.a("null.test", "127.0.0.2");
    dns.mx("hostless.test", 10, "nowhere.test");
    let server = direct(&dns, port);
    for (to, dsn) in [
        ("b@null.test", "5.1.10"),
        ("b@nxdomain.test", "5.1.2"),
        ("b@hostless.test", "5.4.4"),
    ] {
        send(&server, to);
        let (status, got, text) = fate(&server, to);
        assert_eq!((status.as_str(), got.as_str()), ("bounced", dsn), "{to}: {text}");
    }
    server.wait_empty();
    assert_eq!(sinks[0].count(), 0);
}

#[test]
fn mail_never_loops_to_ourselves() {
    let dns = Dns::start();
    dns.mx("us.test", 10, "mx.test");
    dns.mx("us.test", 20, "backup.test");
    dns.a("mx.test", "127.0.0.1");
    dns.a("backup.test", "127.0.0.2");
    let server = direct(&dns, 25);
    send(&server, "b@us.test");
    let (status, dsn, text) = fate(&server, "b@us.test");
    assert_eq!((status.as_str(), dsn.as_str()), ("bounced", "5.4.6"), "{text}");
}

#[test]
fn a_backup_mx_relays_only_to_better_ones() {
    let (port, sinks) = sinks(2);
    let dns = Dns::start();
    dns.mx("d.test", 10, "primary.test");
    dns.mx("d.test", 20, "mx.test");
    dns.mx("d.test", 30, "worse.test");
    dns.a("primary.test", "127.0.0.9");
    dns.a("worse.test", "127.0.0.3");
    dns.a("mx.test", "127.0.0.1");
    let server = direct(&dns, port);
    send(&server, "b@d.test");
    let (status, _, text) = fate(&server, "b@d.test");
    assert_eq!(status, "deferred", "{text}");
    assert_eq!(sinks[1].count(), 0, "a worse MX would send it back to us");
}

#[test]
fn servers_that_lie_or_fail_defer() {
    let (port, sinks) = sinks(1);
    let dns = Dns::start();
    let lies = [
        ("servfail.test", Lie::ServFail),
        ("garbage.test", Lie::Garbage),
        ("truncated-data.test", Lie::TruncatedData),
        ("wrong-id.test", Lie::WrongId),
        ("truncated.test", Lie::Truncated),
        ("silent.test", Lie::Silent),
    ];
    for (name, lie) in lies {
        dns.mx(name, 10, "mx.good.test");
        dns.lie(name, lie);
    }
    dns.a("mx.good.test", "127.0.0.2");
    dns.mx("good.test", 10, "mx.good.test");
    // A loop of aliases, and a thousand servers that do not exist.
    dns.add("loop-a.test", blackbox::dns::Record::Cname("loop-b.test".into()));
    dns.add("loop-b.test", blackbox::dns::Record::Cname("loop-a.test".into()));
    let server = direct(&dns, port);
    let mut wire = Wire::hello(server.smtp);
    for (name, _) in lies {
        assert_eq!(wire.mail("", &[&format!("b@{name}")], "text\r\n").code, 250);
    }
    assert_eq!(wire.mail("", &["b@loop-a.test"], "text\r\n").code, 250);
    // They hold up nobody.
    assert_eq!(wire.mail("", &["b@good.test"], "text\r\n").code, 250);
    sinks[0].wait(1);
    for (name, lie) in lies {
        let to = format!("b@{name}");
        let line = {
            let mut found = None;
            blackbox::wait_for_secs(&format!("the fate of {to}"), 60, || {
                found = server
                    .events("delivery")
                    .into_iter()
                    .find(|line| line["to"] == to.as_str());
                found.is_some()
            });
            found.expect("fate")
        };
        assert_eq!(line["status"], "deferred", "{lie:?}: {line}");
        assert!(line["dsn"].as_str().expect("dsn").starts_with("4.4."), "{line}");
    }
    // Once they tell the truth, the mail goes.
    for (name, _) in lies {
        dns.honest(name);
    }
    server.done(&["queue", "retry", "--all"]);
    blackbox::wait_for_secs("all to arrive", 90, || {
        server.done(&["queue", "retry", "--all"]);
        std::thread::sleep(std::time::Duration::from_millis(500));
        sinks[0].count() > lies.len()
    });
}

#[test]
fn many_servers_are_tried_only_so_far() {
    let dns = Dns::start();
    for number in 0..60 {
        dns.mx("many.test", number, &format!("mx{number}.many.test"));
        dns.a(&format!("mx{number}.many.test"), "127.0.0.9");
    }
    let server = direct(&dns, 9);
    send(&server, "b@many.test");
    let (status, _, text) = fate(&server, "b@many.test");
    assert_eq!(status, "deferred", "{text}");
    let asked = (0..60)
        .filter(|n| dns.queries(&format!("mx{n}.many.test")) > 0)
        .count();
    assert!(asked <= 20, "{asked} of 60 servers were looked up");
}

#[test]
fn what_dns_answers_is_counted() {
    let (port, sinks) = sinks(1);
    let dns = Dns::start();
    dns.mx("good.test", 10, "mx.good.test");
    dns.a("mx.good.test", "127.0.0.2");
    dns.mx("ill.test", 10, "mx.ill.test");
    dns.lie("ill.test", Lie::ServFail);
    let server = Setup::new(format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\n{}[delivery]\nport = {port}\nretry_initial = 3600\nretry_max = 3600\n",
        dns.config()
    ))
    .env("SMTP_LOG_LEVEL", "debug")
    .start();
    let counts = || {
        ["found", "not_found", "failed"]
            .map(|result| server.metric(&format!("smtp_dns_lookups_total{{result=\"{result}\"}}")))
    };
    assert_eq!(counts(), [0.0; 3]);
    send(&server, "b@good.test");
    sinks[0].wait(1);
    server.wait_empty();
    // MX and A are there, and there is no AAAA.
    assert_eq!(counts(), [2.0, 1.0, 0.0]);
    send(&server, "b@nowhere.test");
    fate(&server, "b@nowhere.test");
    assert_eq!(counts(), [2.0, 2.0, 0.0]);
    send(&server, "b@ill.test");
    fate(&server, "b@ill.test");
    assert_eq!(counts(), [2.0, 2.0, 1.0]);
    let said = |name: &str, record: &str| {
        server.wait_event("dns_lookup", |line| {
            line["name"] == name && line["record"] == record
        })
    };
    assert_eq!(said("good.test", "MX")["result"], "found");
    let none = said("mx.good.test", "AAAA");
    assert_eq!(
        (&none["result"], &none["text"]),
        (&"not_found".into(), &"there are no such records".into())
    );
    let ill = said("ill.test", "MX");
    assert_eq!(ill["result"], "failed", "{ill}");
    assert!(
        ill["text"]
            .as_str()
            .is_some_and(|text| text.contains("Server Failure")),
        "{ill}"
    );
    // Nobody is there to ask.
    let closed = blackbox::ports::free_port();
    let server = Setup::new(format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\n[dns]\nservers = [\"{closed}\"]\n"
    ))
    .start();
    send(&server, "b@good.test");
    fate(&server, "b@good.test");
    assert_eq!(server.metric("smtp_dns_lookups_total{result=\"failed\"}"), 1.0);
}
