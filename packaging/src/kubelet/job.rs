//! What a Job's controller does: pods one after the other, until one ends well or too many have not.

use super::node::Node;
use super::pod::Pod;
use serde_json::Value;
use std::time::Duration;

/// How a Job ended.
#[derive(Debug)]
pub struct Done {
    /// Whether a pod ended well.
    pub complete: bool,
    /// Its pods, in order.
    pub pods: Vec<JobPod>,
}

/// A pod that has ended.
#[derive(Debug)]
pub struct JobPod {
    pub code: i32,
    /// `kubectl logs`.
    pub output: String,
}

impl Node {
    /// Runs a Job to its end. `started` is given each pod's number, from 0, and the pod when it has been started.
    pub fn run_job(&self, name: &str, mut started: impl FnMut(usize, &Pod)) -> Done {
        let job = self.object("Job", name);
        let retries = retries(&job["spec"]);
        let mut pods = Vec::new();
        for number in 0..=retries {
            if let Some(doublings) = number.checked_sub(1) {
                std::thread::sleep(Duration::from_secs(10) * (1 << doublings.min(5)) / self.pace());
            }
            // A volume of its own for each, but for the claim.
            let pod = self.start("Job", name, number);
            started(pods.len(), &pod);
            let code = pod.wait_end();
            pods.push(JobPod {
                code,
                output: pod.output(),
            });
            if code == 0 {
                return Done { complete: true, pods };
            }
        }
        Done {
            complete: false,
            pods,
        }
    }
}

/// How many pods may fail before the last one.
fn retries(spec: &Value) -> u32 {
    super::spec::only(spec, "a Job", &["backoffLimit", "template"]);
    // As the API has it by default.
    let limit = spec["backoffLimit"].as_u64().unwrap_or(6);
    u32::try_from(limit).expect("backoffLimit")
}
