//! A pod, from its start to its end.

use super::network::Namespace;
use super::node::Node;
use super::probe::Probe;
use super::spec::{Source, Spec, Volume};
use super::timeline::{Happened, Timeline};
use super::volumes::{Projected, contents, writable};
use crate::image::said;
use blackbox::wait_for_secs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A pod. Dropped, it is killed.
pub struct Pod {
    shared: Arc<Shared>,
    /// Its network, kept as long as the pod.
    namespace: Namespace,
    /// The volumes that follow an object, kept as long as the pod.
    _volumes: Vec<Arc<Projected>>,
    supervisor: Option<std::thread::JoinHandle<()>>,
}

/// How a pod ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub code: i32,
    /// From SIGTERM on.
    pub took: Duration,
    /// Whether it had to be killed.
    pub killed: bool,
}

struct Shared {
    name: String,
    folder: PathBuf,
    address: IpAddr,
    spec: Spec,
    timeline: Timeline,
    podman: Podman,
    /// Everything after the program's name that starts the container.
    run: Vec<String>,
    state: Mutex<State>,
}

/// How podman is called.
struct Podman(Vec<(String, String)>);

#[derive(Default)]
struct State {
    container: String,
    /// 0 while there is none.
    pid: i32,
    starts: u32,
    /// It is not started again.
    deleted: bool,
    /// The container ended after that.
    gone: bool,
}

impl Podman {
    fn command(&self) -> Command {
        let mut podman = blackbox::tools::program("/usr/bin/podman");
        podman.envs(self.0.iter().map(|(name, value)| (name, value)));
        podman
    }
}

impl Pod {
    pub(super) fn start(node: &Node, workload: &Value, ordinal: u32) -> Pod {
        let spec = Spec::read(workload);
        let base = workload["metadata"]["name"].as_str().expect("a name");
        // Of a Deployment's pods the name says nothing; two of one name are not played.
        let name = match workload["kind"].as_str() {
            Some("StatefulSet") => format!("{base}-{ordinal}"),
            Some("Deployment") => format!("{base}-6d9f7c5b8-{ordinal:05}"),
            other => panic!("no workload that is played: {other:?}"),
        };
        let folder = node.pod_folder(&name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("the pod's folder");
        let namespace = node.bridge.attach(node.next_host());
        let mut volumes = Vec::new();
        let mut run = container(&spec, &name, &namespace, &folder, node);
        for mount in &spec.mounts {
            let declared = spec.volumes.iter().find(|(volume, _)| *volume == mount.volume);
            let (_, volume) = declared.unwrap_or_else(|| panic!("no volume {}", mount.volume));
            let source = folder.join("volumes").join(&mount.volume);
            let options = if mount.read_only { "ro" } else { "rw" };
            let bind = |source: &Path| format!("--volume={}:{}:{options}", source.display(), mount.path);
            run.push(match volume {
                Volume::Object { kind, name, mode } => {
                    let projected = Arc::new(Projected::new(source.clone(), *mode, spec.fs_group));
                    node.follow(kind, name, &projected);
                    volumes.push(projected);
                    // They cannot be written to, whatever the mount says.
                    format!("--volume={}:{}:ro", source.display(), mount.path)
                }
                Volume::Folder => {
                    writable(&source, spec.fs_group);
                    bind(&source)
                }
                Volume::Claim { name: claim } => {
                    let source = node.claim(&claim.replace("{pod}", &name));
                    writable(&source, spec.fs_group);
                    bind(&source)
                }
                Volume::Memory { size } => {
                    let size = size.map(|size| format!(",tmpfs-size={size}")).unwrap_or_default();
                    format!(
                        "--mount=type=tmpfs,destination={},tmpfs-mode=1777{size}",
                        mount.path
                    )
                }
            });
        }
        for (variable, source) in &spec.variables {
            let value = value(source, node, workload, &name, &namespace);
            run.push(format!("--env={variable}={value}"));
        }
        // The command of a template takes the place of the image's entry point, the arguments that of its command.
        let mut words = spec.command.iter();
        if let Some(program) = words.next() {
            run.push(format!("--entrypoint={program}"));
        }
        run.push(format!(
            "localhost/{}",
            spec.image.trim_start_matches("localhost/")
        ));
        run.extend(words.chain(&spec.args).cloned());

        let environment = node.storage.podman();
        let environment = environment.get_envs().map(|(name, value)| {
            let text = |value: &std::ffi::OsStr| value.to_str().expect("UTF-8").to_owned();
            (text(name), text(value.expect("a value")))
        });
        let shared = Arc::new(Shared {
            address: IpAddr::V4(namespace.address),
            podman: Podman(environment.collect()),
            timeline: Timeline::new(),
            state: Mutex::default(),
            name,
            folder,
            spec,
            run,
        });
        let supervised = shared.clone();
        Pod {
            supervisor: Some(std::thread::spawn(move || supervise(&supervised))),
            shared,
            namespace,
            _volumes: volumes,
        }
    }

    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// A port of the pod's.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.namespace.address), port)
    }

    pub fn timeline(&self) -> &Timeline {
        &self.shared.timeline
    }

    /// The container's first process, as this machine numbers it.
    pub fn pid(&self) -> i32 {
        let pid = self.shared.state.lock().expect("state").pid;
        assert!(pid != 0, "{} does not run", self.name());
        pid
    }

    /// A field of `/proc/PID/status`, which is the kernel's word on the process, whoever asks: there is no shell in
    /// the image to ask from the inside.
    pub fn status(&self, field: &str) -> String {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no field {field}"))
            .trim()
            .to_owned()
    }

    /// The container's root as its process sees it, mounts and all.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.pid()))
    }

    /// A file as the container's process sees it. Links are followed within the container.
    pub fn read(&self, path: &str) -> std::io::Result<String> {
        std::fs::read_to_string(self.root().join(path.trim_start_matches('/')))
    }

    /// Waits until the readiness probe says yes.
    pub fn wait_ready(&self) {
        wait_for_secs(&format!("{} to be ready", self.name()), 60, || {
            self.timeline().is_ready()
        });
    }

    /// The log so far, a line each.
    pub fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.shared.folder.join("log")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.splitn(4, ' ').nth(3));
        lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a line of an event.
    pub fn wait_event(&self, event: &str, matching: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        wait_for_secs(&format!("log event {event}"), 60, || {
            let log = self.log();
            found = log
                .into_iter()
                .find(|line| line["event"] == event && matching(line));
            found.is_some()
        });
        found.expect("event")
    }

    /// A GET at the `http` port: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        blackbox::server::http(self.at(8080), &request)
    }

    /// The value of a metric's series.
    pub fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = line.and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| panic!("no series {series} in\n{text}"))
    }

    /// `kubectl exec POD -- WORDS`.
    pub fn exec(&self, words: &[&str]) -> Output {
        let container = self.shared.state.lock().expect("state").container.clone();
        let mut exec = self.shared.podman.command();
        exec.args(["exec", &container]).args(words);
        exec.output().expect("podman")
    }

    /// The process is killed, as by the kernel when memory is short; the kubelet starts it again.
    pub fn crash(&self) {
        kill(Pid::from_raw(self.pid()), Signal::SIGKILL).expect("kill");
    }

    /// `kubectl delete pod`: preStop, SIGTERM, and SIGKILL when the grace period is over.
    pub fn delete(mut self) -> (Ended, Timeline) {
        let shared = self.shared.clone();
        let begin = Instant::now();
        shared.state.lock().expect("state").deleted = true;
        shared.timeline.note(Happened::Deleted);
        let is_gone = || shared.state.lock().expect("state").gone;
        let until = |end: Instant| {
            while !is_gone() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        // Not even an application that has ended would make a kubelet's `sleep` shorter; here it fails the test.
        until(begin + shared.spec.pre_stop.min(shared.spec.grace));
        shared.timeline.note(Happened::PreStopped);
        let terminated = Instant::now();
        shared.signal("TERM");
        shared.timeline.note(Happened::Terminated);
        // What preStop used up is gone, but two seconds remain in any case.
        until((begin + shared.spec.grace).max(terminated + Duration::from_secs(2)));
        let killed = !is_gone();
        if killed {
            shared.timeline.note(Happened::Killed);
            shared.signal("KILL");
        }
        let took = terminated.elapsed();
        self.supervisor
            .take()
            .expect("supervisor")
            .join()
            .expect("supervisor");
        let code = shared
            .timeline
            .events()
            .into_iter()
            .rev()
            .find_map(|what| match what {
                Happened::Exited(code) => Some(code),
                _ => None,
            });
        let ended = Ended {
            code: code.expect("an exit code"),
            took,
            killed,
        };
        (ended, shared.timeline.clone())
    }

    /// The node is lost with it: nothing is said, nothing is waited for. Claims stay.
    pub fn lose(self) {
        drop(self);
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- timeline of {}\n{}", self.name(), self.shared.timeline);
            let log = std::fs::read_to_string(self.shared.folder.join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(40);
            eprintln!("--- end of its log\n{}", lines[last..].join("\n"));
        }
        if let Some(supervisor) = self.supervisor.take() {
            self.shared.state.lock().expect("state").deleted = true;
            self.shared.signal("KILL");
            let _ = supervisor.join();
        }
        let _ = std::fs::remove_dir_all(&self.shared.folder);
    }
}

impl Shared {
    /// A signal to the container, through the runtime. One that has ended gets none.
    fn signal(&self, signal: &str) {
        let container = self.state.lock().expect("state").container.clone();
        if !container.is_empty() {
            let mut kill = self.podman.command();
            let _ = kill.args(["kill", "--signal", signal, &container]).output();
        }
    }

    fn deleted(&self) -> bool {
        self.state.lock().expect("state").deleted
    }

    fn probe(&self, probe: &Probe, container: &str) -> bool {
        probe.succeeds(self.address, |command, timeout| {
            let mut exec = Command::new("/usr/bin/timeout");
            exec.arg(timeout.as_secs_f64().to_string());
            exec.args(["/usr/bin/podman", "exec", container]).args(command);
            exec.envs(self.podman.0.iter().map(|(name, value)| (name, value)));
            exec.output().is_ok_and(|output| output.status.success())
        })
    }
}

/// What `podman run` is told besides volumes and variables.
fn container(spec: &Spec, name: &str, namespace: &Namespace, folder: &Path, node: &Node) -> Vec<String> {
    let gateway = node.address();
    let hosts = format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost\n{}\t{name}\n",
        namespace.address
    );
    let names = format!(
        "search mail.svc.cluster.local svc.cluster.local cluster.local\nnameserver {gateway}\noptions ndots:{}\n",
        spec.ndots
    );
    for (file, text) in [("hosts", hosts), ("resolv.conf", names)] {
        std::fs::write(folder.join(file), text).expect("the pod's files");
    }
    let mut run: Vec<String> = ["run", "--detach", "--pull=never", "--log-driver=k8s-file"]
        .map(String::from)
        .into();
    let mut say = |text: String| run.push(text);
    say(format!("--log-opt=path={}", folder.join("log").display()));
    say(format!("--network=ns:{}", namespace.path().display()));
    say(format!("--hostname={name}"));
    for file in ["hosts", "resolv.conf"] {
        say(format!("--volume={}:/etc/{file}:ro", folder.join(file).display()));
    }
    say(format!("--cgroup-parent=/kubelet{}", node.bridge.number));
    say(format!("--user={}:{}", spec.uid, spec.gid));
    if let Some(group) = spec.fs_group {
        say(format!("--group-add={group}"));
    }
    for capability in &spec.drop {
        say(format!("--cap-drop={capability}"));
    }
    if spec.read_only_root {
        // No writable folders but those that the template mounts.
        say("--read-only".into());
        say("--read-only-tmpfs=false".into());
    }
    if spec.no_new_privileges {
        say("--security-opt=no-new-privileges".into());
    }
    if let Some(memory) = spec.memory {
        // And no swap, as a kubelet has it by default.
        say(format!("--memory={memory}b"));
        say(format!("--memory-swap={memory}b"));
    }
    if let Some(cpus) = spec.cpus {
        // podman refuses more than there are; the kernel would not.
        let there = std::thread::available_parallelism().map_or(1, usize::from);
        #[allow(clippy::cast_precision_loss)]
        let cpus = cpus.min(there as f64);
        say(format!("--cpus={cpus}"));
    }
    run
}

/// What a variable is set to.
fn value(source: &Source, node: &Node, workload: &Value, pod: &str, namespace: &Namespace) -> String {
    match source {
        Source::Value(value) => value.clone(),
        Source::Key { kind, name, key } => {
            let octets = contents(&node.object(kind, name)).remove(key).expect("the key");
            String::from_utf8(octets).expect("UTF-8")
        }
        Source::Field(field) => match field.as_str() {
            "metadata.name" => pod.to_owned(),
            "metadata.namespace" => workload["metadata"]["namespace"]
                .as_str()
                .unwrap_or("default")
                .to_owned(),
            "status.podIP" | "status.podIPs" => namespace.address.to_string(),
            "status.hostIP" => node.address().to_string(),
            "spec.nodeName" => format!("node-{}", node.bridge.number),
            _ => panic!("the kubelet of the tests does not play the field {field}"),
        },
    }
}

/// Starts the container, again and again until the pod is deleted, and asks its probes.
fn supervise(pod: &Arc<Shared>) {
    loop {
        let starts = {
            let mut state = pod.state.lock().expect("state");
            state.starts += 1;
            state.starts
        };
        // The second time at once; then after ten seconds, twenty, …
        if let Some(doublings) = starts.checked_sub(3) {
            let end = Instant::now() + Duration::from_secs(10 << doublings.min(5));
            while Instant::now() < end && !pod.deleted() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let container = if pod.deleted() { None } else { Some(start(pod)) };
        if let Some(container) = &container {
            let code = watch(pod, container);
            pod.timeline.note(Happened::Exited(code));
            let _ = pod.podman.command().args(["rm", "--force", container]).output();
        }
        let mut state = pod.state.lock().expect("state");
        state.pid = 0;
        state.container.clear();
        if state.deleted {
            state.gone = true;
            return;
        }
    }
}

/// Starts it once. Gives its id.
fn start(pod: &Shared) -> String {
    let container = said(pod.podman.command().args(&pod.run));
    let mut inspect = pod.podman.command();
    let pid = said(inspect.args(["inspect", "--format", "{{.State.Pid}}", &container]));
    let mut state = pod.state.lock().expect("state");
    state.container.clone_from(&container);
    // 0 when it has ended already.
    state.pid = pid.parse().expect("a process id");
    drop(state);
    pod.timeline.note(Happened::Started);
    container
}

/// Asks the probes until the container has ended. Gives its exit code.
fn watch(pod: &Arc<Shared>, container: &str) -> i32 {
    let pid = pod.state.lock().expect("state").pid;
    let process = PathBuf::from(format!("/proc/{pid}"));
    let runs = || pid != 0 && process.exists();
    std::thread::scope(|scope| {
        scope.spawn(|| probes(pod, container, &runs));
        while runs() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let mut status = String::new();
    wait_for_secs("podman to see the end", 30, || {
        let mut inspect = pod.podman.command();
        status = said(inspect.args([
            "inspect",
            "--format",
            "{{.State.Status}} {{.State.ExitCode}}",
            container,
        ]));
        status.starts_with("exited") || status.starts_with("stopped")
    });
    status
        .rsplit(' ')
        .next()
        .and_then(|code| code.parse().ok())
        .expect("a code")
}

/// Startup first; then liveness, which ends with the pod's deletion, and readiness, which does not.
fn probes(pod: &Arc<Shared>, container: &str, runs: &(dyn Fn() -> bool + Sync)) {
    let pause = |time: Duration| {
        let end = Instant::now() + time;
        while runs() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    // Says no so often in a row: the container is to be started again.
    let guard = |probe: &Probe, until_success: bool| -> bool {
        let mut failures = 0;
        pause(probe.initial_delay);
        while runs() && !pod.deleted() {
            if pod.probe(probe, container) {
                failures = 0;
                if until_success {
                    return true;
                }
            } else if runs() && !pod.deleted() {
                failures += 1;
            }
            if failures >= probe.failures {
                pod.timeline.note(Happened::Unhealthy);
                pod.signal("TERM");
                let end = Instant::now() + pod.spec.grace;
                while runs() && Instant::now() < end {
                    std::thread::sleep(Duration::from_millis(20));
                }
                if runs() {
                    pod.timeline.note(Happened::Killed);
                    pod.signal("KILL");
                }
                return false;
            }
            pause(probe.period);
        }
        false
    };
    if let Some(startup) = &pod.spec.startup {
        if !guard(startup, true) {
            return;
        }
        pod.timeline.note(Happened::StartedUp);
    }
    std::thread::scope(|scope| {
        if let Some(live) = &pod.spec.live {
            scope.spawn(|| guard(live, false));
        }
        let Some(probe) = &pod.spec.ready else {
            pod.timeline.note(Happened::Ready(true));
            return;
        };
        let (mut ready, mut same) = (false, 0);
        pause(probe.initial_delay);
        while runs() {
            let says = pod.probe(probe, container);
            if !runs() {
                return;
            }
            same = if says == ready { 0 } else { same + 1 };
            let enough = if says { probe.successes } else { probe.failures };
            if same >= enough {
                (ready, same) = (says, 0);
                pod.timeline.note(Happened::Ready(ready));
            }
            pause(probe.period);
        }
    });
}
