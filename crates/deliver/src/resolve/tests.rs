//! Next hops against a name server that answers from a table, and lies where it is told to.

use super::fake::{Lie, Zone};
use super::*;
use crate::testing::hop;
use hickory_resolver::config::ResolverOpts;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};
use std::collections::HashSet;

fn own() -> Own {
    Own {
        hostname: "mx.own.test".into(),
        addresses: vec!["192.0.2.99".parse().unwrap()],
        ports: [25, 465, 587],
    }
}

/// A resolver that asks the zone, and does not wait long.
async fn resolver(zone: Zone) -> Resolver {
    told(zone, Observer::silent()).await
}

/// The same, whose observer is known.
async fn told(zone: Zone, observer: Observer) -> Resolver {
    let server = lookup::name_server(&zone.serve().await);
    Resolver {
        dns: Dns::with(
            vec![server],
            Duration::from_millis(200),
            ResolverOpts::default(),
            observer,
        )
        .unwrap(),
    }
}

/// The endpoints of a domain as `name address` lines.
async fn try_mx(resolver: &Resolver, domain: &str) -> Result<Vec<String>, Reply> {
    let endpoints = resolver
        .endpoints(&HopKind::Mx(domain.into()), 25, &own())
        .await?;
    Ok(endpoints
        .iter()
        .map(|endpoint| format!("{} {}", endpoint.name, endpoint.address))
        .collect())
}

async fn mx(zone: Zone, domain: &str) -> Vec<String> {
    try_mx(&resolver(zone).await, domain).await.unwrap()
}

/// Code and status of the refusal.
async fn refusal(zone: Zone, domain: &str) -> (u16, Enhanced) {
    let reply = try_mx(&resolver(zone).await, domain).await.unwrap_err();
    (reply.code, reply.enhanced.unwrap())
}

#[tokio::test]
async fn hosts_come_by_preference_with_both_families() {
    let zone = Zone::default()
        .mx("a.test.", 20, "Backup.a.test.")
        .mx("a.test.", 10, "mx.a.test.")
        .ip("mx.a.test.", "2001:db8::1")
        .ip("mx.a.test.", "192.0.2.1")
        .ip("backup.a.test.", "192.0.2.2");
    let expected = [
        "mx.a.test 192.0.2.1:25",
        "mx.a.test [2001:db8::1]:25",
        "backup.a.test 192.0.2.2:25",
    ];
    assert_eq!(mx(zone, "a.test").await, expected);
}

#[tokio::test]
async fn equal_preferences_are_shuffled_and_stay_before_worse_ones() {
    let zone = Zone::default()
        .mx("a.test.", 10, "one.a.test.")
        .mx("a.test.", 10, "two.a.test.")
        .mx("a.test.", 11, "three.a.test.")
        .ip("one.a.test.", "192.0.2.1")
        .ip("two.a.test.", "192.0.2.2")
        .ip("three.a.test.", "192.0.2.3");
    let resolver = resolver(zone).await;
    let mut firsts = HashSet::new();
    // 2^-100 that chance alone keeps one in front.
    for _ in 0..101 {
        let endpoints = try_mx(&resolver, "a.test").await.unwrap();
        assert_eq!(endpoints[2], "three.a.test 192.0.2.3:25");
        firsts.insert(endpoints[0].clone());
    }
    assert_eq!(firsts.len(), 2);
}

#[tokio::test]
async fn without_mx_the_domain_is_its_own_host() {
    let zone = Zone::default().ip("a.test.", "192.0.2.1");
    assert_eq!(mx(zone, "a.test").await, ["a.test 192.0.2.1:25"]);
}

#[tokio::test]
async fn aliases_are_followed_for_domains_and_hosts() {
    let zone = Zone::default()
        .cname("alias.test.", "real.test.")
        .mx("real.test.", 10, "mx.test.")
        .cname("mx.test.", "host.test.")
        .ip("host.test.", "192.0.2.1");
    assert_eq!(mx(zone, "alias.test").await, ["mx.test 192.0.2.1:25"]);
}

#[tokio::test]
async fn a_null_mx_takes_no_mail() {
    let zone = Zone::default().mx("a.test.", 0, ".").ip("a.test.", "192.0.2.1");
    assert_eq!(refusal(zone, "a.test").await, (556, Enhanced(5, 1, 10)));
}

#[tokio::test]
async fn what_does_not_exist_is_refused_for_good() {
    assert_eq!(refusal(Zone::default(), "a.test").await, (550, Enhanced(5, 1, 2)));
    assert_eq!(
        refusal(Zone::default().empty("a.test."), "a.test").await,
        (550, Enhanced(5, 4, 4))
    );
    let gone = Zone::default().mx("a.test.", 10, "gone.test.");
    assert_eq!(refusal(gone, "a.test").await, (550, Enhanced(5, 4, 4)));
    let label = "a".repeat(64) + ".test";
    assert_eq!(refusal(Zone::default(), &label).await, (550, Enhanced(5, 1, 2)));
}

#[tokio::test]
async fn hosts_that_cannot_be_hosts_are_left_out() {
    let zone = Zone::default()
        .mx("a.test.", 1, ".")
        .mx("a.test.", 2, "192.0.2.7.")
        .mx("a.test.", 3, "mx x\n.test.")
        .mx("a.test.", 4, "nowhere.test.")
        .mx("a.test.", 5, "mx.test.")
        .ip("nowhere.test.", "0.0.0.0")
        .ip("nowhere.test.", "224.0.0.1")
        .ip("nowhere.test.", "255.255.255.255")
        .ip("nowhere.test.", "::")
        .ip("nowhere.test.", "ff02::1")
        .ip("nowhere.test.", "::ffff:0.0.0.0")
        .ip("mx.test.", "192.0.2.1");
    assert_eq!(mx(zone, "a.test").await, ["mx.test 192.0.2.1:25"]);
    let zone = Zone::default().mx("a.test.", 2, "192.0.2.7.");
    assert_eq!(refusal(zone, "a.test").await, (550, Enhanced(5, 4, 4)));
}

#[tokio::test]
async fn mail_goes_only_to_hosts_better_than_ourselves() {
    let by_name = Zone::default()
        .mx("a.test.", 10, "mx.test.")
        .mx("a.test.", 20, "MX.own.test.")
        .mx("a.test.", 20, "equal.test.")
        .mx("a.test.", 30, "worse.test.")
        .ip("mx.test.", "192.0.2.1")
        .ip("equal.test.", "192.0.2.2")
        .ip("worse.test.", "192.0.2.3");
    assert_eq!(mx(by_name, "a.test").await, ["mx.test 192.0.2.1:25"]);
    let by_address = Zone::default()
        .mx("a.test.", 10, "mx.test.")
        .mx("a.test.", 20, "nat.test.")
        .mx("a.test.", 20, "equal.test.")
        .ip("mx.test.", "192.0.2.1")
        .ip("nat.test.", "192.0.2.99")
        .ip("equal.test.", "192.0.2.2");
    assert_eq!(mx(by_address, "a.test").await, ["mx.test 192.0.2.1:25"]);
}

#[tokio::test]
async fn mail_for_ourselves_that_is_not_local_is_a_loop() {
    let looping = (554, Enhanced(5, 4, 6));
    assert_eq!(
        refusal(Zone::default().mx("a.test.", 10, "mx.own.test."), "a.test").await,
        looping
    );
    assert_eq!(
        refusal(Zone::default().ip("mx.own.test.", "192.0.2.1"), "mx.own.test").await,
        looping
    );
    assert_eq!(
        refusal(Zone::default().ip("a.test.", "192.0.2.99"), "a.test").await,
        looping
    );
    // Our address with another port is somebody else.
    let other_port = Zone::default().ip("a.test.", "192.0.2.99");
    let kind = HopKind::Mx("a.test".into());
    let endpoints = resolver(other_port)
        .await
        .endpoints(&kind, 2525, &own())
        .await
        .unwrap();
    assert_eq!(endpoints[0].address, "192.0.2.99:2525".parse().unwrap());
}

#[tokio::test]
async fn doubtful_answers_are_transient() {
    let transient = (451, Enhanced(4, 4, 3));
    for lie in [
        Lie::Code(ResponseCode::ServFail),
        Lie::Code(ResponseCode::Refused),
        Lie::Code(ResponseCode::NotImp),
        Lie::Garbage,
        Lie::WrongId,
        Lie::Cut,
        Lie::Silence,
    ] {
        let domain = Zone::default()
            .mx("a.test.", 10, "mx.test.")
            .lie("a.test.", None, lie);
        assert_eq!(
            refusal(domain, "a.test").await,
            transient,
            "{lie:?} for the domain"
        );
        let host = Zone::default()
            .mx("a.test.", 10, "mx.test.")
            .lie("mx.test.", None, lie);
        assert_eq!(refusal(host, "a.test").await, transient, "{lie:?} for the host");
    }
    // One family is empty, the other is not known.
    let half = Zone::default().empty("a.test.").lie(
        "a.test.",
        Some(RecordType::AAAA),
        Lie::Code(ResponseCode::ServFail),
    );
    assert_eq!(refusal(half, "a.test").await, transient);
}

#[tokio::test]
async fn one_broken_host_does_not_hide_the_others() {
    let zone = Zone::default()
        .mx("a.test.", 1, "silent.test.")
        .mx("a.test.", 2, "mx.test.")
        .lie("silent.test.", None, Lie::Silence)
        .ip("mx.test.", "192.0.2.1")
        .lie(
            "mx.test.",
            Some(RecordType::AAAA),
            Lie::Code(ResponseCode::ServFail),
        );
    assert_eq!(mx(zone, "a.test").await, ["mx.test 192.0.2.1:25"]);
}

#[tokio::test]
async fn alias_loops_are_transient() {
    let transient = (451, Enhanced(4, 4, 3));
    let pair = || {
        Zone::default()
            .cname("a.test.", "b.test.")
            .cname("b.test.", "a.test.")
    };
    assert_eq!(refusal(pair(), "a.test").await, transient);
    assert_eq!(
        refusal(Zone::default().cname("a.test.", "a.test."), "a.test").await,
        transient
    );
    assert_eq!(
        refusal(pair().mx("c.test.", 1, "a.test."), "c.test").await,
        transient
    );
}

#[tokio::test]
async fn of_a_thousand_hosts_the_best_twenty_are_tried() {
    let mut zone = Zone::default();
    for n in (0..1000).rev() {
        let name = format!("mx{n}.test.");
        zone = zone
            .mx("a.test.", n, &name)
            .ip(&name, &format!("192.0.2.{}", n % 90 + 1));
    }
    let endpoints = mx(zone, "a.test").await;
    assert_eq!(endpoints.len(), mx::MOST_HOSTS);
    assert_eq!(endpoints[0], "mx0.test 192.0.2.1:25");
    assert_eq!(endpoints[19], "mx19.test 192.0.2.20:25");
}

#[tokio::test]
async fn of_a_hundred_addresses_ten_are_tried_of_both_families() {
    let mut zone = Zone::default();
    for n in 1..=50 {
        zone = zone
            .ip("a.test.", &format!("192.0.2.{n}"))
            .ip("a.test.", &format!("2001:db8::{n}"));
    }
    let endpoints = mx(zone, "a.test").await;
    assert_eq!(endpoints.len(), MOST_ADDRESSES);
    assert_eq!(
        endpoints.iter().filter(|endpoint| endpoint.contains('[')).count(),
        MOST_ADDRESSES / 2
    );
}

async fn host(resolver: &Resolver, host: &str, port: u16) -> Result<Vec<Endpoint>, Reply> {
    resolver
        .endpoints(&HopKind::Host(hop(host, port)), 25, &own())
        .await
}

#[tokio::test]
async fn a_configured_host_is_an_address_or_is_completed_by_the_search_list() {
    let zone = Zone::default()
        .ip("mailhub.corp.test.", "192.0.2.1")
        .ip("relay.mail.svc.cluster.test.", "192.0.2.2")
        .mx("relay.test.", 1, "not-used.test.")
        .ip("relay.test.", "192.0.2.3");
    let mut resolver = resolver(zone).await;
    resolver.dns = resolver.dns.completed_by(&["cluster.test.", "corp.test."], 5);
    for (name, expected) in [
        ("mailhub", "192.0.2.1:587"),
        ("relay.mail.svc", "192.0.2.2:587"),
        ("relay.test", "192.0.2.3:587"),
        ("relay.test.", "192.0.2.3:587"),
        ("10.1.2.3", "10.1.2.3:587"),
        ("2001:db8::1", "[2001:db8::1]:587"),
        ("[2001:db8::1]", "[2001:db8::1]:587"),
    ] {
        let endpoints = host(&resolver, name, 587).await.unwrap();
        assert_eq!(endpoints.len(), 1, "{name}");
        assert_eq!(endpoints[0].address, expected.parse().unwrap(), "{name}");
        assert!(!endpoints[0].name.ends_with('.'), "{name}");
    }
    // Domains of recipients are never completed.
    let reply = try_mx(&resolver, "mailhub").await.unwrap_err();
    assert_eq!(reply.code, 550);
}

#[tokio::test]
async fn a_configured_host_that_cannot_be_used_bounces_nothing() {
    let resolver = resolver(
        Zone::default()
            .ip("self.test.", "192.0.2.99")
            .empty("empty.test."),
    )
    .await;
    for (name, port) in [
        ("gone.test", 25),
        ("empty.test", 25),
        ("self.test", 25),
        ("192.0.2.99", 25),
        ("0.0.0.0", 25),
    ] {
        let reply = host(&resolver, name, port).await.unwrap_err();
        assert_eq!(
            (reply.code, reply.enhanced),
            (451, Some(Enhanced(4, 3, 5))),
            "{name}"
        );
    }
}

#[test]
fn the_systems_settings_are_usable_without_asking_anyone() {
    let config = crate::testing::config();
    Resolver::new(&config, Observer::silent()).unwrap();
    let own = Own::new(&config);
    assert!(own.is_address("127.0.0.1".parse().unwrap(), config.server.port));
    assert_eq!(
        lookup::absolute("a.test").unwrap(),
        Name::from_ascii("a.test.").unwrap()
    );
}

/// Questions that were found, not found, and failed.
fn counted(observer: &Observer) -> [u64; 3] {
    let text = observer.metrics(&smtp_observe::Gauges::default());
    ["found", "not_found", "failed"].map(|result| {
        let series = format!("smtp_dns_lookups_total{{result=\"{result}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(series.as_str()));
        value.unwrap().parse().unwrap()
    })
}

#[tokio::test]
async fn every_question_is_counted_by_what_it_came_to() {
    let observer = Observer::silent();
    let zone = Zone::default()
        .mx("a.test.", 10, "mx.a.test.")
        .ip("mx.a.test.", "192.0.2.1")
        .lie("refused.test.", None, Lie::Code(ResponseCode::Refused))
        .lie("garbage.test.", None, Lie::Garbage)
        .lie("silent.test.", None, Lie::Silence);
    let resolver = told(zone, observer.clone()).await;
    try_mx(&resolver, "a.test").await.unwrap();
    assert_eq!(counted(&observer), [2, 1, 0], "MX and A, and no AAAA");
    try_mx(&resolver, "a.test").await.unwrap();
    assert_eq!(counted(&observer), [4, 2, 0], "from memory, too");
    try_mx(&resolver, "nowhere.test").await.unwrap_err();
    assert_eq!(counted(&observer), [4, 3, 0]);
    for (number, domain) in ["refused.test", "garbage.test", "silent.test"].iter().enumerate() {
        try_mx(&resolver, domain).await.unwrap_err();
        assert_eq!(counted(&observer), [4, 3, number as u64 + 1], "{domain}");
    }
    // Nobody waits any longer.
    let asked = timeout_at(
        Instant::now() + Duration::from_millis(20),
        try_mx(&resolver, "again.silent.test"),
    );
    assert!(
        asked.await.is_ok(),
        "a name that does not exist is answered at once"
    );
    let name = lookup::absolute("silent.test").unwrap();
    let asked = timeout_at(Instant::now() + Duration::from_millis(20), resolver.dns.mx(name));
    assert!(asked.await.is_err());
    assert_eq!(counted(&observer), [4, 4, 4]);
}
