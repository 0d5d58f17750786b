//! AUTH: from a mechanism's name to an account.
//!
//! [`Authenticator`] runs the exchanges of crate `sasl`. `questions` answers what they ask: passwords from the directory, hashed off the
//! reactor (`hashing`), tokens by the issuer's keys, certificates by the names in them. `guard` says who has to wait or is not looked
//! at.
//!
//! Promises: every refusal is the same reply, whether the account exists, is disabled or locked; it comes at a moment that depends on
//! the number of failures, not on what was computed; a flood of attempts is turned away (454) before it stalls anything else; neither a
//! password nor a token is logged.

mod counts;
mod guard;
mod hashing;
mod questions;
mod sessions;

use crate::rate_limit::{is_within, key};
use guard::{Attempt, Guard};
use hashing::Hashing;
use sessions::AccountSessions;
pub(crate) use sessions::AccountSlot;
use smtp::{Enhanced, Reply};
use smtp_config::Config;
use smtp_directory::{Account, Directory, account_key};
use smtp_observe::{AuthMechanism, AuthResult, Event, Listener, Observer};
use smtp_queue::Queue;
use smtp_sasl::{Channel, Exchange, Failure, Mechanism, Offer, Step};
use smtp_token::TokenVerifier;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest name that is logged, in characters.
const LOGGED_NAME: usize = 64;

/// Who checks tokens; `None` where they are not configured. A reload replaces it.
pub type Tokens = arc_swap::ArcSwapOption<TokenVerifier>;

/// Lets clients prove which account they are. One for all sessions.
pub(crate) struct Authenticator {
    directory: Arc<Directory>,
    tokens: Arc<Tokens>,
    guard: Arc<Guard>,
    hashing: Hashing,
    sessions: Arc<AccountSessions>,
    /// Knows how many servers there are.
    queue: Queue,
    observer: Observer,
    started: Instant,
}

/// A client that authenticates.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    pub(crate) listener: Listener,
    pub(crate) peer: SocketAddr,
    /// `peer` is a proxy, so that nobody knows who the client is.
    pub(crate) is_proxy: bool,
    pub(crate) channel: &'a Channel,
    /// The names in its certificate, when it showed one.
    pub(crate) certificate: &'a [String],
    /// In force for this connection.
    pub(crate) config: &'a Config,
}

/// An exchange that waits for the client.
#[derive(Debug)]
pub(crate) struct Pending {
    mechanism: Mechanism,
    exchange: Exchange,
    /// SCRAM's name, once it is known: its proof is looked at with the next response.
    name: Option<Box<str>>,
    /// What is wrong with a token: the client is asked once more before it hears that.
    detail: Option<Box<str>>,
}

/// What to do with the client.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Send these octets, and go on with the response.
    Challenge(Vec<u8>, Box<Pending>),
    /// It is this account, and this is one of its sessions; `None` for a client that is not limited.
    Accepted(Arc<Account>, Option<AccountSlot>),
    /// It is refused, after a rest.
    Refused { reply: Reply, late: Duration },
}

/// One step of an exchange while it is worked at.
struct Turn<'a> {
    client: &'a Client<'a>,
    mechanism: Mechanism,
    name: Option<Box<str>>,
    /// Why a token or a certificate was refused, for the log.
    detail: Option<Box<str>>,
    began: Instant,
}

/// Why an exchange ends before the mechanism knows.
enum Halt {
    Locked,
    Unavailable(String),
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

impl Authenticator {
    pub(crate) fn new(
        directory: Arc<Directory>,
        tokens: Arc<Tokens>,
        queue: Queue,
        observer: Observer,
        at_once: usize,
    ) -> Self {
        Authenticator {
            directory,
            tokens,
            guard: Arc::new(Guard::new()),
            hashing: Hashing::new(at_once),
            sessions: Arc::default(),
            queue,
            observer,
            started: Instant::now(),
        }
    }

    /// Begins an exchange.
    pub(crate) async fn start(
        &self,
        client: &Client<'_>,
        mechanism: Mechanism,
        initial: Option<&[u8]>,
    ) -> Outcome {
        let step = offer(client.channel, client.config).start(mechanism, initial);
        let turn = Turn {
            client,
            mechanism,
            name: None,
            detail: None,
            began: Instant::now(),
        };
        self.decide(turn, step).await
    }

    /// Goes on with the client's response.
    pub(crate) async fn go_on(&self, client: &Client<'_>, pending: Pending, response: &[u8]) -> Outcome {
        let turn = Turn {
            client,
            mechanism: pending.mechanism,
            name: pending.name,
            detail: pending.detail,
            began: Instant::now(),
        };
        // A right proof is not confirmed while a lock lasts: it is not looked at.
        if turn
            .name
            .as_deref()
            .is_some_and(|name| self.is_locked(&turn, name))
        {
            return self.halted(&turn, &Halt::Locked);
        }
        self.decide(turn, pending.exchange.step(response)).await
    }

    async fn decide(&self, mut turn: Turn<'_>, mut step: Step) -> Outcome {
        loop {
            let next = match step {
                Step::Challenge { challenge, exchange } => {
                    let pending = Pending {
                        mechanism: turn.mechanism,
                        exchange,
                        name: turn.name,
                        detail: turn.detail,
                    };
                    return Outcome::Challenge(challenge, Box::new(pending));
                }
                Step::Done { account } => return self.done(&turn, &account),
                Step::Failed { reason, name } => return self.failed(&turn, reason, name.as_deref()),
                Step::Password(question) => {
                    turn.name = Some(question.name().into());
                    self.password(&turn, question).await
                }
                Step::Verifier(question) => {
                    turn.name = Some(question.name().into());
                    let verifier = self.directory.snapshot().scram(question.name());
                    Ok(question.answer(verifier))
                }
                Step::Token(question) => self.token(&mut turn, question).await,
                Step::Certificate(question) => Ok(self.certificate(&mut turn, question)),
            };
            step = match next {
                Ok(step) => step,
                Err(halt) => return self.halted(&turn, &halt),
            };
        }
    }

    fn done(&self, turn: &Turn<'_>, name: &str) -> Outcome {
        let directory = self.directory.snapshot();
        // It may be gone since the question.
        let Some(account) = directory.account(name).filter(|account| account.enabled) else {
            return self.failed(turn, Failure::WrongCredentials, Some(name));
        };
        self.guard.succeeded(&self.attempt(turn, name), self.now());
        let Ok(slot) = self.slot(turn, account) else {
            let text = "too many sessions of this account at once, try again later";
            self.report(turn, Some(name), AuthResult::TooMany, text);
            return Outcome::Refused {
                reply: Reply::new(454, Enhanced(4, 7, 0), text),
                late: Duration::ZERO,
            };
        };
        self.observer.emit(Event::AuthSucceeded {
            listener: turn.client.listener,
            peer: turn.client.peer,
            account: &account.name,
            mechanism: label(turn.mechanism),
        });
        Outcome::Accepted(account.clone(), slot)
    }

    /// One of the sessions that the account may have with all servers together, of which this one has its share. None is taken for a client
    /// that is not limited.
    fn slot(&self, turn: &Turn<'_>, account: &Arc<Account>) -> Result<Option<AccountSlot>, ()> {
        let config = turn.client.config;
        if !config.rate_limiting.enabled || self.is_exempt(turn) {
            return Ok(None);
        }
        let of_all = config.server.max_connections_per_account;
        let most = usize::try_from(self.queue.share(of_all as u64)).unwrap_or(of_all);
        self.sessions.take(account, most).map(Some).ok_or(())
    }

    fn failed(&self, turn: &Turn<'_>, reason: Failure, name: Option<&str>) -> Outcome {
        if reason == Failure::NoRandomness {
            return self.halted(turn, &Halt::Unavailable(reason.to_string()));
        }
        let mut late = guard::wait_after(1);
        if let Some(name) = name.filter(|_| is_guessable(turn.mechanism)) {
            let settings = &turn.client.config.auth;
            let share = |of_all: u32| u32::try_from(self.queue.share(of_all.into())).unwrap_or(of_all);
            let attempt = self.attempt(turn, name);
            let failure = self.guard.failed(&attempt, settings, share, self.now());
            late = failure.late;
            if let Some(scope) = failure.locked {
                self.observer.emit(Event::AuthLocked {
                    peer: turn.client.peer,
                    account: &printable(name),
                    scope,
                    duration: settings.lock_for,
                });
            }
        }
        let reason = match (reason, &turn.detail) {
            (Failure::WrongCredentials, Some(detail)) => detail.to_string(),
            (reason, _) => reason.to_string(),
        };
        self.report(turn, name, AuthResult::Refused, &reason);
        refused(turn, late)
    }

    fn halted(&self, turn: &Turn<'_>, halt: &Halt) -> Outcome {
        let name = turn.name.as_deref();
        match halt {
            Halt::Locked => {
                self.report(turn, name, AuthResult::Locked, "locked after too many failures");
                refused(turn, guard::wait_after(turn.client.config.auth.lock_after))
            }
            Halt::Unavailable(reason) => {
                self.report(turn, name, AuthResult::Unavailable, reason);
                let text = "Authentication is not possible at the moment, try again later";
                Outcome::Refused {
                    reply: Reply::new(454, Enhanced(4, 7, 0), text),
                    late: Duration::ZERO,
                }
            }
        }
    }

    fn report(&self, turn: &Turn<'_>, name: Option<&str>, result: AuthResult, reason: &str) {
        let name = name.map(printable);
        self.observer.emit(Event::AuthFailed {
            listener: turn.client.listener,
            peer: turn.client.peer,
            account: name.as_deref(),
            mechanism: label(turn.mechanism),
            result,
            reason,
        });
    }

    fn is_locked(&self, turn: &Turn<'_>, name: &str) -> bool {
        self.guard.is_locked(&self.attempt(turn, name), self.now())
    }

    fn attempt(&self, turn: &Turn<'_>, name: &str) -> Attempt {
        let address = turn.client.peer.ip();
        self.guard
            .attempt(&account_key(name), key(address), self.is_exempt(turn))
    }

    /// Whether limits are not for this client. A proxy may be exempt for its own checks; who comes through it is not.
    fn is_exempt(&self, turn: &Turn<'_>) -> bool {
        let exempt = &turn.client.config.rate_limiting.exempt;
        !turn.client.is_proxy && is_within(exempt, turn.client.peer.ip())
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The mechanisms of a connection; those of tokens where an issuer is known.
pub(crate) fn offer(channel: &Channel, config: &Config) -> Offer {
    let works = |mechanism: &Mechanism| {
        config.oauth.issuer.is_some() || !matches!(mechanism, Mechanism::OAuthBearer | Mechanism::XOAuth2)
    };
    let allowed: Vec<_> = Mechanism::ALL.into_iter().filter(works).collect();
    Offer::new(&allowed, channel)
}

/// Refuses so late after the attempt began.
fn refused(turn: &Turn<'_>, late: Duration) -> Outcome {
    Outcome::Refused {
        reply: Reply::new(535, Enhanced(5, 7, 8), "Authentication credentials invalid"),
        late: late.saturating_sub(turn.began.elapsed()),
    }
}

/// Whether guesses can be tried with it.
fn is_guessable(mechanism: Mechanism) -> bool {
    use Mechanism::{Login, Plain, ScramSha256, ScramSha256Plus};
    matches!(mechanism, Plain | Login | ScramSha256 | ScramSha256Plus)
}

/// A name as it may be logged: whatever the client wrote.
fn printable(name: &str) -> String {
    let plain = |c: char| if c.is_control() { '?' } else { c };
    name.chars().take(LOGGED_NAME).map(plain).collect()
}

fn label(mechanism: Mechanism) -> AuthMechanism {
    match mechanism {
        Mechanism::ScramSha256Plus => AuthMechanism::ScramSha256Plus,
        Mechanism::ScramSha256 => AuthMechanism::ScramSha256,
        Mechanism::External => AuthMechanism::External,
        Mechanism::OAuthBearer => AuthMechanism::OAuthBearer,
        Mechanism::XOAuth2 => AuthMechanism::XOAuth2,
        Mechanism::Plain => AuthMechanism::Plain,
        Mechanism::Login => AuthMechanism::Login,
    }
}
