//! The NetworkPolicies that ship, in force: who reaches whom, tried by real connections, and mail that flows in and out
//! under them.

use super::pods::hello;
use super::town::{Shape, Town};
use blackbox::dns::{Dns, Record};
use blackbox::postgres::Postgres;
use blackbox::server::{Server, http};
use blackbox::sink::Sink;
use packaging::net::addresses::service;
use packaging::net::cluster::Service;
use packaging::net::pods::{setup, sink, start};
use packaging::render::{chart, kustomize, objects};
use packaging::tools::Release;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};

/// What ships with policies in it.
fn shipped() -> Vec<(&'static str, Shape, Vec<Value>)> {
    let overlay = |name: &str| objects(&kustomize(Release::Helm4, &format!("k8s/overlays/{name}")));
    let chart = |values: &[&str]| {
        let set = |value: &&str| ["--set".to_owned(), (*value).to_owned()];
        let hostname = "config.server.hostname=mail.example.com";
        let values: Vec<String> = [&[hostname], values].concat().iter().flat_map(set).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        objects(&chart(Release::Helm4, None, "1.37.0", &values))
    };
    let plain = Shape {
        namespace_denied: true,
        database: true,
        smarthost: false,
    };
    vec![
        ("overlay postgresql", plain, overlay("postgresql")),
        (
            "overlay embedded",
            Shape {
                database: false,
                ..plain
            },
            overlay("embedded"),
        ),
        (
            "overlay smarthost",
            Shape {
                database: false,
                smarthost: true,
                ..plain
            },
            overlay("smarthost"),
        ),
        (
            "chart, postgresql",
            Shape {
                namespace_denied: false,
                ..plain
            },
            chart(&["mode=postgresql"]),
        ),
        (
            "chart, embedded",
            Shape {
                namespace_denied: false,
                database: false,
                ..plain
            },
            chart(&["mode=embedded"]),
        ),
    ]
}

const NOTHING: [String; 0] = [];

/// The server, a next hop and name servers, where they live in the town; they go when this is dropped.
fn inhabitants(town: &Town) -> (Server, Sink, [Dns; 2]) {
    let hop = sink(&town.exchanger, 25);
    let names = [&town.kube_dns, &town.exchanger].map(|host| host.space.inside(|| Dns::on("[::]:53")));
    let server = start(&town.mail, setup(""));
    town.listen(&[
        (&town.mail, 2525),
        (&town.mail, 4650),
        (&town.mail, 5870),
        (&town.mail, 8080),
        (&town.exchanger, 25),
    ]);
    (server, hop, names)
}

#[test]
fn everybody_reaches_whom_they_should_and_nobody_else() {
    let town = Town::new();
    let _inhabitants = inhabitants(&town);
    // Without policies everybody reaches everybody: what is denied later is denied by them.
    assert_eq!(town.wrong(None), NOTHING, "without policies");
    for (name, shape, objects) in shipped() {
        town.enforce(&objects);
        assert_eq!(town.wrong(Some(shape)), NOTHING, "{name}");
        assert_eq!(town.otherwise(shape, &objects), NOTHING, "{name}, as evaluated");
    }
}

/// Names in the cluster's DNS: a domain with its mail server's address.
fn publish(town: &Town, dns: &Dns) {
    for (domain, address) in [
        ("four.test", town.exchanger.v4()),
        ("six.test", town.exchanger.v6()),
        ("private.test", town.office.v4()),
        ("metadata.test", town.metadata.v4()),
    ] {
        let host = format!("mx.{domain}");
        dns.mx(domain, 10, &host);
        let record = match address {
            IpAddr::V4(address) => Record::A(address),
            IpAddr::V6(address) => Record::Aaaa(address),
        };
        dns.add(&host, record);
    }
}

/// Mail from the trusted client by a Service's address, and what becomes of it.
fn mail_flows(town: &Town, server: &Server, hop: &Sink, entrance: IpAddr) {
    let mut client = hello(&town.client, entrance, 25);
    for to in ["here", "four", "six", "private", "metadata"] {
        let content = format!("Subject: {to}\r\n\r\n");
        assert_eq!(
            client.mail("a@x.test", &[&format!("b@{to}.test")], &content).code,
            250
        );
    }
    for (to, status) in [
        ("b@here.test", "sent"),
        ("b@four.test", "sent"),
        ("b@six.test", "sent"),
        ("b@private.test", "deferred"),
        ("b@metadata.test", "deferred"),
    ] {
        server.wait_event("delivery", |line| line["to"] == to && line["status"] == status);
    }
    let mut subjects: Vec<_> = hop
        .messages()
        .iter()
        .filter_map(|message| message.field("Subject"))
        .collect();
    subjects.sort();
    assert_eq!(subjects, ["four", "six"]);
}

#[test]
fn mail_flows_in_and_out_under_the_policies() {
    let town = Town::new();
    let hop = sink(&town.exchanger, 25);
    // They would take what went astray.
    let astray = [&town.office, &town.metadata].map(|host| sink(host, 25));
    let dns = town.kube_dns.space.inside(|| Dns::on("[::]:53"));
    publish(&town, &dns);
    let database = town
        .database
        .space
        .inside(|| Postgres::with("listen_addresses = '*'\n"));
    let everybody = "local all all trust\nhost all all all trust\n";
    town.database.space.inside(|| database.rules(everybody, ""));
    // It chose its port; the policies name the usual one.
    town.database.space.nft(&format!(
        "table inet port {{\nchain in {{ type nat hook prerouting priority dstnat; tcp dport 5432 redirect to :{}; }}\n}}\n",
        database.port
    ));
    let config = format!(
        "[relay]\nnetworks = [\"{}/32\", \"{}/128\"]\n[dns]\nservers = [\"{}:53\"]\n\
         [[domains]]\nname = \"here.test\"\ndeliver = \"capture\"\n",
        town.client.v4(),
        town.client.v6(),
        town.kube_dns.v4(),
    );
    town.cluster.claim(&service(1));
    town.cluster.serve(&[Service {
        addresses: service(1).to_vec(),
        port: 25,
        target: 2525,
        masquerade: false,
        endpoints: vec![town.mail.addresses.clone()],
    }]);
    for (name, shape, objects) in shipped() {
        if !shape.database {
            continue;
        }
        town.enforce(&objects);
        // By IPv4, then by IPv6: the server starts, so it reaches its database.
        for n in 0..2 {
            hop.clear();
            let url = database.url_at(SocketAddr::new(town.database.addresses[n], 5432));
            let server = start(&town.mail, setup(&config).env("SMTP_DATABASE_URL", url));
            mail_flows(&town, &server, &hop, service(1)[n]);
            let address = SocketAddr::new(town.mail.addresses[n], 8080);
            let scrape = "GET /metrics HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n";
            let (status, figures) = town.prometheus.space.inside(|| http(address, scrape));
            assert_eq!(status, 200, "{name}");
            let received = "smtp_messages_received_total{listener=\"smtp\"} 5\n";
            assert!(figures.contains(received), "{name}: {figures}");
            drop(server);
            town.database
                .space
                .inside(|| database.sql("DELETE FROM messages"));
        }
    }
    assert_eq!(
        astray.each_ref().map(Sink::connections),
        [0, 0],
        "nothing went astray"
    );
}

#[test]
fn with_a_smarthost_mail_leaves_by_it_alone() {
    let town = Town::new();
    let (_, shape, objects) = shipped()
        .into_iter()
        .find(|(_, shape, _)| shape.smarthost)
        .expect("such an overlay");
    assert!(shape.smarthost);
    town.enforce(&objects);
    let provider = sink(&town.smarthost, 587);
    let hop = sink(&town.exchanger, 25);
    for address in &town.smarthost.addresses {
        let next = SocketAddr::new(*address, 587);
        let around = SocketAddr::new(town.exchanger.v4(), 25);
        let config = format!(
            "[relay]\nnetworks = [\"{}/32\"]\nsmarthost = \"smtp://{next}\"\n[[routes]]\nmatch = \"four.test\"\nto = \"smtp://{around}\"\n",
            town.client.v4()
        );
        let server = start(&town.mail, setup(&config));
        let mut client = hello(&town.client, town.mail.v4(), 2525);
        client.mail(
            "a@x.test",
            &["b@foreign.test"],
            "Subject: by the smarthost\r\n\r\n",
        );
        client.mail("a@x.test", &["b@four.test"], "Subject: around it\r\n\r\n");
        for (to, status) in [("b@foreign.test", "sent"), ("b@four.test", "deferred")] {
            server.wait_event("delivery", |line| line["to"] == to && line["status"] == status);
        }
    }
    assert_eq!(provider.count(), 2);
    assert_eq!(hop.connections(), 0);
}

/// Changes the policies in one place, which there has to be.
fn changed(objects: &[Value], policy: &str, pointer: &str, change: impl FnOnce(&mut Value)) -> Vec<Value> {
    let mut objects = objects.to_vec();
    let policy = objects
        .iter_mut()
        .find(|object| object["kind"] == "NetworkPolicy" && object["metadata"]["name"] == policy);
    change(
        policy
            .expect("the policy")
            .pointer_mut(pointer)
            .expect("what is changed"),
    );
    objects
}

#[test]
fn policies_with_a_fault_are_told_from_right_ones() {
    let town = Town::new();
    let _inhabitants = inhabitants(&town);
    let (_, shape, right) = shipped().remove(0);
    let egress =
        |pointer: &str, change: fn(&mut Value)| changed(&right, "allow-smtp-egress", pointer, change);
    let faults = [
        // As the guide had it: private networks left out, but not the metadata address; and nothing of IPv6.
        (
            egress("/spec/egress/1/to/0/ipBlock/except", |except| {
                except
                    .as_array_mut()
                    .expect("a list")
                    .retain(|network| network != "169.254.0.0/16");
            }),
            vec!["to the metadata service, as mail (169.254.169.254 port 25): Open"],
        ),
        (
            egress("/spec/egress/1/to", |to| {
                drop(to.as_array_mut().expect("a list").pop())
            }),
            vec!["to an exchanger (2001:db8:1::25 port 25): Denied"],
        ),
        // Every namespace may ask for figures, and with them reaches the admin API.
        (
            changed(
                &right,
                "allow-smtp-ingress",
                "/spec/ingress/1/from/0/namespaceSelector",
                |selector| {
                    *selector = serde_json::json!({});
                },
            ),
            vec![
                "another namespace to http (198.18.1.1 port 8080): Open",
                "another namespace to http (fd00:18:1::1 port 8080): Open",
            ],
        ),
    ];
    for (objects, expected) in faults {
        town.enforce(&objects);
        assert_eq!(town.wrong(Some(shape)), expected);
        assert!(
            !town.otherwise(shape, &objects).is_empty(),
            "the evaluator sees it too"
        );
    }
}
