//! What Kubernetes does with the Deployment: the kubelet's probes and its way to end a pod, kube-proxy, which follows with a
//! lag, and the controller that replaces pods. Numbers are those of the rendered Deployment, divided by [`FACTOR`].

use blackbox::disk::Tmpfs;
use blackbox::server::{Server, Setup};
use blackbox::wait_for_secs;
use nix::sys::signal::Signal;
use packaging::net::addresses::pod as pod_addresses;
use packaging::net::cluster::{Cluster, Host, Service};
use packaging::net::pods::start;
use packaging::net::policy::{self, Namespaces};
use packaging::net::probe;
use packaging::semantic::Set;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Times of the Deployment are shortened by this.
const FACTOR: f64 = 5.0;
/// How long kube-proxy takes to take a pod out. This is not shortened, which makes it harder: 1.5 s of 3 s instead of 15 s.
const LAG: Duration = Duration::from_millis(1500);

/// The times of a Deployment, shortened.
#[derive(Clone, Copy, Debug)]
struct Times {
    startup_period: Duration,
    ready_period: Duration,
    ready_timeout: Duration,
    ready_failures: u64,
    min_ready: Duration,
    pre_stop: Duration,
    grace: Duration,
}

impl Times {
    fn of(deployment: &Value) -> Times {
        let spec = &deployment["spec"];
        let pod = &spec["template"]["spec"];
        let container = &pod["containers"][0];
        let number = |value: &Value, name: &str| value[name].as_u64().unwrap_or_else(|| panic!("{name}"));
        let time = |value: &Value, name: &str| Duration::from_secs(number(value, name)).div_f64(FACTOR);
        // How pods are replaced here.
        assert_eq!(
            spec["strategy"]["rollingUpdate"],
            json!({"maxSurge": 1, "maxUnavailable": 0})
        );
        let (startup, ready) = (&container["startupProbe"], &container["readinessProbe"]);
        assert_eq!(startup["httpGet"]["path"], "/health/live");
        assert_eq!(ready["httpGet"]["path"], "/health/ready");
        Times {
            startup_period: time(startup, "periodSeconds"),
            ready_period: time(ready, "periodSeconds"),
            ready_timeout: time(ready, "timeoutSeconds"),
            ready_failures: number(ready, "failureThreshold"),
            min_ready: time(spec, "minReadySeconds"),
            pre_stop: time(&container["lifecycle"]["preStop"]["sleep"], "seconds"),
            grace: time(pod, "terminationGracePeriodSeconds"),
        }
    }
}

/// A pod.
pub(crate) struct Pod {
    pub name: String,
    pub host: Host,
    server: Mutex<Option<Server>>,
    /// As its probes have it.
    ready: AtomicBool,
    /// Its deletion has begun.
    deleting: AtomicBool,
    /// It has ended.
    gone: AtomicBool,
}

/// A Deployment in its cluster.
pub(crate) struct Deployment(Arc<State>);

struct State {
    cluster: Cluster,
    times: Times,
    objects: Vec<Value>,
    setup: Setup,
    /// Pods that are no servers, for the policies.
    others: Vec<policy::Pod>,
    service: Service,
    pods: Mutex<Vec<Arc<Pod>>>,
    /// Pods so far.
    number: AtomicU8,
    /// Where Prometheus reads what pods there are, as it learns it from the API server.
    targets: PathBuf,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stop: AtomicBool,
    /// Where the pods' volumes are.
    disk: Tmpfs,
}

impl Deployment {
    /// Starts pods of the Deployment among these objects, behind the Service's addresses, and waits until they are ready.
    pub(crate) fn start(
        cluster: Cluster,
        objects: Vec<Value>,
        setup: Setup,
        others: Vec<policy::Pod>,
        service: Service,
        targets: PathBuf,
    ) -> Deployment {
        let times = Times::of(packaging::render::find(&objects, "Deployment", "smtp-server"));
        cluster.claim(&service.addresses);
        let deployment = Deployment(Arc::new(State {
            cluster,
            times,
            objects,
            setup,
            others,
            service,
            pods: Mutex::default(),
            number: AtomicU8::new(0),
            targets,
            threads: Mutex::default(),
            stop: AtomicBool::new(false),
            disk: Tmpfs::new("512m"),
        }));
        let state = deployment.0.clone();
        let follow = std::thread::spawn(move || kube_proxy(&state));
        deployment.0.threads.lock().expect("threads").push(follow);
        let pods: Vec<Arc<Pod>> = (0..3).map(|_| deployment.create()).collect();
        for pod in &pods {
            deployment.wait_ready(pod);
        }
        deployment.wait_served();
        deployment
    }

    pub(crate) fn pods(&self) -> Vec<Arc<Pod>> {
        self.0.pods.lock().expect("pods").clone()
    }

    /// A new pod.
    fn create(&self) -> Arc<Pod> {
        let state = &self.0;
        let number = state.number.fetch_add(1, Ordering::Relaxed) + 1;
        let name = format!("smtp-server-{number}");
        let host = state.cluster.host(&pod_addresses(number + 100));
        let pod = Arc::new(Pod {
            name,
            host,
            server: Mutex::default(),
            ready: AtomicBool::new(false),
            deleting: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        });
        state.pods.lock().expect("pods").push(pod.clone());
        state.announce();
        let setup = state
            .setup
            .clone()
            .env("SMTP_HOSTNAME", format!("{}.mail.test", pod.name))
            .data(state.disk.join(&pod.name));
        *pod.server.lock().expect("server") = Some(start(&pod.host, setup));
        let (watched, kubelet) = (pod.clone(), state.clone());
        let probes = state.cluster.node().spawn(move || probes(&kubelet, &watched));
        state.threads.lock().expect("threads").push(probes);
        pod
    }

    fn wait_ready(&self, pod: &Pod) {
        let ready = || pod.ready.load(Ordering::Relaxed);
        wait_for_secs(&format!("{} to be ready", pod.name), 30, ready);
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
                self.wait_ready(&new);
                std::thread::sleep(self.0.times.min_ready);
                // The controller does not wait for its end.
                scope.spawn(move || self.delete(&old));
            }
        });
    }

    /// Deletes a pod as the kubelet does. It has to end in order, within its grace period.
    fn delete(&self, pod: &Arc<Pod>) {
        let Times { pre_stop, grace, .. } = self.0.times;
        pod.deleting.store(true, Ordering::Relaxed);
        std::thread::sleep(pre_stop);
        let mut server = pod.server.lock().expect("server");
        let running = server.as_mut().expect("a server");
        running.signal(Signal::SIGTERM);
        let status = running.exited((grace - pre_stop).as_secs());
        assert!(status.success(), "{} ended with {status}", pod.name);
        let stopped = running.wait_event("stopped", |_| true);
        assert!(stopped["received"].is_number(), "{stopped}");
        pod.gone.store(true, Ordering::Relaxed);
        // What is under way on its cable may arrive.
        std::thread::sleep(Duration::from_millis(500));
        self.0
            .pods
            .lock()
            .expect("pods")
            .retain(|other| !Arc::ptr_eq(pod, other));
        self.0.announce();
    }

    /// Kills the container of a pod, as the kernel does when memory is short. The kubelet sees it. Gives its process' number.
    pub(crate) fn kill(&self, pod: &Pod) -> u32 {
        let mut server = pod.server.lock().expect("server");
        let running = server.as_mut().expect("a server");
        running.kill();
        pod.ready.store(false, Ordering::Relaxed);
        running.pid()
    }

    /// Starts the container again, in the same pod, with the folder that it had.
    pub(crate) fn start_again(&self, pod: &Pod) {
        let mut server = pod.server.lock().expect("server");
        let ended = server.take().expect("a server");
        *server = Some(pod.host.space.inside(|| ended.restart()));
        drop(server);
        self.wait_ready(pod);
        self.wait_served();
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut *self.0.threads.lock().expect("threads"));
        for thread in threads {
            let _ = thread.join();
        }
    }
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
        // The labels that a PodMonitor gives.
        let target = |pod: &Arc<Pod>| {
            let labels = json!({"namespace": "mail", "pod": pod.name, "container": "smtp-server"});
            json!({"targets": [SocketAddr::new(pod.host.v4(), 8080).to_string()], "labels": labels})
        };
        let targets: Vec<Value> = pods.iter().map(target).collect();
        let new = self.targets.with_extension("new");
        std::fs::write(&new, Value::from(targets).to_string()).expect("targets");
        std::fs::rename(&new, &self.targets).expect("targets");
    }

    /// Who is behind the Service, as the endpoints' controller has it: who is ready and not being deleted; if there is nobody, who
    /// is being deleted and still serves.
    fn endpoints(&self) -> Vec<Vec<IpAddr>> {
        let pods = self.pods.lock().expect("pods");
        let addresses = |deleting: bool| {
            let serves = pods.iter().filter(|pod| pod.ready.load(Ordering::Relaxed));
            let those = serves.filter(|pod| pod.deleting.load(Ordering::Relaxed) == deleting);
            those.map(|pod| pod.host.addresses.clone()).collect::<Vec<_>>()
        };
        let ready = addresses(false);
        if ready.is_empty() { addresses(true) } else { ready }
    }
}

/// The kubelet's probes of a pod, until it is gone.
fn probes(state: &State, pod: &Pod) {
    let times = state.times;
    let address = SocketAddr::new(pod.host.v4(), 8080);
    let ask =
        |path: &str| probe::get(address, path, times.ready_timeout).is_some_and(|(status, _)| status == 200);
    let goes_on = || !state.stop.load(Ordering::Relaxed) && !pod.gone.load(Ordering::Relaxed);
    while goes_on() && !ask("/health/live") {
        std::thread::sleep(times.startup_period);
    }
    let mut failures = 0;
    while goes_on() {
        if ask("/health/ready") {
            failures = 0;
            pod.ready.store(true, Ordering::Relaxed);
        } else {
            failures += 1;
            if failures >= times.ready_failures {
                pod.ready.store(false, Ordering::Relaxed);
            }
        }
        std::thread::sleep(times.ready_period);
    }
    pod.ready.store(false, Ordering::Relaxed);
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
