//! A pod, from its start to its end.

use super::container::Container;
use super::identity::Identity;
use super::network::{Attached, Network};
use super::node::Node;
use super::probe::Probe;
use super::spec::Spec;
use super::supervisor::{Podman, Shared, supervise};
use super::timeline::{Happened, Timeline};
use super::volumes::Projected;
use blackbox::wait_for_secs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A pod. Dropped, it is killed.
pub struct Pod {
    shared: Arc<Shared>,
    /// Its place in the network, kept as long as the pod.
    _attached: Attached,
    network: Arc<Network>,
    /// The volumes that follow an object, kept as long as the pod.
    _volumes: Vec<Arc<Projected>>,
    supervisor: Mutex<Option<std::thread::JoinHandle<()>>>,
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

impl Pod {
    pub(super) fn start(node: &Node, workload: &Value, ordinal: u32, attached: Attached) -> Pod {
        let spec = Spec::read(workload, node.pace());
        let (uid, address) = (spec.security.uid, attached.address);
        let identity = Arc::new(Identity::of(workload, ordinal, uid, address, node.address()));
        let folder = node.pod_folder(&identity.name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("the pod's folder");
        let (run, volumes) = Container {
            node,
            spec: &spec,
            identity: &identity,
            attached: &attached,
            folder: &folder,
        }
        .words();
        let shared = Arc::new(Shared {
            address: attached.address,
            podman: Podman::like(&node.storage.podman()),
            timeline: Timeline::new(),
            state: Mutex::default(),
            name: identity.name.clone(),
            folder,
            spec,
            run,
        });
        let supervised = shared.clone();
        Pod {
            supervisor: Mutex::new(Some(node.network.spawn(move || supervise(&supervised)))),
            shared,
            _attached: attached,
            network: node.network.clone(),
            _volumes: volumes,
        }
    }

    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// A port of the pod's.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.shared.address, port)
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

    /// `kubectl logs`: what it said so far, on both streams.
    pub fn output(&self) -> String {
        let text = std::fs::read_to_string(self.shared.folder.join("log")).unwrap_or_default();
        // The time, the stream, and whether it is a whole line are before each.
        let lines = text.lines().filter_map(|line| line.splitn(4, ' ').nth(3));
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// The log so far, a line each.
    pub fn log(&self) -> Vec<Value> {
        let output = self.output();
        let lines = output.lines();
        lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until the container has ended for good, as a Job's does, at most five minutes. Gives its exit code.
    pub fn wait_end(&self) -> i32 {
        wait_for_secs(&format!("{} to end", self.name()), 300, || {
            self.shared.state.lock().expect("state").gone
        });
        self.timeline().exit_code().expect("an exit code")
    }

    /// How the container has ended, if it has by then.
    pub(super) fn ended_until(&self, end: Instant) -> Option<i32> {
        let is_gone = || self.shared.state.lock().expect("state").gone;
        while !is_gone() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        is_gone().then(|| self.timeline().exit_code().expect("an exit code"))
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

    /// A GET at the `http` port, from the node, at the address that its readiness is asked at: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        let ready = self.shared.spec.ready.as_ref();
        let host = ready.and_then(Probe::host);
        let address = SocketAddr::new(host.unwrap_or(self.shared.address), 8080);
        self.network
            .at_the_node(|| blackbox::server::http(address, &request))
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

    /// The same for words that have to succeed: what they print.
    pub fn done(&self, words: &[&str]) -> String {
        let output = self.exec(words);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {error}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The process is killed, as by the kernel when memory is short; the kubelet starts it again.
    pub fn crash(&self) {
        kill(Pid::from_raw(self.pid()), Signal::SIGKILL).expect("kill");
    }

    /// Whether the container, once it has ended, is kept from being started again: a long back-off.
    pub fn hold_down(&self, held: bool) {
        self.shared.state.lock().expect("state").held_down = held;
    }

    /// `kubectl delete pod`: preStop, SIGTERM, and SIGKILL when the grace period is over.
    pub fn delete(&self) -> Ended {
        let shared = &self.shared;
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
        wait_for_secs(&format!("{} to have ended", self.name()), 30, is_gone);
        let supervisor = self.supervisor.lock().expect("supervisor").take();
        supervisor
            .expect("a pod is deleted once")
            .join()
            .expect("supervisor");
        Ended {
            code: shared.timeline.exit_code().expect("an exit code"),
            took,
            killed,
        }
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
        let supervisor = self.supervisor.lock().map(|mut supervisor| supervisor.take());
        if let Ok(Some(supervisor)) = supervisor {
            self.shared.state.lock().expect("state").deleted = true;
            self.shared.signal("KILL");
            let _ = supervisor.join();
        }
        let _ = std::fs::remove_dir_all(&self.shared.folder);
    }
}
