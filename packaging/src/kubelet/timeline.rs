//! What happened to a pod, and when.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// The container was started, for the first time or again.
    Started,
    /// The startup probe has succeeded.
    StartedUp,
    /// What readiness says has changed.
    Ready(bool),
    /// The liveness or startup probe has failed as often as it may.
    Unhealthy,
    /// The API was asked to delete the pod.
    Deleted,
    /// The preStop hook is over.
    PreStopped,
    /// SIGTERM was sent.
    Terminated,
    /// SIGKILL was sent.
    Killed,
    /// The container's process has ended.
    Exited(i32),
}

/// What happened so far, in order.
#[derive(Clone)]
pub struct Timeline {
    start: Instant,
    events: Arc<Mutex<Vec<(Duration, Happened)>>>,
}

impl Timeline {
    pub(super) fn new() -> Timeline {
        Timeline {
            start: Instant::now(),
            events: Arc::default(),
        }
    }

    pub(super) fn note(&self, what: Happened) {
        let at = self.start.elapsed();
        self.events.lock().expect("timeline").push((at, what));
    }

    /// All of it.
    pub fn events(&self) -> Vec<Happened> {
        let events = self.events.lock().expect("timeline");
        events.iter().map(|(_, what)| what.clone()).collect()
    }

    /// When something last happened, after the pod's start.
    pub fn last(&self, what: &Happened) -> Option<Duration> {
        let events = self.events.lock().expect("timeline");
        let found = events.iter().rev().find(|(_, happened)| happened == what);
        found.map(|(at, _)| *at)
    }

    /// How the container ended, the last time that it did.
    pub fn exit_code(&self) -> Option<i32> {
        self.events().into_iter().rev().find_map(|what| match what {
            Happened::Exited(code) => Some(code),
            _ => None,
        })
    }

    /// Whether the last word on readiness is yes.
    pub fn is_ready(&self) -> bool {
        let events = self.events();
        let last = events.iter().rev().find_map(|what| match what {
            Happened::Ready(ready) => Some(*ready),
            Happened::Started | Happened::Exited(_) => Some(false),
            _ => None,
        });
        last.unwrap_or(false)
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, what) in self.events.lock().expect("timeline").iter() {
            writeln!(f, "{:8.3} s  {what:?}", at.as_secs_f64())?;
        }
        Ok(())
    }
}
