//! The events, one variant each. A variant's doc comment is its manual: the reference
//! pages are made of it. Fields are written to the log in the order they have here.

mod field;

pub(crate) use field::Visitor;

use crate::labels::{AuthMechanism, AuthResult, LockScope};
use crate::labels::{
    ConnectionRefusal, DeliveryStatus, DnsResult, DsnKind, Handshake, Level, Listener, ProxyHeader,
    RejectReason, TlsFailure, TlsVersion, Violation,
};
use field::Field;
use std::net::SocketAddr;
use std::time::Duration;

/// Defines [`Event`] and everything that has to know all of its variants:
/// name, level, the walk over the fields, and the table for the reference.
macro_rules! events {
    ($( $(#[doc = $doc:literal])+ $level:ident $name:literal $variant:ident {
        $( $(#[doc = $field_doc:literal])* $field:ident: $type:ty ),+ $(,)?
    } )+) => {
        /// Something that happened. Durations become seconds in log and metrics.
        #[derive(Clone, Debug)]
        #[allow(missing_docs)] // Fields that say all by their name.
        pub enum Event<'a> {
            $( $(#[doc = $doc])+ $variant { $( $(#[doc = $field_doc])* $field: $type, )+ }, )+
        }

        impl Event<'_> {
            /// The event's name in the log.
            pub fn name(&self) -> &'static str {
                match self { $( Event::$variant { .. } => $name, )+ }
            }
            /// Its severity.
            pub fn level(&self) -> Level {
                match self { $( Event::$variant { .. } => Level::$level, )+ }
            }
            /// Shows every field to `visitor`, in order.
            pub(crate) fn visit(&self, visitor: &mut impl Visitor) {
                match self { $(
                    Event::$variant { $( $field, )+ } => { $( $field.show(stringify!($field), visitor); )+ }
                )+ }
            }
        }

        /// Every event.
        pub(crate) const EVENTS: &[EventInfo] = &[ $( EventInfo {
            name: $name,
            level: Level::$level,
            fields: &[ $( stringify!($field), )+ ],
            doc: concat!($( $doc, )+).trim_ascii(),
        }, )+ ];
    };
}

/// What the reference says about one event.
#[derive(Clone, Copy, Debug)]
pub struct EventInfo {
    /// Its name in the log.
    pub name: &'static str,
    /// Its severity.
    pub level: Level,
    /// Its fields, in the order they are written.
    pub fields: &'static [&'static str],
    /// What it means.
    pub doc: &'static str,
}

events! {
    /// The process has read its configuration and starts.
    Info "starting" Starting { version: &'a str, profile: &'a str, storage: &'a str }

    /// So many servers share the queue now, this one included: one started, stopped, or was not heard of for a minute. What they may do
    /// together is shared out anew.
    Info "servers_changed" ServersChanged { servers: usize }

    /// The database of `storage.url` cannot be reached at the start, for a reason that may pass by itself: it is tried again, for `at_most` seconds
    /// (`storage.wait`), and the server is not ready meanwhile. Said at first and then every 30 s; `error` is what was wrong last. Then comes `ready`, or
    /// `start_failed` with exit code 75.
    Warn "storage_awaited" StorageAwaited { error: &'a str, waited: Duration, at_most: Duration }

    /// What other servers of this queue say is heard, on a connection of its own: they are looked at when they say something, and not only every
    /// second.
    Info "hints_heard" HintsHeard { channel: &'a str }

    /// What other servers say is not heard any more: their changes arrive within a second or two until `hints_heard`. It is tried again and
    /// again, with pauses of at most 30 s.
    Warn "hints_lost" HintsLost { error: &'a str }

    /// Another server said that it changed something: `due` (mail was given back or made due), `directory`, `suspensions`, `reload`, `servers`.
    /// `from` is the id of the one that said it last: however often it is said, a kind is one line each time it is looked.
    Debug "hint" Hint { what: &'a str, from: &'a str }

    /// A listener accepts connections.
    Info "listening" Listening { listener: &'a str, address: SocketAddr }

    /// The last line of a process that could not start: what `exit` means is in docs/operations.md, what to mend in `reason`. Longer
    /// reasons are whole on standard error.
    Error "start_failed" StartFailed { exit: u16, reason: &'a str }

    /// Recovered, listening: the server takes mail.
    Info "ready" Ready { queued_messages: u64 }

    /// The drain starts, for this `reason`: SIGTERM, SIGINT, or who asked for it by command or API.
    Info "stopping" Stopping { reason: &'a str }

    /// The drain of a pod that comes back, by what the API server says (`kubernetes.statefulset`): its mail waits for it in its claim.
    Info "pod_comes_back" PodComesBack { pod: &'a str, why: &'a str }

    /// Nobody said whether the pod comes back, after the start (then it is asked again every five minutes, until there is an answer) or at the
    /// drain: it is taken to, so a pod that is scaled away leaves its mail in its claim without a last try. Mend what `error` says: 403 is a
    /// missing Role or RoleBinding (`k8s/components/scale-aware`), no answer a policy that closes the way to the API server.
    Warn "pod_fate_unknown" PodFateUnknown { pod: &'a str, error: &'a str }

    /// The drain of a pod that does not come back: for as long as `handover` all its mail is tried once more. `messages` is how many that
    /// are, unless the store did not say so within 2 s.
    Warn "pod_leaves" PodLeaves { pod: &'a str, why: &'a str, messages: Option<u64>, handover: Duration }

    /// A pod that does not come back stops with mail in its queue, or with calls of webhooks: nobody delivers them until a pod has its `claim`
    /// again. Scale up again, so that it is mounted; docs/kubernetes.md has other ways. Until then do not delete the claim. Without `messages`, or
    /// `webhook_calls`, the store did not say how many there are: take it that there are some.
    Error "left_behind" LeftBehind {
        pod: &'a str,
        messages: Option<u64>,
        webhook_calls: Option<u64>,
        claim: Option<&'a str>,
    }

    /// A pod that does not come back stops and has delivered everything: its `claim` holds no mail that waits.
    Info "nothing_left_behind" NothingLeftBehind { pod: &'a str, claim: Option<&'a str> }

    /// The last line of a process that was ready. `queued` is how many messages are in the queue at that moment, when nothing can come in any more.
    /// `left_behind` is there when its pod does not come back: messages that stay in its claim. Both are left out when the store did not say how
    /// many there are.
    Info "stopped" Stopped {
        received: u64,
        delivered: u64,
        deferred: u64,
        queued: Option<u64>,
        left_behind: Option<u64>,
        uptime: Duration,
    }

    /// A new configuration is in force.
    Info "config_reloaded" ConfigReloaded { changed: &'a [String], needs_restart: &'a [String] }

    /// A new configuration was refused whole; the old one stays.
    Error "config_refused" ConfigRefused { error: &'a str }

    /// A setting or environment variable was ignored.
    Warn "config_warning" ConfigWarning { warning: &'a str }

    /// A connection could not be accepted, for want of descriptors or memory; accepting pauses for a moment.
    /// Mend: raise the limit of open files (`ulimit -n`) above `server.max_connections`.
    Error "accept_failed" AcceptFailed { listener: Listener, error: &'a str }

    /// A client connected. `proxy` is the proxy that named it, where there is one; the same as `peer` when the proxy itself only looks
    /// whether the server is there.
    Debug "connected" ConnectionOpened { listener: Listener, peer: SocketAddr, proxy: Option<SocketAddr> }

    /// A client was turned away. Behind a proxy `peer` is the client, unless that happens before the header is read: for the reasons that
    /// begin with `proxy_`, of which `text` says what is wrong and what to mend, and where the whole server is full or stops.
    Warn "connection_refused" ConnectionRefused {
        listener: Listener,
        peer: SocketAddr,
        reason: ConnectionRefusal,
        text: Option<&'a str>,
    }

    /// What became of the PROXY header at the beginning of a connection, on a listener with `proxy_protocol = "v2"`. `proxy` is who
    /// connected, `client` whom the header names.
    Debug "proxy_header" ProxyHeaderRead {
        listener: Listener,
        proxy: SocketAddr,
        result: ProxyHeader,
        client: Option<SocketAddr>,
    }

    /// A client's connection is under TLS.
    Debug "tls_established" TlsEstablished {
        listener: Listener,
        peer: SocketAddr,
        version: TlsVersion,
        cipher: &'a str,
        handshake: Handshake,
        /// The name that the client asked for (SNI).
        server_name: Option<&'a str>,
        /// The names in its certificate, when it showed one.
        identities: Option<&'a [String]>,
    }

    /// A TLS handshake with a client failed, and the connection ended. The text tells the client's alert, or what we found
    /// wrong.
    Info "tls_failed" TlsFailed { listener: Listener, peer: SocketAddr, reason: TlsFailure, text: &'a str }

    /// A certificate is in force for new connections: at the start, or because its files or the configuration changed.
    Info "certificate_loaded" CertificateLoaded { certificate: &'a str, names: &'a [String], expires: &'a str }

    /// Files of a certificate changed and cannot be used; the one before stays. Said once for each change.
    /// Mend: put the certificate (with its issuers behind it) and the key that belongs to it in their files.
    Error "certificate_refused" CertificateRefused { certificate: &'a str, error: &'a str }

    /// A certificate expires within 14 days, or has. Said daily.
    Warn "certificate_expiring" CertificateExpiring {
        certificate: &'a str,
        names: &'a [String],
        expires: &'a str,
        days_left: u64,
    }

    /// A session ended. `lost` when the client went away or timed out rather than saying QUIT.
    Debug "disconnected" ConnectionClosed {
        listener: Listener,
        peer: SocketAddr,
        helo: &'a str,
        duration: Duration,
        messages: u32,
        lost: Option<&'a str>,
    }

    /// A command was answered.
    Debug "command" Command { listener: Listener, verb: &'static str, code: u16 }

    /// A client broke the protocol.
    Info "protocol_violation" ProtocolViolation { listener: Listener, peer: SocketAddr, violation: Violation }

    /// A client proved to be an account.
    Info "auth_succeeded" AuthSucceeded {
        listener: Listener,
        peer: SocketAddr,
        account: &'a str,
        mechanism: AuthMechanism,
    }

    /// A client did not prove to be an account. `account` is the name that it gave, as far as it gave one, whether there is such an
    /// account or not; `reason` is not for the client, which hears the same for all of them, unless it did prove it (`too_many`): then the account
    /// has as many sessions as it may have.
    Info "auth_failed" AuthFailed {
        listener: Listener,
        peer: SocketAddr,
        account: Option<&'a str>,
        mechanism: AuthMechanism,
        result: AuthResult,
        reason: &'a str,
    }

    /// Too many failures: attempts are refused for a while without being looked at. `scope` says whose: those of this account
    /// from this network (`pair`), those from this network (`network`), those of this account (`account`). The last two spare accounts
    /// where they logged in before.
    Warn "auth_locked" AuthLocked { peer: SocketAddr, account: &'a str, scope: LockScope, duration: Duration }

    /// A command or a message was refused; Postfix's `reject:` line.
    Info "rejected" Rejected {
        id: Option<&'a str>,
        listener: Listener,
        peer: SocketAddr,
        helo: &'a str,
        /// `ESMTP`, `SMTP`; empty before EHLO or HELO.
        protocol: &'a str,
        verb: &'static str,
        from: Option<&'a str>,
        to: Option<&'a str>,
        code: u16,
        /// The reply without its code, enhanced status code first.
        text: &'a str,
        reason: RejectReason,
    }

    /// A message is durable and was acknowledged. `commit` is how long storing took.
    Info "received" Received {
        id: &'a str,
        listener: Listener,
        peer: SocketAddr,
        helo: &'a str,
        /// Who sent it, after AUTH.
        account: Option<&'a str>,
        from: &'a str,
        size: u64,
        recipients: usize,
        protocol: &'a str,
        /// Version and cipher, when it came under TLS.
        tls: Option<&'a str>,
        message_id: Option<&'a str>,
        /// The domain in `From:`, when it has no DKIM key that signs now although the server has keys: of mail of accounts and trusted
        /// networks that nobody had signed before.
        unsigned: Option<&'a str>,
        commit: Duration,
        /// The trace that it is in, when it is traced.
        trace: Option<&'a str>,
    }

    /// The store committed a batch of new messages and of results.
    Debug "committed" Committed { messages: usize, results: usize, duration: Duration }

    /// A store operation failed.
    Error "store_failed" StoreFailed { operation: &'a str, error: &'a str }

    /// The store does not take one message's results although it takes others: its recipients are tried again after
    /// `retry_in`, though they may have the message. Mend: `queue show`, and `queue delete` if they have it.
    Error "result_set_aside" ResultSetAside { id: &'a str, recipients: usize, retry_in: Duration, error: &'a str }

    /// Results of deliveries (`what` is `result`), or renewals of what is in hand (`renewal`), were refused: the leases were another
    /// server's by then, or the messages were deleted. Mail may have been delivered twice. When it repeats: the process or its machine stands
    /// still for a minute at a time, or the database does not answer.
    Warn "leases_lost" LeasesLost { recipients: u64, what: &'a str }

    /// Recipients were taken over from servers of this queue that were not heard of for a minute, or that ended without giving them
    /// back. What those had sent and not yet written down is sent again.
    Warn "leases_taken_over" LeasesTakenOver { recipients: u64 }

    /// Something in the store could not be read and was set aside.
    Error "quarantined" Quarantined { id: &'a str, reason: &'a str }

    /// The database is not the one that the queue's folder was last used with: it is new, an older copy, or `storage.path` names
    /// another file. Nothing is deleted: large bodies that it does not know are in `quarantine/` (`set_aside`), and come back
    /// (`taken_back`) at the next start with the database that knows them.
    Warn "database_replaced" DatabaseReplaced { database: &'a str, messages: u64, set_aside: u64, taken_back: u64 }

    /// What recovery found at start.
    Info "recovered" Recovered { messages: u64, leases_released: u64, orphan_bodies: u64, duration: Duration }

    /// An attempt ended, for one recipient; Postfix's line with `to=<>`, `relay=`, `delay=`, `dsn=`, `status=`.
    Info "delivery" Delivery {
        id: &'a str,
        to: &'a str,
        /// The recipient as it was sent, when an alias changed it.
        orig_to: Option<&'a str>,
        /// `host[address]:port`, `maildir`, `capture` or `none`.
        relay: &'a str,
        /// Since the message was received.
        delay: Duration,
        /// Of this attempt.
        attempt: Duration,
        /// Use of the connection, from 1.
        connection_use: u32,
        dsn: &'a str,
        status: DeliveryStatus,
        /// What the next hop said, or what went wrong.
        text: &'a str,
        tls: Option<&'a str>,
        /// How long each phase of the attempt took; only for one that met a server.
        phases: Option<Phases>,
    }

    /// Every recipient is done; the message left the queue.
    Debug "removed" Removed { id: &'a str }

    /// An operator's change touched the message: `retry`, `hold` or `release`. Who, and what else it touched: `admin_action`.
    Debug "operated" Operated { id: &'a str, action: &'static str }

    /// An operator deleted the message; nobody was told.
    Info "deleted" Deleted { id: &'a str }

    /// A notification was queued.
    Info "dsn_queued" DsnQueued { id: &'a str, about: &'a str, kind: DsnKind, to: &'a str }

    /// A notification about a notification cannot be sent to anybody: the end of a double bounce.
    Warn "double_bounce" DoubleBounce { id: &'a str, to: &'a str, text: &'a str }

    /// DNS was asked for records of a type, and said so, or was remembered to have: `result` is `found`, `not_found` or `failed`.
    Debug "dns_lookup" DnsLookup {
        name: &'a str,
        record: &'a str,
        result: DnsResult,
        /// Why there is no answer, when there is none.
        text: Option<&'a str>,
        duration: Duration,
    }

    /// A destination was given up for a while.
    Warn "destination_down" DestinationDown { destination: &'a str, retry_in: Duration, reason: &'a str }

    /// A destination answers again.
    Info "destination_up" DestinationUp { destination: &'a str }

    /// A next hop did not take our login, or offers no way to log in that we would use. Its mail waits; mend: `setting`.
    Error "next_hop_login_refused" NextHopLoginRefused {
        destination: &'a str,
        user: &'a str,
        /// The setting that holds the user and password.
        setting: &'a str,
        reason: &'a str,
    }

    /// TLS was offered by a next hop but failed; the message goes in clear.
    Warn "tls_fallback" TlsFallback { destination: &'a str, reason: &'a str }

    /// Mail from the drop folder was refused for good, for one recipient. What is left of it is in `failed/` there, with the reason.
    Warn "drop_refused" DropRefused { file: &'a str, from: &'a str, to: &'a str, text: &'a str }

    /// Something in the drop folder is no mail of `sendmail`'s, or cannot be read or removed; it stays where it is. Said once.
    Warn "drop_ignored" DropIgnored { path: &'a str, reason: &'a str }

    /// An administrator's change.
    Info "admin_action" AdminAction {
        who: &'a str,
        peer: &'a str,
        action: &'a str,
        target: &'a str,
        touched: u64,
    }

    /// A change was made and is not in the audit trail, because the store does not take the record: `admin_action` is all there is of it.
    Error "audit_failed" AuditFailed { who: &'a str, action: &'a str, target: &'a str, error: &'a str }

    /// A configuration brought another admin password: the one before opens nothing any more, sessions of the console have ended, tokens go on.
    /// `by` is `configuration`; or `server`: none is configured any more, so it made one and said it on standard error.
    Warn "admin_password_changed" AdminPasswordChanged { by: &'a str }

    /// A request with wrong credentials.
    Warn "admin_denied" AdminDenied { peer: &'a str, path: &'a str }

    /// Spans were taken by the collector.
    Debug "spans_exported" SpansExported { spans: u64, duration: Duration }

    /// Spans were dropped: the collector at `tracing.endpoint` did not take them, or not as fast as they came. Mail is not concerned.
    /// Said every 10 seconds at most.
    Warn "spans_dropped" SpansDropped { spans: u64, reason: &'a str }

    /// A webhook's receiver took a call. `call` is its `webhook-id`.
    Debug "webhook_taken" WebhookTaken { webhook: &'a str, call: &'a str, tries: u32, duration: Duration }

    /// A webhook's receiver did not take a call: it is made again after `retry_in`.
    Debug "webhook_refused" WebhookRefused {
        webhook: &'a str,
        call: &'a str,
        tries: u32,
        retry_in: Duration,
        reason: &'a str,
    }

    /// A webhook's receiver takes no calls; they wait, and mail is not concerned. Said when it begins.
    Warn "webhook_down" WebhookDown { webhook: &'a str, reason: &'a str }

    /// A webhook's receiver takes calls again.
    Info "webhook_up" WebhookUp { webhook: &'a str }

    /// Calls of a webhook will never be made: they were tried for too long, or too many waited already.
    Warn "webhook_dropped" WebhookDropped { webhook: &'a str, calls: u64, reason: &'a str }

    /// Steps of messages' histories are not kept: the disk is nearly full, or its database cannot be written. Said once; mail is not
    /// touched by it. Mend: make room, or look at the disk.
    Error "history_failed" HistoryFailed { error: &'a str }

    /// Steps of messages' histories were dropped.
    Debug "history_dropped" HistoryDropped { steps: u64 }

    /// The history's database cannot be read. It is kept as `path`, and another was begun.
    Error "history_set_aside" HistorySetAside { path: &'a str, error: &'a str }

    /// Log lines that were dropped because nobody read them.
    Warn "log_dropped" LogDropped { lines: u64 }
}

impl<'a> Event<'a> {
    /// The queue id of the message it is about, if it is about one.
    pub fn id(&self) -> Option<&'a str> {
        match *self {
            Event::Rejected { id, .. } => id,
            Event::Received { id, .. }
            | Event::Quarantined { id, .. }
            | Event::Delivery { id, .. }
            | Event::Removed { id }
            | Event::Deleted { id }
            | Event::Operated { id, .. }
            | Event::ResultSetAside { id, .. }
            | Event::DsnQueued { id, .. }
            | Event::DoubleBounce { id, .. } => Some(id),
            _ => None,
        }
    }
}

/// How long each phase of an attempt took. Those of a connection that was open before are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Asking DNS for servers and addresses.
    pub resolve: Duration,
    /// TCP, greeting, EHLO.
    pub connect: Duration,
    /// The handshake, and EHLO again.
    pub tls: Duration,
    /// AUTH.
    pub login: Duration,
    /// MAIL, RCPT, DATA.
    pub envelope: Duration,
    /// The message.
    pub content: Duration,
    /// From the final dot to the reply.
    pub reply: Duration,
}

impl Phases {
    /// Each with its name.
    pub(crate) fn named(&self) -> [(&'static str, Duration); 7] {
        [
            ("resolve", self.resolve),
            ("connect", self.connect),
            ("tls", self.tls),
            ("login", self.login),
            ("envelope", self.envelope),
            ("content", self.content),
            ("reply", self.reply),
        ]
    }
}
