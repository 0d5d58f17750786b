//! A pod that is nobody's, as `helm test` makes one: its init containers one after the other, then its containers, each until it ends well, or
//! the pod's time is over.

use super::network::Attached;
use super::node::Node;
use super::pod::Pod;
use crate::net::cluster::Host;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What has begun is given this time in any case: a busy machine starts containers slowly.
const BEGUN: Duration = Duration::from_secs(10);

/// What became of a pod.
#[derive(Debug)]
pub struct Ran {
    /// Its phase is `Succeeded`: every container has ended well.
    pub succeeded: bool,
    /// Its containers as far as they were started, in order.
    pub containers: Vec<RanContainer>,
}

/// A container that was started once or more.
#[derive(Debug)]
pub struct RanContainer {
    pub name: String,
    /// Its exit codes; a run that the deadline cut off has none.
    pub codes: Vec<i32>,
    /// `kubectl logs`, of all its runs.
    pub output: String,
}

impl Node {
    /// Runs a pod to its end on a host of the cluster: `restartPolicy: OnFailure`, and no longer than `activeDeadlineSeconds`, which the
    /// node's pace does not shorten. Containers that would run at the same time are not played. `ended` is called with each exit code, before
    /// anything is started again.
    pub fn run_pod(&self, host: &Arc<Host>, name: &str, mut ended: impl FnMut(i32)) -> Ran {
        let pod = self.object("Pod", name);
        let spec = &pod["spec"];
        assert_eq!(spec["restartPolicy"], "OnFailure", "no other is played");
        let seconds = spec["activeDeadlineSeconds"].as_u64().expect("a deadline");
        let end = Instant::now() + Duration::from_secs(seconds);
        let list = |name: &str| spec[name].as_array().cloned().unwrap_or_default();
        let last = list("containers");
        assert_eq!(last.len(), 1, "one container beside init containers is played");
        let mut ran = Ran {
            succeeded: true,
            containers: Vec::new(),
        };
        for container in list("initContainers").into_iter().chain(last) {
            let alone = with_one(&pod, container);
            let done = self.run_container(host, &alone, end, &mut ended);
            ran.succeeded = done.codes.last() == Some(&0);
            ran.containers.push(done);
            if !ran.succeeded {
                break;
            }
        }
        ran
    }

    /// Runs a pod with one container again and again, until it ends well or it is too late.
    fn run_container(
        &self,
        host: &Arc<Host>,
        alone: &Value,
        end: Instant,
        ended: &mut impl FnMut(i32),
    ) -> RanContainer {
        let name = alone["spec"]["containers"][0]["name"].as_str().expect("a name");
        let mut done = RanContainer {
            name: name.to_owned(),
            codes: Vec::new(),
            output: String::new(),
        };
        loop {
            // The second time at once; then later each time.
            if let Some(doublings) = done.codes.len().checked_sub(2) {
                let pause = Duration::from_secs(10) * (1 << doublings.min(5)) / self.pace();
                std::thread::sleep(pause.min(end.saturating_duration_since(Instant::now())));
            }
            if !done.codes.is_empty() && Instant::now() >= end {
                return done;
            }
            let pod = Pod::start(self, alone, 0, Attached::to(host.clone()));
            let code = pod.ended_until(end.max(Instant::now() + BEGUN));
            done.output += &pod.output();
            let Some(code) = code else { return done };
            done.codes.push(code);
            ended(code);
            if code == 0 {
                return done;
            }
        }
    }
}

/// The pod as if this container were its only one, to be started once.
fn with_one(pod: &Value, container: Value) -> Value {
    let mut alone = pod.clone();
    let spec = alone["spec"].as_object_mut().expect("spec");
    spec.remove("initContainers");
    spec.remove("activeDeadlineSeconds");
    spec.insert("restartPolicy".into(), json!("Never"));
    spec.insert("containers".into(), json!([container]));
    alone
}
