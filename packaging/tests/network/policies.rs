//! The NetworkPolicies, in force: who reaches whom, tried by real connections, and mail that flows in and out under them.

use super::pods::{hello, setup, sink, start};
use blackbox::dns::{Dns, Record};
use blackbox::postgres::Postgres;
use blackbox::server::http;
use packaging::net::addresses::{METADATA, both, internet, other_pod, pod, private, service};
use packaging::net::cluster::{Cluster, Host, Service};
use packaging::net::policy::{Namespaces, Pod, Policy, labels};
use packaging::net::probe::{self, Outcome};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};

/// A cluster with everybody who has to do with the server, and some who should not.
struct Town {
    cluster: Cluster,
    /// On the internet: a client, a mail exchanger, anything else.
    client: Host,
    exchanger: Host,
    web: Host,
    /// Pods of the server, and of others.
    mail: Host,
    mail_other: Host,
    database: Host,
    prometheus: Host,
    kube_dns: Host,
    shop: Host,
    /// A pod in the server's namespace that is none of the server's.
    neighbour: Host,
    /// The operator's other machines, and what a cloud keeps at a machine's side.
    office: Host,
    carrier: Host,
    metadata: Host,
}

/// A pod for the policies to know.
fn known(host: &Host, namespace: &str, pairs: &[(&str, &str)]) -> Pod {
    Pod {
        namespace: namespace.to_owned(),
        labels: labels(pairs),
        addresses: host.addresses.clone(),
        link: host.link.clone(),
        ports: [("smtp", 2525), ("smtps", 4650), ("submission", 5870), ("http", 8080)]
            .map(|(name, port)| (name.to_owned(), port))
            .into(),
    }
}

impl Town {
    fn new() -> Town {
        let cluster = Cluster::new();
        let host = |addresses: [IpAddr; 2]| cluster.host(&addresses);
        Town {
            client: host(internet(7)),
            exchanger: host(internet(25)),
            web: host(internet(80)),
            mail: host(pod(1)),
            mail_other: host(pod(2)),
            database: host(pod(3)),
            neighbour: host(pod(4)),
            prometheus: host(other_pod(1)),
            kube_dns: host(other_pod(2)),
            shop: host(other_pod(3)),
            office: host(private(1)),
            carrier: cluster.host(&["100.64.0.1".parse().expect("an address")]),
            metadata: host(both(METADATA, "fd00:ec2::254")),
            cluster,
        }
    }

    fn enforce(&self, policies: &[Policy]) {
        let server = [("app", "smtp-server"), ("app.kubernetes.io/name", "smtp-server"), ("tier", "backend")];
        let pods = [
            known(&self.mail, "mail", &server),
            known(&self.mail_other, "mail", &server),
            known(&self.database, "mail", &[("app", "postgresql")]),
            known(&self.neighbour, "mail", &[("app", "webmail")]),
            known(&self.prometheus, "monitoring", &[("app.kubernetes.io/name", "prometheus")]),
            known(&self.kube_dns, "kube-system", &[("k8s-app", "kube-dns")]),
            known(&self.shop, "shop", &[("app", "smtp-server")]),
        ];
        self.cluster.enforce(policies, &pods, &Namespaces::new());
    }

    /// Who tries to reach whom, and whether it is right that they do.
    fn table(&self) -> Vec<(&'static str, &Host, &Host, u16, bool)> {
        let mail = &self.mail;
        vec![
            // In: mail from everybody, figures to the monitoring alone.
            ("client to smtp", &self.client, mail, 2525, true),
            ("client to smtps", &self.client, mail, 4650, true),
            ("client to submission", &self.client, mail, 5870, true),
            ("client to http", &self.client, mail, 8080, false),
            ("another namespace to smtp", &self.shop, mail, 2525, true),
            ("another namespace to http", &self.shop, mail, 8080, false),
            ("a pod of another namespace with our labels to http", &self.shop, mail, 8080, false),
            ("a neighbour to http", &self.neighbour, mail, 8080, false),
            ("monitoring to http", &self.prometheus, mail, 8080, true),
            ("monitoring to anything else", &self.prometheus, mail, 9999, false),
            ("client to anything else", &self.client, mail, 9999, false),
            // Out: mail, names, the database.
            ("to an exchanger", mail, &self.exchanger, 25, true),
            ("to an exchanger's submission", mail, &self.exchanger, 587, false),
            ("to the database", mail, &self.database, 5432, true),
            ("to the database, not as a database", mail, &self.database, 25, false),
            ("to kube-dns by TCP", mail, &self.kube_dns, 53, true),
            ("to kube-dns, not for names", mail, &self.kube_dns, 25, false),
            ("to names elsewhere", mail, &self.shop, 53, false),
            ("to the metadata service", mail, &self.metadata, 80, false),
            ("to the metadata service's port of mail", mail, &self.metadata, 25, false),
            ("to a private machine", mail, &self.office, 25, false),
            ("to a private machine's database", mail, &self.office, 5432, false),
            ("to a machine of the carrier's", mail, &self.carrier, 25, false),
            ("to another pod's mail", mail, &self.shop, 25, false),
            ("to plain HTTP", mail, &self.web, 80, false),
            ("to another pod of the server", mail, &self.mail_other, 8080, false),
            // Whoever is not selected may what they want; whoever is in the namespace may nothing by default.
            ("others' pods to the internet", &self.shop, &self.web, 80, true),
            ("others' pods to the metadata service", &self.shop, &self.metadata, 80, true),
            ("a neighbour to the internet", &self.neighbour, &self.web, 80, false),
            ("another namespace to a neighbour", &self.shop, &self.neighbour, 80, false),
        ]
    }

    /// Listens wherever somebody tries to connect and nothing real is.
    fn listen(&self) {
        let mut there = std::collections::BTreeSet::new();
        for (_, _, to, port, _) in self.table() {
            let real = [
                (&self.mail, vec![2525, 4650, 5870, 8080]),
                (&self.database, vec![5432]),
                (&self.exchanger, vec![25]),
            ];
            let real = real.iter().any(|(host, ports)| host.link == to.link && ports.contains(&port));
            if !real && there.insert((to.link.clone(), port)) {
                probe::listen(to, port);
            }
        }
    }

    /// Tries everything, all at once: what is not as it should be. With IPv6 the kernel believes the second refusal only, a
    /// second later.
    fn wrong(&self, open: impl Fn(bool) -> bool) -> Vec<String> {
        type Try<'t> = (&'static str, &'t Host, IpAddr, u16, bool, fn(&Host, IpAddr, u16) -> Outcome);
        let names = [("kube-dns, UDP", &self.kube_dns, true), ("names elsewhere, UDP", &self.exchanger, false)];
        let mut tries: Vec<Try<'_>> = Vec::new();
        for (name, from, to, port, right) in self.table() {
            tries.extend(to.addresses.iter().map(|to| (name, from, *to, port, right, probe::tcp as _)));
        }
        for (name, to, right) in names {
            tries.extend(to.addresses.iter().map(|to| (name, &self.mail, *to, 53, right, probe::dns as _)));
        }
        std::thread::scope(|scope| {
            let running = tries.into_iter().map(|(name, from, to, port, right, attempt)| {
                let expected = if open(right) { Outcome::Open } else { Outcome::Denied };
                let attempt = scope.spawn(move || attempt(from, to, port));
                (format!("{name} ({to} port {port})"), expected, attempt)
            });
            // All of them are begun before the first is waited for.
            let running: Vec<_> = running.collect();
            let ended = running.into_iter().filter_map(|(name, expected, attempt)| {
                let outcome = attempt.join().expect("a probe");
                (outcome != expected).then(|| format!("{name}: {outcome:?}"))
            });
            ended.collect()
        })
    }
}

/// The policies that ship, from each place that they ship in.
fn shipped() -> Vec<(&'static str, Vec<Value>)> {
    let all = [(
        "sample",
        packaging::render::file("packaging/tests/network/sample.yaml"),
    )];
    let policies = |objects: Vec<Value>| {
        let only = objects.into_iter().filter(|object| object["kind"] == "NetworkPolicy");
        only.collect::<Vec<Value>>()
    };
    all.map(|(name, objects)| (name, policies(objects))).into()
}

#[test]
fn everybody_reaches_whom_they_should_and_mail_flows() {
    let town = Town::new();
    town.listen();
    let exchanger = sink(&town.exchanger, 25);
    // Names, in the cluster and on the internet; the latter knows the same, and should not be asked.
    let dns = town.kube_dns.space.inside(|| Dns::on("[::]:53"));
    let _elsewhere = town.exchanger.space.inside(|| Dns::on("[::]:53"));
    for (domain, address) in [
        ("four.test", town.exchanger.v4()),
        ("six.test", town.exchanger.v6()),
        ("private.test", town.office.v4()),
        ("metadata.test", town.metadata.v4()),
    ] {
        let host = format!("mx.{domain}");
        dns.mx(domain, 10, &host);
        dns.add(&host, match address {
            IpAddr::V4(address) => Record::A(address),
            IpAddr::V6(address) => Record::Aaaa(address),
        });
    }
    let database = town.database.space.inside(|| Postgres::with("listen_addresses = '*'\n"));
    town.database.space.inside(|| database.rules("local all all trust\nhost all all all trust\n", ""));
    town.database.space.nft(&format!(
        "table inet port {{ chain in {{ type nat hook prerouting priority dstnat; tcp dport 5432 redirect to :{} ; }} ; }}\n",
        database.port
    ));
    let config = format!(
        "[relay]\nnetworks = [\"{}/32\", \"{}/128\"]\n[dns]\nservers = [\"{}:53\"]\n\
         [[domains]]\nname = \"here.test\"\ndeliver = \"capture\"\n",
        town.client.v4(),
        town.client.v6(),
        town.kube_dns.v4(),
    );
    let url = |address: IpAddr| database.url_at(SocketAddr::new(address, 5432));

    // Without policies everybody reaches everybody: what is denied later is denied by them.
    let server = setup(&config).env("SMTP_DATABASE_URL", url(town.database.v4()));
    let server = start(&town.mail, server);
    assert_eq!(town.wrong(|_| true), Vec::<String>::new(), "without policies");
    drop(server);

    town.cluster.claim(&service(1));
    town.cluster.serve(&[Service {
        addresses: service(1).to_vec(),
        port: 25,
        target: 2525,
        masquerade: false,
        endpoints: vec![town.mail.addresses.clone()],
    }]);
    for (name, policies) in shipped() {
        town.enforce(&policies);
        exchanger.clear();
        for (n, of_database) in town.database.addresses.iter().enumerate() {
            // The server starts, so it reaches its database.
            let server = setup(&config).env("SMTP_DATABASE_URL", url(*of_database));
            let server = start(&town.mail, server);
            if n == 0 {
                assert_eq!(town.wrong(|right| right), Vec::<String>::new(), "{name}");
            }
            let mut client = hello(&town.client, service(1)[n], 25);
            client.mail("a@x.test", &["b@here.test"], "Subject: in\r\n\r\n");
            client.mail("a@x.test", &["b@four.test"], "Subject: by IPv4\r\n\r\n");
            client.mail("a@x.test", &["b@six.test"], "Subject: by IPv6\r\n\r\n");
            client.mail("a@x.test", &["b@private.test"], "Subject: astray\r\n\r\n");
            client.mail("a@x.test", &["b@metadata.test"], "Subject: astray\r\n\r\n");
            let messages = exchanger.wait(2 * (n + 1));
            for (to, status) in [
                ("b@here.test", "sent"),
                ("b@four.test", "sent"),
                ("b@six.test", "sent"),
                ("b@private.test", "deferred"),
                ("b@metadata.test", "deferred"),
            ] {
                server.wait_event("delivery", |line| line["to"] == to && line["status"] == status);
            }
            let mut subjects: Vec<_> = messages.iter().map(|message| message.field("Subject")).collect();
            subjects.sort();
            subjects.dedup();
            assert_eq!(subjects, ["by IPv4", "by IPv6"].map(|subject| Some(subject.to_owned())));
            // The monitoring gets its figures.
            let figures = town.prometheus.space.inside(|| {
                http(SocketAddr::new(town.mail.addresses[n], 8080), "GET /metrics HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")
            });
            assert_eq!(figures.0, 200);
            assert!(figures.1.contains("smtp_messages_received_total{listener=\"smtp\"} 5\n"), "{}", figures.1);
            drop(server);
            town.database.space.inside(|| database.sql("DELETE FROM messages"));
        }
    }
}
