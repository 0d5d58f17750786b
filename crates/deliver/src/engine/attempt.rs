//! One attempt at a job: on the connection that is open, or on new ones, until a server has taken or refused it.

use super::ahead::Ahead;
use super::intake::suspended;
use super::job::{AFTER_A_DOT, Job};
use super::lane::{LIFE, Lane};
use super::settle::{Attempted, Replies, Success};
use crate::connection::{Connection, Failure};
use crate::destination::Failed;
use crate::resolve::Endpoint;
use crate::schedule::{backoff, dice};
use smtp::client::{Outcome, Outgoing};
use smtp::{Enhanced, MailParams, RcptParams, Reply};
use smtp_config::HopProtocol;
use smtp_observe::{Event, Phases};
use smtp_queue::Body;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most servers tried in one attempt.
pub(super) const SERVERS: usize = 5;

/// How an attempt on one connection ended.
pub(super) enum Tried {
    /// The job is settled, or given back.
    Done,
    /// The connection failed before the server could have the message.
    NotYet(Job, Reply),
}

impl Lane {
    /// Tries the servers of the next hop in their order.
    pub(super) async fn on_new_connections(&mut self, mut job: Job, body: &Body, started: Instant) {
        let parts = self.engine.parts.load_full();
        let port = parts.config.delivery.port;
        let asked = Instant::now();
        let endpoints = parts.resolver.endpoints(&self.hop.kind, port, &parts.own).await;
        self.resolving = asked.elapsed();
        let endpoints = match endpoints {
            Ok(endpoints) => endpoints,
            Err(reply) if reply.is_permanent() => return self.refuse(job, started, &reply).await,
            Err(reply) => return self.next_hop_failed(job, started, reply).await,
        };
        let mut last = None;
        let mut all_refused = true;
        let mut spoke = false;
        for endpoint in endpoints.iter().take(SERVERS) {
            let reply = match self.open(endpoint).await {
                Err(reply) => reply,
                Ok(()) => match self.attempt(job, body, started).await {
                    Tried::Done => return,
                    Tried::NotYet(back, reply) => {
                        job = back;
                        spoke |= reply.code != 421;
                        reply
                    }
                },
            };
            all_refused &= reply.is_permanent();
            last = Some(reply);
        }
        let reply = last.unwrap_or_else(|| Reply::new(451, Enhanced(4, 4, 4), "no server to connect to"));
        if all_refused && reply.is_permanent() {
            self.refuse(job, started, &reply).await;
        } else if spoke && !self.guard.entry.state.lock().stumbled() {
            // The servers are there, but broke off with this message: others may fare better.
            self.engine
                .settle(job, Attempted::nowhere(started), Replies::Same(&transient(reply)))
                .await;
        } else {
            self.next_hop_failed(job, started, transient(reply)).await;
        }
    }

    async fn open(&mut self, endpoint: &Endpoint) -> Result<(), Reply> {
        let opened = self.engine.connect(&self.hop, endpoint, &self.moves).await;
        self.connection = Some(opened?);
        self.guard.connected();
        Ok(())
    }

    /// Sends the job's message over the open connection and settles what can be settled.
    pub(super) async fn attempt(&mut self, mut job: Job, body: &Body, started: Instant) -> Tried {
        let Some(connection) = self.connection.as_mut() else {
            return Tried::NotYet(job, Reply::new(451, Enhanced(4, 4, 2), "no connection"));
        };
        let limit = connection.recipient_limit();
        if job.recipients.len() > limit {
            self.guard.gives_back(job.split_off(limit));
        }
        let mut ahead = Ahead {
            limit: if connection.is_open(LIFE) { limit } else { 0 },
            engine: &self.engine,
            hop: &self.hop,
            guard: &mut self.guard,
            stop: &mut self.stop,
            job: &mut self.ahead,
        };
        match connection.send(outgoing(&job), body, &job, &mut ahead).await {
            Ok(outcome) => {
                self.succeeded(job, started, &outcome).await;
                Tried::Done
            }
            Err(Failure::Connection(reply) | Failure::Tls(reply) | Failure::Login(reply)) => {
                self.note_lost_ahead();
                self.hang_up();
                Tried::NotYet(job, reply)
            }
            Err(Failure::AfterDot(outcome)) => {
                self.note_lost_ahead();
                self.lost_after_dot(job, started, outcome).await;
                Tried::Done
            }
            Err(Failure::Gate) => {
                // In the middle of a transaction the only way out is to hang up.
                self.hang_up();
                job.drop_lost();
                job.release(Duration::ZERO);
                Tried::Done
            }
            Err(Failure::Content(error)) => {
                self.hang_up();
                self.engine.unreadable(job, &error);
                Tried::Done
            }
        }
    }

    /// The server answered for every recipient.
    async fn succeeded(&mut self, job: Job, started: Instant, outcome: &Outcome) {
        let changed = self.guard.entry.state.lock().succeeded(Instant::now());
        if changed.recovered {
            self.engine.observer.emit(Event::DestinationUp {
                destination: &self.guard.entry.name,
            });
        }
        if changed.spawn {
            self.engine.start_lane(&self.guard.entry);
        }
        let Some(connection) = self.connection.as_ref() else {
            return;
        };
        let attempted = Attempted {
            relay: connection.relay(),
            remote: Some(connection.name()),
            tls: connection.tls(),
            uses: connection.uses(),
            started,
            success: match self.hop.protocol() {
                _ if connection.has_dsn() => Success::PassedOn,
                // It answers for the mailbox (RFC 2033 4.2).
                HopProtocol::Lmtp => Success::Delivered,
                HopProtocol::Smtp | HopProtocol::Smtps => Success::Relayed,
            },
            pause: Duration::ZERO,
            phases: Some(self.phases(connection)),
        };
        self.engine
            .settle(job, attempted, Replies::Each(&outcome.recipients))
            .await;
    }

    /// How long each phase took; the servers are looked for once for an attempt.
    fn phases(&self, connection: &Connection) -> Phases {
        let mut phases = connection.phases();
        if connection.uses() == 1 {
            phases.resolve = self.resolving;
        }
        phases
    }

    /// The server may have the message: it is deferred for a good while.
    async fn lost_after_dot(&mut self, job: Job, started: Instant, outcome: Outcome) {
        if let Some(connection) = self.connection.take() {
            self.guard.disconnected();
            let attempted = Attempted {
                relay: connection.relay(),
                remote: Some(connection.name()),
                tls: connection.tls(),
                uses: connection.uses(),
                pause: AFTER_A_DOT,
                phases: Some(self.phases(&connection)),
                ..Attempted::nowhere(started)
            };
            self.engine
                .settle(job, attempted, Replies::Each(&outcome.recipients))
                .await;
        }
        let stumbled = self.guard.entry.state.lock().stumbled();
        if stumbled && let Some((_, reply)) = outcome.recipients.into_iter().find(|(_, it)| it.is_transient())
        {
            self.take_down(reply, None, started).await;
        }
    }

    /// Every server refused us for good, or the domain takes no mail: the message bounces.
    async fn refuse(&mut self, job: Job, started: Instant, reply: &Reply) {
        self.guard.entry.state.lock().answered(Instant::now());
        self.engine
            .settle(job, Attempted::nowhere(started), Replies::Same(reply))
            .await;
    }

    async fn next_hop_failed(&mut self, job: Job, started: Instant, reply: Reply) {
        self.take_down(reply, Some(job), started).await;
    }

    /// No server can be talked to: the next hop is left alone for a while, and what waits for it is deferred.
    pub(super) async fn take_down(&mut self, reply: Reply, job: Option<Job>, started: Instant) {
        self.ended = true;
        if let Some(next) = self.ahead.take() {
            self.guard.gives_back_ahead(next);
        }
        let config = self.engine.parts.load_full().config.clone();
        let reason = Arc::new(reply);
        let failed = {
            let mut state = self.guard.entry.state.lock();
            state.failed(Instant::now(), reason.clone(), |failures| {
                backoff(failures, &config.delivery, dice())
            })
        };
        match failed {
            Failed::Fewer => {
                if let Some(job) = job {
                    self.guard.entry.state.lock().not_sent();
                    self.guard.gives_back(job);
                }
            }
            Failed::Down {
                first,
                retry_in,
                waiting,
            } => {
                if first {
                    self.engine.observer.emit(Event::DestinationDown {
                        destination: &self.guard.entry.name,
                        retry_in,
                        reason: &reason.text,
                    });
                }
                if let Some(job) = job {
                    self.engine
                        .settle(job, Attempted::nowhere(started), Replies::Same(&reason))
                        .await;
                }
                let suspended = suspended(&reason);
                for job in waiting {
                    self.engine
                        .settle(job, Attempted::nowhere(started), Replies::Same(&suspended))
                        .await;
                    tokio::task::consume_budget().await;
                }
            }
        }
    }

    /// A server that breaks off where something was begun ahead may not bear that.
    fn note_lost_ahead(&self) {
        if self.connection.as_ref().is_some_and(Connection::lost_ahead) {
            self.guard.entry.state.lock().begin_none_ahead(Instant::now());
        }
    }

    /// Hangs up on a server that waits for what was begun, when that is not sent.
    pub(super) fn leave_begun(&mut self) {
        if self.connection.as_ref().is_some_and(Connection::has_begun) {
            self.hang_up();
        }
    }

    pub(super) fn hang_up(&mut self) {
        if self.connection.take().is_some() {
            self.guard.disconnected();
        }
    }
}

pub(super) fn outgoing(job: &Job) -> Outgoing {
    let message = &job.message;
    let options = &message.options;
    Outgoing {
        sender: message.sender.clone(),
        params: MailParams {
            size: Some(message.size),
            body: options.body_type,
            smtputf8: options.smtputf8,
            ret: options.ret,
            envid: options.envid.clone(),
        },
        has_8bit: options.has_8bit,
        header_8bit: options.header_8bit,
        size: message.size,
        recipients: job
            .recipients
            .iter()
            .map(|claimed| {
                let recipient = &claimed.recipient;
                let params = RcptParams {
                    notify: recipient.notify,
                    orcpt: recipient.orcpt.clone(),
                };
                (recipient.address.clone(), params)
            })
            .collect(),
    }
}

/// A refusal that is not final after all: another server did not refuse.
fn transient(reply: Reply) -> Reply {
    if reply.is_transient() {
        return reply;
    }
    let enhanced = reply
        .enhanced
        .map(|Enhanced(_, subject, detail)| Enhanced(4, subject, detail));
    let text = format!("{} {}", reply.code, reply.text);
    Reply {
        code: 451,
        enhanced: enhanced.or(Some(Enhanced(4, 4, 0))),
        text: text.into(),
    }
}
