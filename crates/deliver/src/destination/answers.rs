//! What a next hop answers to its caller: how it stands, and what is to be done.

use smtp::Reply;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How a next hop stands now.
#[derive(Clone, Debug)]
pub struct Standing {
    /// It is left alone until then.
    pub down_until: Option<Instant>,
    /// It was down, and one connection tries whether it is back.
    pub probing: bool,
    /// Recipients that wait for a connection.
    pub waiting: usize,
    /// Recipients whose mail is being sent.
    pub sending: usize,
    /// Connections that are open.
    pub connections: usize,
    /// Connections that it gets now.
    pub allowed: usize,
    /// Connections that it gets at most.
    pub cap: usize,
    /// Messages in a second that it gets at most from this server; `None`: there is no limit.
    pub rate: Option<f64>,
    /// Its mail waits for that.
    pub waits_for_rate: bool,
    /// Times in a row that it could not be talked to.
    pub failures: u32,
    /// When and why that was the last time, as long as it is remembered.
    pub last_failure: Option<(Instant, Arc<Reply>)>,
}

/// Why others are not to wait for what a next hop has in hand: it gets a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Apart {
    /// Its lanes end nothing.
    Hangs,
    /// It was down, and the probe is not answered yet.
    Probed,
    /// Its mail waits for its rate.
    Paced,
}

/// What became of a job that was pushed.
#[derive(Debug)]
pub(crate) enum Pushed<J> {
    /// It waits; wake this lane.
    Wake(Arc<Notify>),
    /// It waits; start a lane (it is counted already).
    Spawn,
    /// It waits for a lane that is busy.
    Waits,
    /// It waits until a message may go.
    Paced,
    /// The next hop is down for this reason: the job comes back.
    Down(J, Arc<Reply>),
}

/// What is to be done for what waits.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Nothing: nothing waits, or its lanes are busy and come for it.
    Nothing,
    /// Wake this lane.
    Wake(Arc<Notify>),
    /// Start a lane (it is counted already).
    Spawn,
    /// Look again after this time: then a message may go.
    Wait(Duration),
}

/// What a success changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Succeeded {
    /// The next hop was down before.
    pub recovered: bool,
    /// Start one more lane (it is counted already).
    pub spawn: bool,
}

/// What a failure to connect changed.
#[derive(Debug)]
pub(crate) enum Failed<J> {
    /// Other connections live: fewer lanes from now on. The job is best given back.
    Fewer,
    /// The next hop is down; these jobs waited for it.
    Down {
        /// This failure took it down, rather than one at the same time.
        first: bool,
        /// For how long it is left alone.
        retry_in: Duration,
        /// The jobs.
        waiting: Vec<J>,
    },
}
