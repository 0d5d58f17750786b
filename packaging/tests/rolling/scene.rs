//! Who is there: the database, the pods behind their Service, the next hop, clients, and Prometheus' host.

use super::deployment::{Deployment, PACE};
use blackbox::postgres::Postgres;
use blackbox::sink::{Act, Moment, Sink};
use packaging::kubelet::Node;
use packaging::net::addresses::{internet, other_pod, pod, service};
use packaging::net::cluster::{Cluster, Host, Service};
use packaging::net::policy::{self, labels};
use packaging::render::{customized, objects};
use packaging::tools::Release;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PASSWORD: &str = "correct horse battery staple";
/// Names in the cluster's DNS.
const DATABASE: &str = "postgresql.mail.svc.cluster.local";
const SMARTHOST: &str = "smarthost.test";

/// A message that arrived: when is its place in the list.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub name: String,
    /// Who brought it.
    pub from: IpAddr,
}

/// Lets the next hop keep its replies back.
#[derive(Default)]
pub(crate) struct Hold {
    /// Whom it does not answer.
    pub whom: Mutex<Option<IpAddr>>,
    /// Messages that it took and did not answer.
    pub messages: AtomicUsize,
}

pub(crate) struct Scene {
    pub client: Host,
    pub deployment: Deployment,
    pub prometheus: Host,
    pub database: Postgres,
    pub database_host: Host,
    /// What arrived, in order.
    pub arrived: Arc<Mutex<Vec<Arrival>>>,
    pub hold: Arc<Hold>,
    _sink: Sink,
    _hop: Host,
    _kube_dns: Host,
    /// What Prometheus reads.
    pub targets: PathBuf,
    _folder: tempfile::TempDir,
    /// One at a time: each fills both cores.
    _turn: nix::fcntl::Flock<File>,
}

impl Scene {
    pub(crate) fn new() -> Scene {
        let lock = File::create(blackbox::tools::target().join("rolling.lock")).expect("a lock");
        let turn = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive);
        let turn = turn.map_err(|(_, error)| error).expect("the lock");
        let folder = tempfile::tempdir().expect("a folder");
        let cluster = Cluster::new();
        let client = cluster.host(&internet(7));
        let hop = cluster.host(&internet(25));
        let (database_host, prometheus) = (cluster.host(&pod(1)), cluster.host(&other_pod(1)));
        let database = database_host
            .space
            .inside(|| Postgres::with("listen_addresses = '*'\nmax_connections = 80\n"));
        let everybody = "local all all trust\nhost all all all trust\n";
        database_host.space.inside(|| database.rules(everybody, ""));
        // It chose its port; the policies name the usual one.
        database_host.space.nft(&format!(
            "table inet port {{\nchain in {{ type nat hook prerouting priority dstnat; tcp dport 5432 redirect to :{}; }}\n}}\n",
            database.port
        ));
        let arrived: Arc<Mutex<Vec<Arrival>>> = Arc::default();
        let hold = Arc::<Hold>::default();
        let sink = hop.space.inside(|| sink(arrived.clone(), hold.clone()));
        let objects = objects(&customized(Release::Helm4, "postgresql", &["monitoring"]));
        let kube_dns = cluster.host(&other_pod(2));
        let node = Node::of(&cluster, &kube_dns, objects.clone(), PACE);
        node.names.a(DATABASE, &database_host.v4().to_string());
        node.names.a(SMARTHOST, &hop.v4().to_string());
        let url = database.url_at(SocketAddr::new(database_host.v4(), 5432));
        let url = url.replace(&database_host.v4().to_string(), "postgresql");
        fill_in(&node, &client, &url);
        let other = |host: &Host, namespace: &str, pairs: &[(&str, &str)]| policy::Pod {
            namespace: namespace.to_owned(),
            labels: labels(pairs),
            addresses: host.addresses.clone(),
            link: host.link.clone(),
            ports: BTreeMap::new(),
        };
        let others = vec![
            other(&database_host, "mail", &[("app", "postgresql")]),
            other(&kube_dns, "kube-system", &[("k8s-app", "kube-dns")]),
            other(
                &prometheus,
                "monitoring",
                &[("app.kubernetes.io/name", "prometheus")],
            ),
        ];
        let mx = Service {
            addresses: service(1).to_vec(),
            port: 25,
            target: 2525,
            masquerade: false,
            endpoints: Vec::new(),
        };
        let targets = folder.path().join("targets.json");
        let deployment = Deployment::start(cluster, node, objects, others, mx, targets.clone());
        Scene {
            client,
            deployment,
            prometheus,
            database,
            database_host,
            arrived,
            hold,
            _sink: sink,
            _hop: hop,
            _kube_dns: kube_dns,
            targets,
            _folder: folder,
            _turn: turn,
        }
    }

    /// The names of the pods that there are.
    pub(crate) fn pods(&self) -> BTreeSet<String> {
        let pods = self.deployment.pods();
        pods.iter().map(|pod| pod.name().to_owned()).collect()
    }

    /// How often each message arrived.
    pub(crate) fn copies(&self) -> BTreeMap<String, usize> {
        let mut copies = BTreeMap::new();
        for arrival in self.arrived.lock().expect("arrivals").iter() {
            *copies.entry(arrival.name.clone()).or_default() += 1;
        }
        copies
    }

    pub(crate) fn sql(&self, statement: &str) -> String {
        self.database_host.space.inside(|| self.database.sql(statement))
    }
}

/// What an operator writes: passwords, the database's place, who may relay and where mail goes.
fn fill_in(node: &Node, client: &Host, database: &str) {
    node.fill_in(PASSWORD);
    node.change("Secret", "smtp-secrets", &[("SMTP_DATABASE_URL", database)]);
    node.configure(&format!(
        "[relay]\nnetworks = [\"{}/32\", \"{}/128\"]\nsmarthost = \"smtp://{SMARTHOST}:25\"\n",
        client.v4(),
        client.v6(),
    ));
    // All the load comes from one client.
    let config = node.value("ConfigMap", "smtp-config", "config.toml");
    let unlimited = config.replace(
        "[rate_limiting]\nenabled = true",
        "[rate_limiting]\nenabled = false",
    );
    assert_ne!(config, unlimited, "no rate limit in the configuration");
    node.change("ConfigMap", "smtp-config", &[("config.toml", &unlimited)]);
}

/// A next hop that notes what comes, and takes its time for some of it, so that whoever stops there has replies to wait for.
fn sink(arrived: Arc<Mutex<Vec<Arrival>>>, hold: Arc<Hold>) -> Sink {
    let script = move |_: usize, moment: &Moment| match moment {
        Moment::EndOfData(message) => {
            let from = message.peer.expect("who brought it");
            let held = || *hold.whom.lock().expect("whom") == Some(from);
            let mut list = arrived.lock().expect("arrivals");
            list.push(Arrival {
                name: message.field("Subject").expect("a subject"),
                from,
            });
            let slow = list.len().is_multiple_of(10);
            drop(list);
            std::thread::sleep(Duration::from_millis(if slow { 400 } else { 0 }));
            if held() {
                hold.messages.fetch_add(1, Ordering::Relaxed);
                blackbox::wait_for_secs("replies to be let go", 60, || !held());
            }
            Act::Forget
        }
        _ => Act::Default,
    };
    Sink::on("[::]:25", &["PIPELINING", "8BITMIME", "SMTPUTF8"], script)
}
