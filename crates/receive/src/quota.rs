//! How much accounts send: windows that slide, over all sessions of this server.
//!
//! A quota of 100 in an hour means that in no 60 minutes, whenever they begin, more than 100 are taken (a little less is possible: a
//! window goes on in 60 steps, and what was taken within one goes away together).
//!
//! Promises: what is taken and not kept is given back when it is dropped, however that comes; memory is bounded by the accounts that
//! sent within a day, 60 numbers for each kind and period at most.

use parking_lot::Mutex;
use smtp_config::{Quota, QuotaKind, QuotaPeriod};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Steps of a window.
const STEPS: u32 = 60;
/// Accounts after which those that took nothing for a day are looked for.
const SWEEP: usize = 1024;

/// What all accounts took.
#[derive(Debug)]
pub(crate) struct Quotas {
    started: Instant,
    usage: Mutex<Usage>,
}

#[derive(Debug, Default)]
struct Usage {
    accounts: HashMap<Box<str>, Windows>,
    /// So many accounts call for a sweep.
    sweep_at: usize,
}

/// Of one account, the windows that its quotas look through.
type Windows = HashMap<(QuotaKind, QuotaPeriod), Window>;

/// What was taken lately: in which step, and how much.
#[derive(Debug, Default)]
struct Window {
    steps: VecDeque<(u64, u32)>,
    sum: u64,
}

/// Something that was taken. Dropped without [`Taken::keep`], it is given back.
#[derive(Debug)]
pub(crate) struct Taken {
    quotas: Arc<Quotas>,
    account: Box<str>,
    kind: QuotaKind,
    at: Duration,
    kept: bool,
}

/// A quota that is used up, and after how long it is worth trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsedUp {
    pub(crate) quota: Quota,
    pub(crate) wait: Duration,
}

impl Quotas {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Quotas {
            started: Instant::now(),
            usage: Mutex::default(),
        })
    }

    /// Takes one of `kind` for an account, whose quotas are those of all servers together. `None` when no quota counts it.
    ///
    /// # Errors
    /// The quota that is used up, of several the one that takes longest.
    pub(crate) fn take(
        self: &Arc<Self>,
        account: &str,
        quotas: &[Quota],
        kind: QuotaKind,
        share: impl Fn(u32) -> u32,
    ) -> Result<Option<Taken>, UsedUp> {
        self.take_at(account, quotas, kind, share, self.started.elapsed())
    }

    fn take_at(
        self: &Arc<Self>,
        account: &str,
        quotas: &[Quota],
        kind: QuotaKind,
        share: impl Fn(u32) -> u32,
        now: Duration,
    ) -> Result<Option<Taken>, UsedUp> {
        let quotas = || quotas.iter().filter(|quota| quota.kind == kind);
        if quotas().next().is_none() {
            return Ok(None);
        }
        let mut usage = self.usage.lock();
        usage.sweep(now);
        let windows = usage.accounts.entry(account.into()).or_default();
        let used_up = quotas().filter_map(|quota| {
            let window = windows.entry((kind, quota.period)).or_default();
            window.forget(quota.period, now);
            let amount = share(quota.amount);
            let wait = window.wait(Quota { amount, ..*quota }, now)?;
            Some(UsedUp { quota: *quota, wait })
        });
        if let Some(used_up) = used_up.max_by_key(|used_up| used_up.wait) {
            return Err(used_up);
        }
        for ((_, period), window) in windows.iter_mut().filter(|((of, _), _)| *of == kind) {
            window.forget(*period, now);
            window.add(step_at(*period, now));
        }
        Ok(Some(Taken {
            quotas: self.clone(),
            account: account.into(),
            kind,
            at: now,
            kept: false,
        }))
    }
}

impl Usage {
    /// Forgets accounts that took nothing for a day, each time their number has doubled.
    fn sweep(&mut self, now: Duration) {
        if self.accounts.len() < self.sweep_at.max(SWEEP) {
            return;
        }
        self.accounts.retain(|_, windows| {
            for ((_, period), window) in windows.iter_mut() {
                window.forget(*period, now);
            }
            windows.values().any(|window| window.sum > 0)
        });
        self.sweep_at = self.accounts.len().saturating_mul(2);
    }
}

impl Window {
    /// Lets go of the steps that are wholly out of the window.
    fn forget(&mut self, period: QuotaPeriod, now: Duration) {
        let current = step_at(period, now);
        while let Some((_, count)) = self
            .steps
            .pop_front_if(|(step, _)| *step + u64::from(STEPS) < current)
        {
            self.sum -= u64::from(count);
        }
    }

    /// How long until one more fits; `None` when it does now.
    fn wait(&self, quota: Quota, now: Duration) -> Option<Duration> {
        let mut over = (self.sum + 1)
            .checked_sub(u64::from(quota.amount))
            .filter(|over| *over > 0)?;
        for (step, count) in &self.steps {
            over = over.saturating_sub(u64::from(*count));
            if over == 0 {
                // The step is out of the window when the one after its period's end begins.
                let begins = step_length(quota.period) * u32::try_from(step + u64::from(STEPS) + 1).ok()?;
                return Some(begins.saturating_sub(now));
            }
        }
        Some(quota.period.length())
    }

    fn add(&mut self, step: u64) {
        match self.steps.back_mut() {
            Some((last, count)) if *last >= step => *count = count.saturating_add(1),
            _ => self.steps.push_back((step, 1)),
        }
        self.sum += 1;
    }

    /// Takes one back from a step, if it is still in the window.
    fn give_back(&mut self, step: u64) {
        if let Some((_, count)) = self
            .steps
            .iter_mut()
            .find(|(known, count)| *known == step && *count > 0)
        {
            *count -= 1;
            self.sum -= 1;
        }
    }
}

impl Taken {
    /// It was used: it stays taken.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let mut usage = self.quotas.usage.lock();
        let windows = usage.accounts.get_mut(&self.account).into_iter().flatten();
        for ((_, period), window) in windows.filter(|((kind, _), _)| *kind == self.kind) {
            window.give_back(step_at(*period, self.at));
        }
    }
}

fn step_length(period: QuotaPeriod) -> Duration {
    period.length() / STEPS
}

fn step_at(period: QuotaPeriod, now: Duration) -> u64 {
    now.as_secs() / step_length(period).as_secs().max(1)
}

#[cfg(test)]
mod tests;
