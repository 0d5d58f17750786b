//! Pods behind balancers that say by PROXY v2 who the client is: what the component and the chart's values render is what the server runs
//! with, on each listener.

use super::around::{Around, of_the_workload};
use super::stage::released;
use blackbox::tls::Tls;
use blackbox::wait_for;
use blackbox::wire::Wire;
use ipnet::IpNet;
use packaging::kubelet::Pod;
use packaging::net::addresses::{internet, pod as pod_addresses};
use packaging::net::cluster::Host;
use packaging::net::haproxy::{Front, Haproxy, header};
use packaging::net::policy;
use packaging::net::service;
use packaging::render::{customized, objects};
use packaging::semantic::{Set, proxies};
use packaging::tools::Release;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A front's port is the Service's; without the header it is further up by this.
const BARE: u16 = 10_000;

/// A pod of a StatefulSet, and what is around it.
struct Scene {
    pod: Pod,
    host: Arc<Host>,
    around: Around,
    objects: Vec<Value>,
}

/// What a LoadBalancer Service stands for: one that connects by itself, from an address that the listeners behind it believe.
struct Balancer {
    host: Host,
    /// Its listeners, their ports on the balancer and in the pod.
    listeners: Vec<(String, u16, u16)>,
    _haproxy: Haproxy,
}

impl Scene {
    fn new(objects: Vec<Value>) -> Scene {
        let around = Around::new(objects.clone());
        // To see who has connected.
        around.node.edit("StatefulSet", "smtp-server", |set| {
            let env = set["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut();
            let debug = json!({ "name": "SMTP_LOG_LEVEL", "value": "debug" });
            env.expect("variables").push(debug);
        });
        let host = Arc::new(around.cluster.host(&pod_addresses(1)));
        around.enforce(&objects, &[of_the_workload(&host, &objects)]);
        let pod = around.node.start_on(&host, "StatefulSet", "smtp-server", 0);
        pod.wait_ready();
        Scene {
            pod,
            host,
            around,
            objects,
        }
    }

    /// The networks that a listener is rendered to believe.
    fn believed(&self, listener: &str) -> Vec<String> {
        let set = Set::new(&self.objects, &[]);
        let all = proxies(&set, set.workloads()[0], listener);
        all.unwrap_or_else(|| panic!("{listener} is rendered without PROXY"))
    }

    /// Each of them is a setting of the running server's.
    fn runs_with_what_was_rendered(&self) {
        let shown = self
            .pod
            .done(&["smtp-server", "config", "show", "--output", "json"]);
        let setting = |section: &str, key: &str| {
            let named = format!("{section}.{key}");
            let mut settings = shown.lines().map(serde_json::from_str::<Value>);
            let found = settings.find_map(|one| one.ok().filter(|one| one["key"] == named.as_str()));
            found.unwrap_or_else(|| panic!("no {named} in\n{shown}"))["value"].clone()
        };
        for (listener, section) in [
            ("smtp", "server"),
            ("smtps", "smtps"),
            ("submission", "submission"),
        ] {
            assert_eq!(setting(section, "proxy_protocol"), "v2", "{listener}");
            let mut networks: Vec<String> = serde_json::from_value(setting(section, "proxy_networks"))
                .unwrap_or_else(|error| panic!("{listener}: {error}\n{shown}"));
            networks.sort();
            assert_eq!(networks, self.believed(listener), "{listener}");
        }
    }

    /// The balancer of a Service, one of several.
    fn balancer(&self, number: usize, service: &Value) -> Balancer {
        let server: policy::Pod = of_the_workload(&self.host, &self.objects);
        let served = service::of(service, &[], &[server]);
        let names = service["spec"]["ports"].as_array().expect("ports").iter();
        let names = names.map(|port| port["name"].as_str().expect("a name").to_owned());
        let listeners: Vec<(String, u16, u16)> = names
            .zip(&served)
            .map(|(name, one)| (name, one.port, one.target))
            .collect();
        // Each of them has to believe it.
        let networks = self.believed(&listeners[0].0);
        for (listener, ..) in &listeners {
            assert_eq!(
                self.believed(listener),
                networks,
                "{listener} of one balancer's listeners"
            );
        }
        let network: IpNet = networks[0].parse().expect("a network");
        let address = network.hosts().nth(8 + number).expect("an address");
        let host = self.around.cluster.host(&[address]);
        let pods = |target: u16| vec![SocketAddr::new(self.host.v4(), target)];
        let fronts: Vec<Front> = listeners
            .iter()
            .flat_map(|(_, port, target)| {
                [(*port, true), (*port + BARE, false)].map(|(port, header)| Front {
                    port,
                    pods: pods(*target),
                    header,
                })
            })
            .collect();
        let haproxy = Haproxy::start(&host, &fronts);
        Balancer {
            host,
            listeners,
            _haproxy: haproxy,
        }
    }

    /// Whether a listener has had this client.
    fn has_had(&self, listener: &str, client: IpAddr) -> bool {
        let log = self.pod.log();
        let mut connected = log.iter().filter(|line| line["event"] == "connected");
        connected.any(|line| {
            let peer: SocketAddr = line["peer"]
                .as_str()
                .and_then(|peer| peer.parse().ok())
                .expect("a peer");
            line["listener"] == listener && peer.ip() == client
        })
    }

    /// A client of a balancer is who it is.
    fn right(&self, balancer: &Balancer, (listener, port, _): &(String, u16, u16)) {
        let client = &self.around.client;
        let at = SocketAddr::new(balancer.host.v4(), *port);
        client.space.inside(|| match listener.as_str() {
            "smtps" => drop(Tls::open(at, false, &[])),
            _ => drop(Wire::hello(at)),
        });
        wait_for(&format!("{listener} to know its client"), || {
            self.has_had(listener, client.v4())
        });
    }

    /// What somebody sends to a listener is not listened to, and why is in the log.
    fn is_refused(&self, from: &Host, to: SocketAddr, octets: &[u8], listener: &str, reason: &str) {
        let refusals = || {
            let log = self.pod.log();
            let refused = log.iter().filter(|line| {
                line["event"] == "connection_refused"
                    && line["listener"] == listener
                    && line["reason"] == reason
            });
            refused.count()
        };
        let before = refusals();
        let mut wire = from.space.inside(|| Wire::connect(to));
        wire.try_send(octets);
        match listener {
            // Before the handshake there are no words.
            "smtps" => assert!(wire.is_closed(), "{listener}"),
            _ => {
                let reply = wire.reply();
                assert_eq!(reply.code, 421, "{listener}: {reply:?}");
                assert!(wire.is_closed(), "{listener}");
            }
        }
        wait_for(&format!("{listener} to say {reason}"), || refusals() > before);
    }

    /// By the balancers' own ports and past them.
    fn believes_nobody_else(&self, balancer: &Balancer, all: &[Balancer]) {
        let [claimed, _] = internet(99);
        let to = |target: u16| SocketAddr::new(self.host.v4(), target);
        for (listener, port, target) in &balancer.listeners {
            let bare = SocketAddr::new(balancer.host.v4(), *port + BARE);
            let client = &self.around.client;
            self.is_refused(client, bare, b"EHLO client.test\r\n", listener, "proxy_missing");
            let forged = header(claimed, self.host.v4());
            self.is_refused(client, to(*target), &forged, listener, "proxy_untrusted");
            // Another Service's balancer is nobody here, if its network is another.
            let networks = self.believed(listener);
            let others = all
                .iter()
                .filter(|other| self.believed(&other.listeners[0].0) != networks);
            for other in others {
                self.is_refused(&other.host, to(*target), &forged, listener, "proxy_untrusted");
            }
            assert!(!self.has_had(listener, claimed), "{listener}");
        }
    }

    /// All of it; gives the balancers, the MX' first.
    fn only_balancers_say_who_the_client_is(&self) -> Vec<Balancer> {
        self.runs_with_what_was_rendered();
        let services = self
            .objects
            .iter()
            .filter(|object| object["kind"] == "Service" && object["spec"]["type"] == "LoadBalancer");
        let numbered = services.enumerate();
        let balancers: Vec<Balancer> = numbered
            .map(|(number, service)| self.balancer(number, service))
            .collect();
        let listeners: Vec<&str> = balancers
            .iter()
            .flat_map(|balancer| balancer.listeners.iter().map(|(name, ..)| name.as_str()))
            .collect();
        assert_eq!(listeners, ["smtp", "smtps", "submission"]);
        for balancer in &balancers {
            for listener in &balancer.listeners {
                self.right(balancer, listener);
            }
            self.believes_nobody_else(balancer, &balancers);
        }
        balancers
    }
}

#[test]
fn the_component_makes_every_listener_believe_its_balancers_alone() {
    let yaml = customized(Release::Helm4, "embedded", &["components/proxy-protocol"]);
    Scene::new(objects(&yaml)).only_balancers_say_who_the_client_is();
}

#[test]
fn the_charts_values_make_each_listener_believe_its_own_balancer_alone() {
    let scene = Scene::new(released("proxy-protocol", &[]));
    let balancers = scene.only_balancers_say_who_the_client_is();
    // A network of the cluster's may relay by these values, and who is in it is what the balancer says.
    let trusted = scene
        .around
        .cluster
        .host(&["10.42.0.9".parse().expect("an address")]);
    let mx = SocketAddr::new(balancers[0].host.v4(), balancers[0].listeners[0].1);
    for (client, code) in [(&trusted, 250), (&scene.around.client, 554)] {
        let mut wire = client.space.inside(|| Wire::hello(mx));
        wire.expect("MAIL FROM:<a@far.example>", 250);
        wire.expect("RCPT TO:<bob@partner.example>", code);
    }
}
