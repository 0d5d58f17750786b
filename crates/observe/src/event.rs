//! The events, one variant each. A variant's doc comment is its manual.

use std::net::SocketAddr;
use std::time::Duration;

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Least severity written.
    pub level: Level,
    /// JSON, a line an event, rather than text.
    pub json: bool,
}

/// Severity of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Each command and connection.
    Debug,
    /// The life of each message.
    Info,
    /// Something an operator should look at when it repeats.
    Warn,
    /// Something an operator has to mend.
    Error,
}

/// A kind of listener; the label of its metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    /// MX and in-cluster SMTP.
    Smtp,
}

/// Why a connection was turned away with 421 or 554.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionRefusal {
    /// `server.max_connections` are open.
    TooMany,
    /// The client's rate limit.
    RateLimited,
    /// The server is stopping.
    Draining,
    /// The client spoke before the greeting.
    EarlyTalker,
}

/// Why a command or message was refused; the label of `smtp_messages_rejected_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// Neither a local domain nor a client that may relay.
    RelayDenied,
    /// The client's rate limit.
    RateLimited,
    /// Over `limits.max_message_size`.
    TooLarge,
    /// A line over `limits.max_line_length`.
    LineTooLong,
    /// Over `limits.max_recipients`.
    TooManyRecipients,
    /// Over `limits.max_hops`: a mail loop.
    Loop,
    /// The spool's disk is nearly full.
    StorageFull,
    /// The spool could not take the message.
    StorageError,
    /// DATA came slower than `limits.min_data_rate`.
    TooSlow,
    /// The client broke the protocol.
    Protocol,
    /// The server is stopping.
    Draining,
}

/// What a client did wrong without being refused for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// Input where the client has to wait for a reply.
    UnauthorizedPipelining,
    /// Bare CR or LF in the content.
    BareLineEnds,
    /// A command line too long.
    LongCommandLine,
    /// HTTP or another protocol.
    OtherProtocol,
    /// More errors than a session may have.
    TooManyErrors,
}

/// How an attempt ended for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryStatus {
    /// The next hop, or the mailbox, has it.
    Sent,
    /// To be tried again.
    Deferred,
    /// Refused for good.
    Bounced,
    /// Tried for `delivery.expire_after`.
    Expired,
}

/// What a delivery status notification reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DsnKind {
    /// Recipients that failed for good.
    Failure,
    /// Recipients that wait longer than `delivery.delay_notice_after`.
    Delay,
    /// Recipients that were delivered, or relayed to a hop without DSN.
    Success,
}

/// Something that happened. Durations become seconds in log and metrics.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The process has read its configuration and starts. Info.
    Starting { version: &'a str, profile: &'a str, storage: &'a str },
    /// A listener accepts connections. Info.
    Listening { listener: &'a str, address: SocketAddr },
    /// Recovered, listening: the server takes mail. Info.
    Ready { queued_messages: u64 },
    /// SIGTERM or SIGINT: the drain starts. Info.
    Stopping { reason: &'a str },
    /// The last line of the process. Info.
    Stopped { received: u64, delivered: u64, deferred: u64, queued: u64, uptime: Duration },
    /// A new configuration is in force. Info.
    ConfigReloaded { changed: &'a [String], needs_restart: &'a [String] },
    /// A new configuration was refused whole; the old one stays. Error.
    ConfigRefused { error: &'a str },
    /// A setting or environment variable was ignored. Warn.
    ConfigWarning { warning: &'a str },

    /// A client connected. Debug.
    ConnectionOpened { listener: Listener, peer: SocketAddr },
    /// A client was turned away. Warn.
    ConnectionRefused { listener: Listener, peer: SocketAddr, reason: ConnectionRefusal },
    /// A session ended. `lost` when the client went away or timed out rather than saying QUIT. Debug.
    ConnectionClosed {
        listener: Listener,
        peer: SocketAddr,
        helo: &'a str,
        duration: Duration,
        messages: u32,
        lost: Option<&'a str>,
    },
    /// A command was answered. Metrics; debug line.
    Command { listener: Listener, verb: &'static str, code: u16 },
    /// A client broke the protocol. Info.
    ProtocolViolation { listener: Listener, peer: SocketAddr, violation: Violation },
    /// A command or a message was refused. Info; Postfix's `reject:` line.
    Rejected {
        listener: Listener,
        id: Option<&'a str>,
        peer: SocketAddr,
        helo: &'a str,
        verb: &'static str,
        from: Option<&'a str>,
        to: Option<&'a str>,
        code: u16,
        text: &'a str,
        reason: RejectReason,
    },
    /// A message is durable and was acknowledged. `commit` is how long storing took. Info.
    Received {
        listener: Listener,
        id: &'a str,
        peer: SocketAddr,
        helo: &'a str,
        from: &'a str,
        size: u64,
        recipients: usize,
        protocol: &'a str,
        message_id: Option<&'a str>,
        commit: Duration,
    },

    /// The store committed a batch. Metrics only.
    Committed { messages: usize, results: usize, duration: Duration },
    /// A store operation failed. Error.
    StoreFailed { operation: &'a str, error: &'a str },
    /// Something in the store could not be read and was set aside. Error.
    Quarantined { id: &'a str, reason: &'a str },
    /// What recovery found at start. Info.
    Recovered { messages: u64, leases_released: u64, orphan_bodies: u64, duration: Duration },

    /// An attempt ended, for one recipient. Info; Postfix's line with `to=<>`, `relay=`, `delay=`, `dsn=`, `status=`.
    Delivery {
        id: &'a str,
        to: &'a str,
        orig_to: Option<&'a str>,
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
    },
    /// Every recipient is done; the message left the queue. Debug.
    Removed { id: &'a str },
    /// A notification was queued. Info.
    DsnQueued { id: &'a str, about: &'a str, kind: DsnKind, to: &'a str },
    /// A notification about a notification cannot be sent to anybody: the end of a double bounce. Warn.
    DoubleBounce { id: &'a str, to: &'a str, text: &'a str },
    /// A destination was given up for a while. Warn.
    DestinationDown { destination: &'a str, retry_in: Duration, reason: &'a str },
    /// A destination answers again. Info.
    DestinationUp { destination: &'a str },
    /// TLS was offered by a next hop but failed; the message goes in clear. Warn.
    TlsFallback { destination: &'a str, reason: &'a str },

    /// An administrator's change. Info.
    AdminAction { who: &'a str, peer: &'a str, action: &'a str, target: &'a str, touched: u64 },
    /// A request with wrong credentials. Warn.
    AdminDenied { peer: &'a str, path: &'a str },
    /// Log lines that were dropped because nobody read them. Warn.
    LogDropped { lines: u64 },
}
