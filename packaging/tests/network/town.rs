//! A cluster with everybody who has to do with the server, and some who should not.

use packaging::net::addresses::{METADATA, both, internet, other_pod, pod, private};
use packaging::net::cluster::{Cluster, Host};
use packaging::net::policy::{Labels, Namespaces, Pod, labels};
use packaging::net::probe::{self, Outcome};
use packaging::semantic::network::{End, Policies, Protocol, Way};
use packaging::semantic::{Set, Workload};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What a set of policies is meant to be.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Whether it denies what is not allowed to every pod of the namespace, not to the server's alone.
    pub namespace_denied: bool,
    /// Whether the server has a database.
    pub database: bool,
    /// Whether mail leaves by a smarthost alone.
    pub smarthost: bool,
}

pub(crate) struct Town {
    pub cluster: Cluster,
    /// On the internet: a client, a mail exchanger, a smarthost, anything else.
    pub client: Host,
    pub exchanger: Host,
    pub smarthost: Host,
    pub web: Host,
    /// Pods of the server.
    pub mail: Host,
    pub mail_other: Host,
    /// A pod in the server's namespace that is none of the server's.
    pub neighbour: Host,
    /// Pods that the server has to do with.
    pub database: Host,
    pub prometheus: Host,
    pub kube_dns: Host,
    /// A pod of somebody else's namespace that has the server's labels.
    pub shop: Host,
    /// The operator's other machines, a carrier's, and what a cloud keeps at a machine's side.
    pub office: Host,
    pub carrier: Host,
    pub metadata: Host,
}

/// A row of the truth table: who tries to reach whom, on which port, and whether it is right that they do.
pub(crate) struct Row<'t> {
    name: &'static str,
    from: &'t Host,
    to: &'t Host,
    port: u16,
    protocol: Protocol,
    right: bool,
}

impl Town {
    pub(crate) fn new() -> Town {
        let cluster = Cluster::new();
        let host = |addresses: [IpAddr; 2]| cluster.host(&addresses);
        Town {
            client: host(internet(7)),
            exchanger: host(internet(25)),
            smarthost: host(both("192.0.2.25", "2001:db8::25")),
            web: host(internet(80)),
            mail: host(pod(1)),
            mail_other: host(pod(2)),
            neighbour: host(pod(4)),
            database: host(pod(3)),
            prometheus: host(other_pod(1)),
            kube_dns: host(other_pod(2)),
            shop: host(other_pod(3)),
            office: host(private(1)),
            carrier: cluster.host(&["100.64.0.1".parse().expect("an address")]),
            metadata: host(both(METADATA, "fd00:ec2::254")),
            cluster,
        }
    }

    /// The pods of the cluster, the server's as these objects make them.
    fn pods(&self, objects: &[Value]) -> Vec<Pod> {
        let set = Set::new(objects, &[]);
        let workloads = set.workloads();
        let [workload] = &workloads[..] else {
            panic!("one workload, not {}", workloads.len())
        };
        assert_eq!(workload.namespace(), "mail");
        let pod = |host: &Host, namespace: &str, labels: Labels| Pod {
            namespace: namespace.to_owned(),
            labels,
            addresses: host.addresses.clone(),
            link: host.link.clone(),
            ports: workload.ports(),
        };
        vec![
            pod(&self.mail, "mail", workload.labels()),
            pod(&self.mail_other, "mail", workload.labels()),
            pod(&self.shop, "shop", workload.labels()),
            pod(&self.database, "mail", labels(&[("app", "postgresql")])),
            pod(&self.neighbour, "mail", labels(&[("app", "webmail")])),
            pod(
                &self.prometheus,
                "monitoring",
                labels(&[("app.kubernetes.io/name", "prometheus")]),
            ),
            pod(&self.kube_dns, "kube-system", labels(&[("k8s-app", "kube-dns")])),
        ]
    }

    /// Puts the policies among these objects in force.
    pub(crate) fn enforce(&self, objects: &[Value]) {
        let policies = objects.iter().filter(|object| object["kind"] == "NetworkPolicy");
        let policies: Vec<Value> = policies.cloned().collect();
        assert!(policies.len() >= 3, "policies");
        self.cluster
            .enforce(&policies, &self.pods(objects), &Namespaces::new());
    }

    /// The truth table; with policies of no shape, everything is right.
    fn table(&self, shape: Option<Shape>) -> Vec<Row<'_>> {
        let Shape {
            namespace_denied,
            database,
            smarthost,
        } = shape.unwrap_or(Shape {
            namespace_denied: false,
            database: true,
            smarthost: true,
        });
        let mail = &self.mail;
        let rows = vec![
            // In: mail from everybody, figures to the monitoring alone.
            ("client to smtp", &self.client, mail, 2525, true),
            ("client to smtps", &self.client, mail, 4650, true),
            ("client to submission", &self.client, mail, 5870, true),
            ("client to http", &self.client, mail, 8080, false),
            ("client to anything else", &self.client, mail, 9999, false),
            ("another namespace to smtp", &self.shop, mail, 2525, true),
            ("another namespace to http", &self.shop, mail, 8080, false),
            ("a neighbour to http", &self.neighbour, mail, 8080, false),
            (
                "another pod of the server to http",
                &self.mail_other,
                mail,
                8080,
                false,
            ),
            ("monitoring to http", &self.prometheus, mail, 8080, true),
            ("monitoring to anything else", &self.prometheus, mail, 9999, false),
            // Out: mail, names, the database.
            (
                "to an exchanger",
                mail,
                &self.exchanger,
                25,
                !smarthost || shape.is_none(),
            ),
            ("to an exchanger's submission", mail, &self.exchanger, 587, false),
            ("to the smarthost", mail, &self.smarthost, 587, smarthost),
            ("to the smarthost in TLS", mail, &self.smarthost, 465, smarthost),
            ("to the database", mail, &self.database, 5432, database),
            (
                "to the database, not as a database",
                mail,
                &self.database,
                25,
                false,
            ),
            ("to kube-dns", mail, &self.kube_dns, 53, true),
            ("to kube-dns, not for names", mail, &self.kube_dns, 25, false),
            ("to names elsewhere", mail, &self.shop, 53, false),
            ("to the metadata service", mail, &self.metadata, 80, false),
            (
                "to the metadata service, as mail",
                mail,
                &self.metadata,
                25,
                false,
            ),
            ("to a private machine", mail, &self.office, 25, false),
            ("to a private machine's database", mail, &self.office, 5432, false),
            ("to a carrier's machine", mail, &self.carrier, 25, false),
            ("to another pod's mail", mail, &self.shop, 25, false),
            ("to plain HTTP", mail, &self.web, 80, false),
            // Whoever is not selected may what they want; whoever is in the namespace may nothing by default.
            (
                "another namespace to the internet",
                &self.shop,
                &self.web,
                80,
                true,
            ),
            (
                "another namespace to the metadata service",
                &self.shop,
                &self.metadata,
                80,
                true,
            ),
            (
                "a neighbour to the internet",
                &self.neighbour,
                &self.web,
                80,
                !namespace_denied,
            ),
            (
                "another namespace to a neighbour",
                &self.shop,
                &self.neighbour,
                80,
                !namespace_denied,
            ),
        ];
        let tcp = |(name, from, to, port, right)| Row {
            name,
            from,
            to,
            port,
            protocol: Protocol::Tcp,
            right: right || shape.is_none(),
        };
        let udp = [
            ("to kube-dns, UDP", &self.kube_dns, true),
            ("to names elsewhere, UDP", &self.exchanger, false),
        ];
        let udp = udp.map(|(name, to, right)| Row {
            protocol: Protocol::Udp,
            ..tcp((name, mail, to, 53, right))
        });
        rows.into_iter().map(tcp).chain(udp).collect()
    }

    /// Listens wherever somebody tries to connect by TCP, but where something real is.
    pub(crate) fn listen(&self, real: &[(&Host, u16)]) {
        let mut there: BTreeSet<(&str, u16)> = real.iter().map(|(host, port)| (&*host.link, *port)).collect();
        for row in self.table(None) {
            if row.protocol == Protocol::Tcp && there.insert((&row.to.link, row.port)) {
                probe::listen(row.to, row.port);
            }
        }
    }

    /// Tries everything, all at once: what is not as it should be. With IPv6 the kernel believes the second refusal only, a
    /// second later.
    pub(crate) fn wrong(&self, shape: Option<Shape>) -> Vec<String> {
        let table = self.table(shape);
        let tries: Vec<(&Row<'_>, IpAddr)> = table
            .iter()
            .flat_map(|row| row.to.addresses.iter().map(move |to| (row, *to)))
            .collect();
        std::thread::scope(|scope| {
            // All of them are begun before the first is waited for.
            let mut running = Vec::new();
            for (row, to) in &tries {
                let (from, to, port) = (row.from, *to, row.port);
                let attempt = match row.protocol {
                    Protocol::Tcp => probe::tcp,
                    Protocol::Udp => probe::dns,
                };
                running.push(scope.spawn(move || attempt(from, to, port)));
            }
            let ended = tries.iter().zip(running).filter_map(|((row, to), attempt)| {
                let expected = if row.right { Outcome::Open } else { Outcome::Denied };
                let outcome = attempt.join().expect("a probe");
                (outcome != expected).then(|| format!("{} ({to} port {}): {outcome:?}", row.name, row.port))
            });
            ended.collect()
        })
    }

    /// Where the evaluator of policies sees it otherwise, of all that comes to the server or goes from it.
    pub(crate) fn otherwise(&self, shape: Shape, objects: &[Value]) -> Vec<String> {
        let policies = Policies::of(objects);
        let set = Set::new(objects, &[]);
        let server: Workload<'_> = set.workloads()[0];
        let pods = self.pods(objects);
        let ends = |host: &Host| match pods.iter().find(|pod| pod.link == host.link) {
            Some(pod) => vec![End::Pod(pod.namespace.clone(), pod.labels.clone())],
            None => host
                .addresses
                .iter()
                .map(|address| End::Address(*address))
                .collect(),
        };
        let mut otherwise = Vec::new();
        for row in self.table(Some(shape)) {
            let (way, other) = match (row.from.link == self.mail.link, row.to.link == self.mail.link) {
                (true, _) => (Way::Out, row.to),
                (_, true) => (Way::In, row.from),
                _ => continue,
            };
            for end in ends(other) {
                if policies.let_through(server, way, &end, row.protocol, row.port) != row.right {
                    otherwise.push(format!("{} ({end:?} port {})", row.name, row.port));
                }
            }
        }
        otherwise
    }
}
