//! One client's visit, for the log and the counters: who it is, and what came of it.
//!
//! Promises: whatever ends the session, a panic included, its end is reported and its slot given back.

use crate::auth::AccountSlot;
use crate::policy::{Origin, Policy};
use crate::sessions::Card;
use crate::shared::{Shared, Slot};
use crate::tls::{Secured, Unsecured};
use crate::transaction::Client;
use smtp::{Enhanced, Reply};
use smtp_directory::Account;
use smtp_observe::{Event, Listener, RejectReason, Span, SpanKind, Violation};
use smtp_queue::QueueId;
use smtp_sasl::Channel;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Who comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// The client: who connected, or whom the proxy names.
    pub(crate) peer: SocketAddr,
    /// The proxy that it came through.
    pub(crate) proxy: Option<Proxy>,
}

/// A proxy that a connection came through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    /// It named no client, or one of the proxies: the connection may be anybody's.
    pub(crate) hides_client: bool,
}

/// A client that was let in.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) shared: Arc<Shared>,
    /// In force when the client came; mails take the one in force when they begin.
    pub(crate) policy: Arc<Policy>,
    /// Where it came in.
    pub(crate) listener: Listener,
    pub(crate) peer: SocketAddr,
    /// `peer` is a proxy, so that nobody knows who the client is.
    is_proxy: bool,
    /// How the client's going looks in the log, when it did not say QUIT.
    pub(crate) lost: Option<&'static str>,
    /// Since the handshake.
    pub(crate) tls: Option<Box<Secured>>,
    /// Who the client is, since AUTH.
    pub(crate) account: Option<Arc<Account>>,
    /// One of that account's sessions.
    account_slot: Option<AccountSlot>,
    helo: Box<str>,
    extended: bool,
    /// What others see of it.
    pub(crate) card: Arc<Card>,
    /// What is told of it to those who trace mail.
    pub(crate) span: Span,
    _slot: Slot,
}

/// A command or message that was refused.
#[derive(Debug)]
pub(crate) struct Refusal<'a> {
    pub(crate) verb: &'static str,
    pub(crate) id: Option<QueueId>,
    pub(crate) from: Option<&'a str>,
    pub(crate) to: Option<&'a str>,
    pub(crate) reply: &'a Reply,
    pub(crate) reason: RejectReason,
}

impl<'a> Refusal<'a> {
    pub(crate) fn new(verb: &'static str, reply: &'a Reply, reason: RejectReason) -> Self {
        Refusal {
            verb,
            id: None,
            from: None,
            to: None,
            reply,
            reason,
        }
    }
}

impl Visit {
    pub(crate) fn new(
        shared: Arc<Shared>,
        policy: Arc<Policy>,
        listener: Listener,
        slot: Slot,
        arrival: Arrival,
    ) -> Self {
        let Arrival { peer, proxy } = arrival;
        shared.observer.emit(Event::ConnectionOpened {
            listener,
            peer,
            proxy: proxy.map(|proxy| proxy.address),
        });
        Visit {
            card: shared.sessions.begin(listener, peer),
            span: shared.observer.tracer().begin("smtp session", SpanKind::Server),
            shared,
            policy,
            listener,
            peer,
            is_proxy: proxy.is_some_and(|proxy| proxy.hides_client),
            lost: None,
            tls: None,
            account: None,
            account_slot: None,
            helo: Box::default(),
            extended: false,
            _slot: slot,
        }
    }

    /// Where the client is, as far as rights depend on it.
    pub(crate) fn origin(&self) -> Origin {
        Origin {
            address: self.peer.ip(),
            is_proxy: self.is_proxy,
        }
    }

    /// The client as its mails know it.
    pub(crate) fn client(&self) -> Client<'_> {
        Client {
            origin: self.origin(),
            helo: &self.helo,
            extended: self.extended,
            tls: self.tls.as_deref(),
            authenticated: self.account.is_some(),
        }
    }

    /// The connection as AUTH knows it.
    pub(crate) fn channel(&self) -> Channel {
        self.tls.as_ref().map_or(Channel::Clear, |tls| tls.channel())
    }

    /// The connection is under TLS from now on, and what the client said before is forgotten (RFC 3207 4.2).
    pub(crate) fn secured(&mut self, secured: Secured) {
        self.shared.observer.emit(Event::TlsEstablished {
            listener: self.listener,
            peer: self.peer,
            version: secured.version,
            cipher: &secured.cipher,
            handshake: secured.handshake,
            server_name: secured.server_name.as_deref(),
            identities: Some(secured.identities.as_slice()).filter(|names| !names.is_empty()),
        });
        self.card.secured(secured.version);
        self.tls = Some(Box::new(secured));
        self.account = None;
        self.account_slot = None;
        self.helo = Box::default();
        self.extended = false;
    }

    /// There will be no TLS with this client.
    pub(crate) fn unsecured(&self, failure: &Unsecured) {
        self.shared.observer.emit(Event::TlsFailed {
            listener: self.listener,
            peer: self.peer,
            reason: failure.reason,
            text: &failure.text,
        });
    }

    /// How long the client may be silent. A day is as good as for ever, and cannot overflow.
    pub(crate) fn patience(&self) -> Duration {
        self.policy
            .config
            .server
            .connection_timeout
            .min(Duration::from_secs(86_400))
    }

    pub(crate) fn hello(&mut self, name: &str, extended: bool) {
        if *self.helo != *name {
            self.helo = name.into();
        }
        self.extended = extended;
    }

    /// The client is this account from now on.
    pub(crate) fn authenticated(&mut self, account: Arc<Account>, slot: Option<AccountSlot>) {
        self.account_slot = slot;
        self.card.is(account.clone());
        self.account = Some(account);
    }

    pub(crate) fn violated(&self, violation: Violation) {
        let event = Event::ProtocolViolation {
            listener: self.listener,
            peer: self.peer,
            violation,
        };
        self.shared.observer.emit(event);
    }

    pub(crate) fn rejected(&self, refusal: &Refusal<'_>) {
        let id = refusal.id.map(|id| id.to_string());
        let reply = refusal.reply;
        let text = match reply.enhanced {
            Some(Enhanced(class, subject, detail)) => format!("{class}.{subject}.{detail} {}", reply.text),
            None => reply.text.to_string(),
        };
        self.shared.observer.emit(Event::Rejected {
            listener: self.listener,
            id: id.as_deref(),
            peer: self.peer,
            helo: &self.helo,
            protocol: match self.helo.is_empty() {
                true => "",
                false => self.client().protocol(false),
            },
            verb: refusal.verb,
            from: refusal.from,
            to: refusal.to,
            code: reply.code,
            text: &text,
            reason: refusal.reason,
        });
    }
}

impl Visit {
    fn tell_span(&mut self, lost: Option<&str>) {
        let span = &mut self.span;
        span.set("smtp.listener", self.listener.name());
        span.set("client.address", &*self.peer.ip().to_string());
        span.set("client.port", u64::from(self.peer.port()));
        span.set("smtp.helo", &*self.helo);
        span.set("smtp.messages", u64::from(self.card.messages()));
        if let Some(tls) = &self.tls {
            span.set("tls.protocol.version", tls.version.name());
        }
        if let Some(lost) = lost {
            span.fail(lost);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let lost = if std::thread::panicking() {
            Some("internal error")
        } else {
            self.lost
        };
        self.shared.observer.emit(Event::ConnectionClosed {
            listener: self.listener,
            peer: self.peer,
            helo: &self.helo,
            duration: self.card.opened.elapsed(),
            messages: self.card.messages(),
            lost,
        });
        self.shared.sessions.end(&self.card);
        if self.span.is_recorded() {
            self.tell_span(lost);
        }
    }
}
