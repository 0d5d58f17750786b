//! What watches over a container: it is started, asked its probes, and started again when it has ended.

use super::probe::Probe;
use super::spec::Spec;
use super::timeline::{Happened, Timeline};
use crate::image::said;
use blackbox::wait_for_secs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The longest that podman takes to start a container.
const STARTS: Duration = Duration::from_secs(60);

/// What a pod and its supervisor both know.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) address: IpAddr,
    pub(super) spec: Spec,
    pub(super) timeline: Timeline,
    pub(super) podman: Podman,
    /// Everything after the program's name that starts the container.
    pub(super) run: Vec<String>,
    pub(super) state: Mutex<State>,
}

/// How podman is called.
pub(super) struct Podman(Vec<(String, String)>);

#[derive(Default)]
pub(super) struct State {
    pub(super) container: String,
    /// 0 while there is none.
    pub(super) pid: i32,
    starts: u32,
    /// One is being made, whose id is not known yet.
    starting: bool,
    /// It is not started again.
    pub(super) deleted: bool,
    /// It is not started again for now.
    pub(super) held_down: bool,
    /// The container ended after that.
    pub(super) gone: bool,
}

impl Podman {
    /// As a command is called that a storage has made.
    pub(super) fn like(command: &Command) -> Podman {
        let variables = command.get_envs().map(|(name, value)| {
            let text = |value: &std::ffi::OsStr| value.to_str().expect("UTF-8").to_owned();
            (text(name), text(value.expect("a value")))
        });
        Podman(variables.collect())
    }

    pub(super) fn command(&self) -> Command {
        let mut podman = blackbox::tools::program("/usr/bin/podman");
        podman.envs(self.0.iter().map(|(name, value)| (name, value)));
        podman
    }
}

impl Shared {
    /// A signal to the container, through the runtime: to one that is just being started as soon as it is there. One that has ended gets none.
    pub(super) fn signal(&self, signal: &str) {
        pause(STARTS, || self.state.lock().expect("state").starting);
        let container = self.state.lock().expect("state").container.clone();
        if !container.is_empty() {
            let mut kill = self.podman.command();
            let _ = kill.args(["kill", "--signal", signal, &container]).output();
        }
    }

    fn deleted(&self) -> bool {
        self.state.lock().expect("state").deleted
    }

    fn held_down(&self) -> bool {
        let state = self.state.lock().expect("state");
        state.held_down && !state.deleted
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

/// How long is waited before a container's start of that number: not before the first and the second, then longer each time, 30 times as long as at
/// first at most (five minutes, as the kubelet has it).
fn pause_before(start: u32, at_first: Duration) -> Duration {
    let doublings = start.checked_sub(3).map(|doublings| doublings.min(5));
    doublings.map_or(Duration::ZERO, |doublings| at_first * (1 << doublings).min(30))
}

/// Starts the container, again and again until the pod is deleted (or once, as the template says), and asks its probes.
pub(super) fn supervise(pod: &Arc<Shared>) {
    loop {
        let starts = {
            let mut state = pod.state.lock().expect("state");
            state.starts += 1;
            state.starts
        };
        pause(pause_before(starts, pod.spec.back_off), || !pod.deleted());
        while pod.held_down() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let is_wanted = {
            let mut state = pod.state.lock().expect("state");
            state.starting = !state.deleted;
            state.starting
        };
        let container = is_wanted.then(|| start(pod));
        if let Some(container) = &container {
            let code = watch(pod, container);
            pod.timeline.note(Happened::Exited(code));
            let _ = pod.podman.command().args(["rm", "--force", container]).output();
        }
        let mut state = pod.state.lock().expect("state");
        state.pid = 0;
        state.container.clear();
        if state.deleted || !pod.spec.restarts {
            state.gone = true;
            return;
        }
    }
}

/// A container that is being started. Dropped, it is not any more, be it there or not.
struct Starts<'p>(&'p Shared);

impl Drop for Starts<'_> {
    fn drop(&mut self) {
        if let Ok(mut state) = self.0.state.lock() {
            state.starting = false;
        }
    }
}

/// Starts it once. Gives its id.
fn start(pod: &Shared) -> String {
    let _starts = Starts(pod);
    let mut run = pod.podman.command();
    // Of a container that takes too much memory something is noted where this is called.
    let container = said(run.current_dir(&pod.folder).args(&pod.run));
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
        let watched = Watched {
            pod,
            container,
            runs: &runs,
        };
        scope.spawn(move || watched.probes());
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

/// Waits for a time, or until something holds no longer.
fn pause(time: Duration, goes_on: impl Fn() -> bool) {
    let end = Instant::now() + time;
    while goes_on() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A container that runs.
#[derive(Clone, Copy)]
struct Watched<'c> {
    pod: &'c Shared,
    container: &'c str,
    runs: &'c (dyn Fn() -> bool + Sync),
}

impl Watched<'_> {
    /// Startup first; then liveness, which ends with the pod's deletion, and readiness, which does not.
    fn probes(self) {
        let spec = &self.pod.spec;
        if let Some(startup) = &spec.startup {
            if !self.guard(startup, true) {
                return;
            }
            self.pod.timeline.note(Happened::StartedUp);
        }
        std::thread::scope(|scope| {
            if let Some(live) = &spec.live {
                scope.spawn(|| self.guard(live, false));
            }
            match &spec.ready {
                Some(ready) => self.readiness(ready),
                None => self.pod.timeline.note(Happened::Ready(true)),
            }
        });
    }

    /// Asks a probe, until it succeeds if that is wanted. One that says no as often as it may ends the container, for it to be
    /// started again. Gives whether it has succeeded.
    fn guard(self, probe: &Probe, until_success: bool) -> bool {
        let goes_on = || (self.runs)() && !self.pod.deleted();
        let mut failures = 0;
        pause(probe.initial_delay, self.runs);
        while goes_on() {
            if self.pod.probe(probe, self.container) {
                failures = 0;
                if until_success {
                    return true;
                }
            } else if goes_on() {
                failures += 1;
            }
            if failures >= probe.failures {
                self.end();
                return false;
            }
            pause(probe.period, self.runs);
        }
        false
    }

    /// Ends a container that is not healthy.
    fn end(self) {
        self.pod.timeline.note(Happened::Unhealthy);
        self.pod.signal("TERM");
        pause(self.pod.spec.grace, self.runs);
        if (self.runs)() {
            self.pod.timeline.note(Happened::Killed);
            self.pod.signal("KILL");
        }
    }

    /// Asks whether it is ready, as long as it runs.
    fn readiness(self, probe: &Probe) {
        let (mut ready, mut same) = (false, 0);
        pause(probe.initial_delay, self.runs);
        while (self.runs)() {
            let says = self.pod.probe(probe, self.container);
            if !(self.runs)() {
                return;
            }
            same = if says == ready { 0 } else { same + 1 };
            let enough = if says { probe.successes } else { probe.failures };
            if same >= enough {
                (ready, same) = (says, 0);
                self.pod.timeline.note(Happened::Ready(ready));
            }
            pause(probe.period, self.runs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_before_starts_are_doubled_up_to_five_minutes() {
        let pause = |start| pause_before(start, Duration::from_secs(10)).as_secs();
        assert_eq!(
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 100].map(pause),
            [0, 0, 10, 20, 40, 80, 160, 300, 300, 300]
        );
    }
}
