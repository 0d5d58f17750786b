//! Lanes that need no connection: Maildirs, the capture folder, and recipients whose outcome is known.

use super::job::{Job, Work};
use super::settle::{Attempted, Replies, Success};
use super::{Engine, Entry, LaneGuard};
use crate::local::{capture_folder, deliver_capture, deliver_maildir};
use smtp::client::Phase;
use smtp::{Enhanced, Reply};
use std::time::Instant;

/// Does what waits, then ends.
pub(super) async fn run(mut guard: LaneGuard) {
    guard.runs();
    let (engine, entry) = (guard.engine.clone(), guard.entry.clone());
    let mut stop = engine.stop.subscribe();
    while engine.may_begin(&mut stop).await {
        let Some(job) = entry.take() else { break };
        guard.works(job.recipients.len());
        engine.do_local(job, &entry).await;
        entry.state.lock().answered(Instant::now());
        guard.rests();
    }
}

impl Engine {
    async fn do_local(&self, mut job: Job, entry: &Entry) {
        let started = Instant::now();
        if let Work::Known(reply) = &job.work {
            let reply = reply.clone();
            return self
                .settle(job, Attempted::nowhere(started), Replies::Same(&reply))
                .await;
        }
        job.drop_lost();
        self.park(&mut job, &entry.name);
        if job.recipients.is_empty() {
            return;
        }
        let Some(body) = self.content_of(&mut job).await else {
            return;
        };
        let parts = self.parts.load_full();
        let mut replies = Vec::with_capacity(job.recipients.len());
        let mut relay = entry.name.clone();
        for claimed in &job.recipients {
            let address = &claimed.recipient.address;
            let hostname = &parts.own.hostname;
            let done = match &job.work {
                Work::Maildir(template) => {
                    let separator = &parts.config.delivery.subaddress_separator;
                    deliver_maildir(template, separator, &job.message, address, &body, hostname).await
                }
                _ => {
                    let folder = capture_folder(&parts.config);
                    deliver_capture(&folder, &job.message, address, &body, hostname).await
                }
            };
            replies.push(match done {
                Ok(where_to) => {
                    relay = where_to;
                    (Phase::Final, Reply::new(250, Enhanced(2, 0, 0), "delivered"))
                }
                Err(reply) => (Phase::Final, reply),
            });
        }
        let attempted = Attempted {
            relay: &relay,
            success: Success::Delivered,
            ..Attempted::nowhere(started)
        };
        self.settle(job, attempted, Replies::Each(&replies)).await;
    }
}
