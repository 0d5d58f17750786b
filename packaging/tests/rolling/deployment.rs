//! What Kubernetes does with the Deployment beside the kubelet: the controller that replaces pods, and kube-proxy, which follows with
//! a lag. The kubelet's clock, and the controller's, go [`PACE`] times faster than the rendered Deployment says.

use blackbox::wait_for_secs;
use packaging::kubelet::{self, Happened, Node};
use packaging::net::addresses::pod as pod_addresses;
use packaging::net::cluster::{Cluster, Host, Service};
use packaging::net::policy::{self, Namespaces};
use packaging::scraping::{self, Running};
use packaging::semantic::Set;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Times of the Deployment are shortened by this: probes, preStop, grace, back-off, `minReadySeconds`. The server's own are not.
pub(crate) const PACE: u32 = 5;
/// How long kube-proxy takes to take a pod out. This is not shortened, which makes it harder: 1.5 s of 3 s instead of 15 s.
const LAG: Duration = Duration::from_millis(1500);

/// A pod on its host.
pub(crate) struct Pod {
    pub kubelet: kubelet::Pod,
    pub host: Arc<Host>,
}

impl Pod {
    pub(crate) fn name(&self) -> &str {
        self.kubelet.name()
    }

    fn is_ready(&self) -> bool {
        self.kubelet.timeline().is_ready()
    }

    fn is_deleted(&self) -> bool {
        self.kubelet.timeline().last(&Happened::Deleted).is_some()
    }
}

/// A Deployment in its cluster.
pub(crate) struct Deployment(Arc<State>);

struct State {
    // Dropped in this order: containers before the node that has them.
    pods: Mutex<Vec<Arc<Pod>>>,
    node: Node,
    cluster: Cluster,
    objects: Vec<Value>,
    min_ready: Duration,
    /// Pods that are no servers, for the policies.
    others: Vec<policy::Pod>,
    service: Service,
    /// Pods so far.
    number: AtomicU8,
    /// Where Prometheus reads what pods there are, as it learns it from the API server.
    targets: PathBuf,
    follows: Mutex<Option<JoinHandle<()>>>,
    stop: AtomicBool,
}

impl Deployment {
    /// Starts three pods of the Deployment among these objects, which the node has too, behind the Service's addresses, and waits
    /// until they are ready.
    pub(crate) fn start(
        cluster: Cluster,
        node: Node,
        objects: Vec<Value>,
        others: Vec<policy::Pod>,
        service: Service,
        targets: PathBuf,
    ) -> Deployment {
        let spec = &packaging::render::find(&objects, "Deployment", "smtp-server")["spec"];
        // How pods are replaced here.
        assert_eq!(
            spec["strategy"]["rollingUpdate"],
            json!({"maxSurge": 1, "maxUnavailable": 0})
        );
        let min_ready = spec["minReadySeconds"].as_u64().expect("minReadySeconds");
        cluster.claim(&service.addresses);
        let deployment = Deployment(Arc::new(State {
            pods: Mutex::default(),
            node,
            cluster,
            min_ready: Duration::from_secs(min_ready) / PACE,
            objects,
            others,
            service,
            number: AtomicU8::new(0),
            targets,
            follows: Mutex::default(),
            stop: AtomicBool::new(false),
        }));
        let state = deployment.0.clone();
        let follows = std::thread::spawn(move || kube_proxy(&state));
        *deployment.0.follows.lock().expect("threads") = Some(follows);
        let pods: Vec<Arc<Pod>> = (0..3).map(|_| deployment.create()).collect();
        for pod in &pods {
            pod.kubelet.wait_ready();
        }
        deployment.wait_served();
        deployment
    }

    /// What tells Prometheus where to look.
    pub(crate) fn monitor(&self) -> &Value {
        monitor(&self.0.objects)
    }

    pub(crate) fn pods(&self) -> Vec<Arc<Pod>> {
        self.0.pods.lock().expect("pods").clone()
    }

    /// A new pod.
    fn create(&self) -> Arc<Pod> {
        let state = &self.0;
        let number = state.number.fetch_add(1, Ordering::Relaxed) + 1;
        let host = Arc::new(state.cluster.host(&pod_addresses(number + 100)));
        let kubelet = state
            .node
            .start_on(&host, "Deployment", "smtp-server", number.into());
        let pod = Arc::new(Pod { kubelet, host });
        state.pods.lock().expect("pods").push(pod.clone());
        state.announce();
        pod
    }

    /// Until kube-proxy knows what is known now.
    fn wait_served(&self) {
        std::thread::sleep(2 * LAG);
    }

    /// Replaces each pod by a new one: `maxSurge: 1`, `maxUnavailable: 0`.
    pub(crate) fn restart(&self) {
        std::thread::scope(|scope| {
            for old in self.pods() {
                let new = self.create();
                new.kubelet.wait_ready();
                std::thread::sleep(self.0.min_ready);
                // The controller does not wait for its end.
                scope.spawn(move || self.delete(&old));
            }
        });
    }

    /// Deletes a pod. It has to end in order, within its grace period.
    fn delete(&self, pod: &Arc<Pod>) {
        let ended = pod.kubelet.delete();
        let timeline = pod.kubelet.timeline();
        assert_eq!((ended.code, ended.killed), (0, false), "{ended:?}\n{timeline}");
        let stopped = pod.kubelet.wait_event("stopped", |_| true);
        assert!(stopped["received"].is_number(), "{stopped}");
        // What is under way on its cable may arrive.
        std::thread::sleep(Duration::from_millis(500));
        let mut pods = self.0.pods.lock().expect("pods");
        pods.retain(|other| !Arc::ptr_eq(pod, other));
        drop(pods);
        self.0.announce();
    }

    /// Kills the container of a pod, as the kernel does when memory is short, and lets it stay away for a while, as in
    /// `CrashLoopBackOff`.
    pub(crate) fn kill(pod: &Pod) {
        pod.kubelet.hold_down(true);
        pod.kubelet.crash();
    }

    /// The kubelet starts the container again, in the same pod, with the volumes that it had.
    pub(crate) fn start_again(&self, pod: &Pod) {
        wait_for_secs("the kubelet to see the end", 30, || !pod.is_ready());
        pod.kubelet.hold_down(false);
        pod.kubelet.wait_ready();
        self.wait_served();
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
        if let Some(follows) = self.0.follows.lock().expect("threads").take() {
            let _ = follows.join();
        }
    }
}

fn monitor(objects: &[Value]) -> &Value {
    packaging::render::find(objects, "PodMonitor", "smtp-server")
}

impl State {
    /// Tells the policies, and Prometheus, what pods there are.
    fn announce(&self) {
        let pods = self.pods.lock().expect("pods");
        let set = Set::new(&self.objects, &[]);
        let workload = set.workloads()[0];
        let mut known = self.others.clone();
        known.extend(pods.iter().map(|pod| policy::Pod {
            namespace: "mail".to_owned(),
            labels: workload.labels(),
            addresses: pod.host.addresses.clone(),
            link: pod.host.link.clone(),
            ports: workload.ports(),
        }));
        let policies = self
            .objects
            .iter()
            .filter(|object| object["kind"] == "NetworkPolicy");
        let policies: Vec<Value> = policies.cloned().collect();
        self.cluster.enforce(&policies, &known, &Namespaces::new());
        let running: Vec<Running> = pods
            .iter()
            .map(|pod| Running {
                namespace: "mail",
                workload: "smtp-server",
                name: pod.name(),
                address: Box::new(|port| Some(SocketAddr::new(pod.host.v4(), port))),
            })
            .collect();
        let targets = scraping::targets(monitor(&self.objects), &self.objects, &running);
        let new = self.targets.with_extension("new");
        std::fs::write(&new, Value::from(targets).to_string()).expect("targets");
        std::fs::rename(&new, &self.targets).expect("targets");
    }

    /// Who is behind the Service, as the endpoints' controller has it: who is ready and not being deleted; if there is nobody, who
    /// is being deleted and still serves.
    fn endpoints(&self) -> Vec<Vec<IpAddr>> {
        let pods = self.pods.lock().expect("pods");
        let addresses = |deleted: bool| {
            let those = pods
                .iter()
                .filter(|pod| pod.is_ready() && pod.is_deleted() == deleted);
            those.map(|pod| pod.host.addresses.clone()).collect::<Vec<_>>()
        };
        let ready = addresses(false);
        if ready.is_empty() { addresses(true) } else { ready }
    }
}

/// Follows the endpoints: who comes is there at once, who goes is there for a while. Nothing could be harder for clients.
fn kube_proxy(state: &State) {
    let mut known: Vec<(Vec<IpAddr>, Option<Instant>)> = Vec::new();
    let mut served = Vec::new();
    while !state.stop.load(Ordering::Relaxed) {
        let endpoints = state.endpoints();
        for (pod, until) in &mut known {
            match endpoints.contains(pod) {
                true => *until = None,
                false => drop(until.get_or_insert(Instant::now() + LAG)),
            }
        }
        known.retain(|(_, until)| until.is_none_or(|until| until > Instant::now()));
        for pod in endpoints {
            if known.iter().all(|(other, _)| *other != pod) {
                known.push((pod, None));
            }
        }
        let endpoints: Vec<Vec<IpAddr>> = known.iter().map(|(pod, _)| pod.clone()).collect();
        if endpoints != served {
            served = endpoints.clone();
            state.cluster.serve(&[Service {
                endpoints,
                ..state.service.clone()
            }]);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
