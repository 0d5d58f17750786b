//! A session's task: reads, steps through the protocol, writes.
//!
//! Promises: replies to a pipelined burst leave in one write; pending output stays small; every wait
//! has a limit; what a client leaves unfinished is dropped with the session.

mod auth;
mod handshake;

use auth::{Exchange, Said};

use crate::deadline::Pace;
use crate::listener::{Kind, stopping};
use crate::sessions::Doing;
use crate::shared::{Phase, Shared, Slot};
use crate::transaction::Transaction;
use crate::visit::{Arrival, Visit};
use crate::wire::{Wake, Wire};
use smtp::session::{Session, Step};
use smtp::{Enhanced, Reply};
use smtp_observe::{ConnectionRefusal, Event, Listener};
use smtp_sasl::Channel;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Octets asked for when commands are awaited.
const COMMAND_READ: usize = 4096;
/// Octets asked for while content is read.
const CONTENT_READ: usize = 32 * 1024;
/// Output is written once it is larger than this, whatever is still to be answered.
const MOST_OUTPUT: usize = 8 * 1024;
/// Most time a client may take to read our replies.
const MOST_WRITE: Duration = Duration::from_secs(120);

/// How a session ended before the protocol did.
#[derive(Debug)]
struct Cut {
    lost: Option<&'static str>,
    /// We had the last word, and the client should hear it.
    last_word: bool,
}

const GONE: Cut = Cut {
    lost: Some("connection lost"),
    last_word: false,
};

#[derive(Debug)]
struct Connection {
    visit: Visit,
    wire: Wire,
    session: Session<Box<Transaction>>,
    /// While content is read.
    pace: Option<Pace>,
    /// Since when a command is awaited: one that comes octet by octet gets no more time than one that does not come.
    awaited: Option<Instant>,
    /// Of AUTH.
    exchange: Exchange,
    quit: bool,
}

/// Serves one client from greeting to close; on `smtps` from the handshake.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    listener: Listener,
    slot: Slot,
    stream: TcpStream,
    arrival: Arrival,
) {
    let policy = shared.policy();
    let settings = policy.settings(listener, &Channel::Clear);
    let mut connection = Connection {
        wire: Wire::new(stream, shared.clone()),
        visit: Visit::new(shared, policy, listener, slot, arrival),
        session: Session::new(settings),
        pace: None,
        awaited: None,
        exchange: None,
        quit: false,
    };
    let cut = match connection.converse().await {
        Ok(()) => Cut {
            lost: None,
            last_word: !connection.quit,
        },
        Err(cut) => cut,
    };
    connection.visit.lost = cut.lost;
    // A mail in progress goes now, not after the last words.
    drop(connection.session);
    if cut.last_word {
        Box::pin(connection.wire.linger()).await;
    } else {
        connection.wire.close().await;
    }
}

impl Connection {
    /// The conversation until the session closes it.
    async fn converse(&mut self) -> Result<(), Cut> {
        if self.visit.listener.implicit_tls() {
            Box::pin(self.handshake()).await?;
            let settings = self
                .visit
                .policy
                .settings(self.visit.listener, &self.visit.channel());
            self.begin(Session::new(settings));
        }
        self.greet();
        loop {
            match self.session.step(&mut self.wire.input) {
                Step::Read => self.read().await?,
                Step::Hello { name, extended } => self.visit.hello(name, extended),
                Step::Mail { sender, params } => {
                    let answer = self.visit.mail(sender, params);
                    self.session.answer_mail(answer);
                }
                Step::Rcpt {
                    transaction,
                    recipient,
                    params,
                } => {
                    let reply = match self.visit.rcpt(transaction, recipient, params) {
                        Ok(reply) => reply,
                        Err(asked) => Box::pin(self.visit.ask(transaction, *asked)).await,
                    };
                    self.session.answer_rcpt(reply);
                }
                Step::Data { transaction } => {
                    Box::pin(transaction.open(&self.visit.shared.queue, self.visit.client())).await;
                    self.session.answer_data(Ok(()));
                }
                Step::Content { transaction, chunk } => Box::pin(transaction.write(&chunk)).await,
                Step::Message { transaction, info } => {
                    self.visit.card.does(Doing::Storing);
                    let reply = Box::pin(self.visit.message(*transaction, info)).await;
                    self.session.answer_message(reply);
                }
                Step::Refused {
                    mut transaction,
                    reply,
                } => self.visit.refused(&mut transaction, &reply),
                Step::StartTls => Box::pin(self.start_tls()).await?,
                Step::Auth { mechanism, initial } => {
                    Box::pin(self.authenticate(Said::Mechanism(mechanism, initial))).await?;
                }
                Step::AuthResponse(response) => {
                    Box::pin(self.authenticate(Said::Response(response))).await?;
                }
                Step::AuthCancelled => self.exchange = None,
                Step::Note(note) => self.visit.noted(note),
                Step::Answered { verb, code } => self.answered(verb, code).await?,
                Step::Delay(delay) => self.delay(delay).await?,
                Step::Close => return self.flush().await,
            }
        }
    }

    /// The greeting, or a refusal for a client that spoke before it.
    fn greet(&mut self) {
        if !self.wire.has_input() {
            self.session.greet();
        } else if self.visit.policy.config.limits.refuse_unauthorized_pipelining {
            let (peer, reason) = (self.visit.peer, ConnectionRefusal::EarlyTalker);
            let refused = Event::ConnectionRefused {
                listener: self.visit.listener,
                peer,
                reason,
                text: None,
            };
            self.visit.shared.observer.emit(refused);
            let reply = Reply::new(554, Enhanced(5, 5, 0), "Error: you spoke before the greeting");
            self.session.refuse(&reply);
        } else {
            self.visit.noted(smtp::session::Note::UnauthorizedPipelining);
            self.session.greet();
        }
        self.wire.send_first(self.session.output());
    }

    async fn answered(&mut self, verb: &'static str, code: u16) -> Result<(), Cut> {
        self.visit.answered(verb, code);
        self.awaited = None;
        self.quit |= verb == "QUIT";
        if self.session.output().len() > MOST_OUTPUT {
            self.flush().await
        } else {
            Ok(())
        }
    }

    /// Writes what is to be said, then waits for more input.
    async fn read(&mut self) -> Result<(), Cut> {
        self.visit.card.does(match self.session.in_content() {
            true => Doing::Content,
            false if self.session.is_idle() => Doing::Command,
            false => Doing::Mail,
        });
        self.flush().await?;
        let mut patience = self.visit.patience();
        if !self.session.in_content() {
            self.pace = None;
            let awaited = self.awaited.get_or_insert_with(Instant::now);
            patience = patience.saturating_sub(awaited.elapsed());
            if patience.is_zero() {
                return self.idle().await;
            }
        } else if self.pace.is_none() {
            self.pace = Some(Pace::new(self.visit.policy.config.limits.min_data_rate, patience));
        }
        let mut silent = Duration::ZERO;
        loop {
            let left = patience.saturating_sub(silent);
            let limit = self.pace.as_ref().map_or(left, |pace| pace.patience(left));
            let since = self.pace.is_some().then(Instant::now);
            let wake = self.wire.readable(limit).await;
            let waited = since.map_or(limit, |since| since.elapsed());
            let count = match wake {
                Wake::Phase(phase) => return self.enter(phase).await,
                Wake::TimedOut => 0,
                Wake::Readable => match self.wire.receive(self.room()).await {
                    Ok(Some(0)) | Err(_) => return Err(GONE),
                    Ok(None) => 0,
                    Ok(Some(count)) => count,
                },
            };
            if self
                .pace
                .as_mut()
                .is_some_and(|pace| pace.note(waited, count).is_err())
            {
                return self.too_slow().await;
            }
            if count > 0 {
                return Ok(());
            }
            silent += if wake == Wake::TimedOut {
                waited
            } else {
                Duration::ZERO
            };
            if silent >= patience {
                return self.idle().await;
            }
        }
    }

    fn room(&self) -> usize {
        if self.pace.is_some() {
            CONTENT_READ
        } else {
            COMMAND_READ
        }
    }

    async fn flush(&mut self) -> Result<(), Cut> {
        let output = self.session.output();
        if output.is_empty() {
            return Ok(());
        }
        let limit = self.visit.patience().min(MOST_WRITE);
        self.wire
            .send(output, limit)
            .await
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::TimedOut => Cut {
                    lost: Some("timeout: replies were not read"),
                    last_word: false,
                },
                _ => GONE,
            })
    }

    /// Slows down a client that makes errors.
    async fn delay(&mut self, delay: Duration) -> Result<(), Cut> {
        self.flush().await?;
        match self.wire.rest(delay).await {
            Wake::Phase(phase) => self.enter(phase).await,
            Wake::TimedOut | Wake::Readable => Ok(()),
        }
    }

    /// The server stops: now, or after the mail in progress.
    async fn enter(&mut self, phase: Phase) -> Result<(), Cut> {
        let in_progress = !self.session.is_idle() || self.session.in_content();
        if phase == Phase::Closing && in_progress {
            return self.cut(&stopping(), "server stopped").await;
        }
        self.session.shutdown(stopping());
        Ok(())
    }

    async fn idle(&mut self) -> Result<(), Cut> {
        let reply = Reply::new(421, Enhanced(4, 4, 2), "timeout, closing the connection");
        self.cut(&reply, "timeout").await
    }

    async fn too_slow(&mut self) -> Result<(), Cut> {
        let reply = Reply::new(
            421,
            Enhanced(4, 4, 2),
            "the message comes too slowly, closing the connection",
        );
        self.visit.too_slow(&reply);
        self.cut(&reply, "too slow").await
    }

    /// Ends the session in the middle of whatever it does.
    async fn cut(&mut self, reply: &Reply, lost: &'static str) -> Result<(), Cut> {
        reply.write(self.session.output());
        self.flush().await?;
        Err(Cut {
            lost: Some(lost),
            last_word: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_size<A, B, C, D, E, F: Future>(_: fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_session_at_rest_is_small() {
        let size = future_size(serve);
        assert!(size < 1536, "{size} octets");
    }
}
