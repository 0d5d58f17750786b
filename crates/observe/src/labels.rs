//! The words that events and metrics are sorted by: closed sets, so that no label is unbounded.

/// A closed set of label values. Every value has a place, so that counters are plain arrays.
pub(crate) trait Label: Copy + 'static {
    /// The label's name in metrics.
    const LABEL: &'static str;
    /// The names of all values, in the order of [`Label::index`].
    const NAMES: &'static [&'static str];
    /// This value's place in [`Label::NAMES`].
    fn index(self) -> usize;
}

/// Defines an enum together with its words: `label "kind"; Variant = "word"`.
macro_rules! labels {
    ($( $(#[$meta:meta])* $vis:vis enum $name:ident, $label:literal {
        $( $(#[$vmeta:meta])* $variant:ident = $word:literal, )+
    } )+) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis enum $name { $( $(#[$vmeta])* $variant, )+ }

        // Not every set is asked for its names or its values by hand.
        #[allow(dead_code)]
        impl $name {
            /// Every value, in order.
            $vis const ALL: &'static [$name] = &[ $( $name::$variant, )+ ];
            /// The word used in log lines and as the label of metrics.
            $vis fn name(self) -> &'static str {
                match self { $( $name::$variant => $word, )+ }
            }
        }

        impl Label for $name {
            const LABEL: &'static str = $label;
            const NAMES: &'static [&'static str] = &[ $( $word, )+ ];
            fn index(self) -> usize { self as usize }
        }
    )+ };
}

labels! {
    /// Severity of an event.
    pub enum Level, "level" {
        /// Each command and connection.
        Debug = "debug",
        /// The life of each message.
        Info = "info",
        /// Something an operator should look at when it repeats.
        Warn = "warn",
        /// Something an operator has to mend.
        Error = "error",
    }

    /// A kind of listener; the label of its metrics.
    pub enum Listener, "listener" {
        /// MX and in-cluster SMTP.
        Smtp = "smtp",
        /// Submission in TLS from the first octet.
        Smtps = "smtps",
        /// Submission with STARTTLS.
        Submission = "submission",
    }

    /// Why a connection was turned away with 421 or 554.
    pub enum ConnectionRefusal, "reason" {
        /// `server.max_connections` are open.
        TooMany = "too_many",
        /// The client's rate limit.
        RateLimited = "rate_limited",
        /// The server is stopping.
        Draining = "draining",
        /// The client spoke before the greeting.
        EarlyTalker = "early_talker",
        /// It did not come from one of `proxy_networks`.
        ProxyUntrusted = "proxy_untrusted",
        /// It began with something else than a PROXY header, or with nothing.
        ProxyMissing = "proxy_missing",
        /// It began with a PROXY header that cannot be used.
        ProxyInvalid = "proxy_invalid",
    }

    /// What became of the PROXY header that a connection has to begin with.
    pub enum ProxyHeader, "result" {
        /// It says who the client is, or that the proxy itself looks whether we are there.
        Taken = "taken",
        /// There was none.
        Missing = "missing",
        /// It cannot be used.
        Invalid = "invalid",
        /// It was not looked at: the connection did not come from one of `proxy_networks`.
        Untrusted = "untrusted",
    }

    /// Why a command or message was refused; the label of `smtp_messages_rejected_total`.
    pub enum RejectReason, "reason" {
        /// Neither a local domain nor a client that may relay.
        RelayDenied = "relay_denied",
        /// The client's rate limit, or its share of `storage.scratch_size`.
        RateLimited = "rate_limited",
        /// Over `limits.max_message_size`.
        TooLarge = "too_large",
        /// A line over `limits.max_line_length`.
        LineTooLong = "line_too_long",
        /// Over `limits.max_recipients`.
        TooManyRecipients = "too_many_recipients",
        /// Over `limits.max_hops`: a mail loop.
        Loop = "loop",
        /// The spool's disk is nearly full.
        StorageFull = "storage_full",
        /// The spool could not take the message.
        StorageError = "storage_error",
        /// The account may not use the address in MAIL or `From:`.
        SenderDenied = "sender_denied",
        /// A header that cannot be relied on, of a mail that is checked.
        BadHeader = "bad_header",
        /// DATA came slower than `limits.min_data_rate`.
        TooSlow = "too_slow",
        /// The client broke the protocol.
        Protocol = "protocol",
        /// The server is stopping.
        Draining = "draining",
        /// A local address that nobody has.
        UnknownRecipient = "unknown_recipient",
        /// A local address that cannot be resolved before something is mended.
        Unresolvable = "unresolvable",
        /// A quota of the account.
        Quota = "quota",
    }

    /// A SASL mechanism.
    pub enum AuthMechanism, "mechanism" {
        /// SCRAM bound to the TLS connection.
        ScramSha256Plus = "scram-sha-256-plus",
        /// SCRAM.
        ScramSha256 = "scram-sha-256",
        /// A client's certificate.
        External = "external",
        /// A bearer token.
        OAuthBearer = "oauthbearer",
        /// A bearer token, in the older form.
        XOAuth2 = "xoauth2",
        /// A password.
        Plain = "plain",
        /// A password, in the older form.
        Login = "login",
    }

    /// What came of an attempt to authenticate.
    pub enum AuthResult, "result" {
        /// The client is the account.
        Accepted = "accepted",
        /// It did not prove it.
        Refused = "refused",
        /// It was not looked at, for earlier failures. The client is told the same.
        Locked = "locked",
        /// It could not be decided now: too many at once, or the keys of tokens are not at hand.
        Unavailable = "unavailable",
        /// It did prove it, and the account has all the sessions that it may have.
        TooMany = "too_many",
    }

    /// What too many failures lock.
    pub enum LockScope, "scope" {
        /// An account's name, as used from one network.
        Pair = "pair",
        /// A network, for accounts that never logged in from it.
        Network = "network",
        /// An account's name, for networks from which it never logged in.
        Account = "account",
    }

    /// What a client did wrong without being refused for it.
    pub enum Violation, "kind" {
        /// Input where the client has to wait for a reply.
        UnauthorizedPipelining = "unauthorized_pipelining",
        /// Bare CR or LF in the content.
        BareLineEnds = "bare_line_ends",
        /// A command line too long.
        LongCommandLine = "long_command_line",
        /// HTTP or another protocol.
        OtherProtocol = "other_protocol",
        /// More errors than a session may have.
        TooManyErrors = "too_many_errors",
    }

    /// The version of TLS on a client's connection.
    pub enum TlsVersion, "version" {
        /// RFC 5246.
        Tls12 = "1.2",
        /// RFC 8446.
        Tls13 = "1.3",
    }

    /// How a TLS session came about.
    pub enum Handshake, "handshake" {
        /// Anew.
        Full = "full",
        /// With a ticket of an earlier one.
        Resumed = "resumed",
    }

    /// Why a handshake with a client failed.
    pub enum TlsFailure, "reason" {
        /// It took longer than `tls.handshake_timeout`.
        Timeout = "timeout",
        /// The client closed the connection, or it broke.
        Closed = "closed",
        /// The client sent an alert: it does not want what we offer, often our certificate.
        Alert = "alert",
        /// The client offers no version or cipher that we take.
        Incompatible = "incompatible",
        /// The client's certificate cannot be verified.
        ClientCertificate = "client_certificate",
        /// What the client sent is not TLS, or breaks its rules.
        Protocol = "protocol",
        /// The server is stopping.
        Draining = "draining",
    }

    /// How an attempt ended for one recipient.
    pub enum DeliveryStatus, "status" {
        /// The next hop, or the mailbox, has it.
        Sent = "sent",
        /// To be tried again.
        Deferred = "deferred",
        /// Refused for good.
        Bounced = "bounced",
        /// Tried for `delivery.expire_after`.
        Expired = "expired",
    }

    /// What a question to DNS came to.
    pub enum DnsResult, "result" {
        /// There are such records.
        Found = "found",
        /// There is certainly none: no such name (NXDOMAIN), or nothing of that type.
        NotFound = "not_found",
        /// Not known: the servers refused, failed (SERVFAIL) or did not answer in time.
        Failed = "failed",
    }

    /// What a delivery status notification reports.
    pub enum DsnKind, "kind" {
        /// Recipients that failed for good.
        Failure = "failure",
        /// Recipients that wait longer than `delivery.delay_notice_after`.
        Delay = "delay",
        /// Recipients that were delivered, or relayed to a hop without DSN.
        Success = "success",
    }

    /// What became of a webhook's call.
    pub(crate) enum CallEnd, "result" {
        /// Its receiver took it.
        Taken = "taken",
        /// Its receiver did not take it: it is tried again.
        Refused = "refused",
        /// It will never be made.
        Dropped = "dropped",
    }

    /// The class of an error in `smtp_errors_total`.
    pub(crate) enum ErrorClass, "class" {
        /// A client broke the protocol.
        Protocol = "protocol",
        /// A command or message was refused.
        Reject = "reject",
        /// A connection was turned away, or could not be accepted.
        Connection = "connection",
        /// A client did not prove to be an account.
        Auth = "auth",
        /// The store failed, or something in it could not be read.
        Store = "store",
        /// A TLS handshake with a client failed.
        Tls = "tls",
        /// An attempt did not deliver.
        Delivery = "delivery",
        /// A configuration or a certificate was refused.
        Config = "config",
        /// A request to the admin API with wrong credentials.
        Admin = "admin",
    }

    /// The verb of a command; whatever a client invents is `other`.
    pub(crate) enum Verb, "verb" {
        Helo = "helo",
        Ehlo = "ehlo",
        Mail = "mail",
        Rcpt = "rcpt",
        Data = "data",
        Bdat = "bdat",
        Rset = "rset",
        Noop = "noop",
        Vrfy = "vrfy",
        Expn = "expn",
        Help = "help",
        Quit = "quit",
        Starttls = "starttls",
        Auth = "auth",
        Other = "other",
    }

    /// The class of a reply, by its first digit.
    pub(crate) enum ReplyClass, "class" {
        Completion = "2xx",
        Intermediate = "3xx",
        Transient = "4xx",
        Permanent = "5xx",
    }

    /// What became of a new configuration or certificate.
    pub(crate) enum ReloadResult, "result" {
        Taken = "taken",
        Refused = "refused",
    }
}

impl Verb {
    /// The verb as the session names it, in either case.
    pub(crate) fn of(verb: &str) -> Verb {
        let known = Verb::ALL
            .iter()
            .find(|known| known.name().eq_ignore_ascii_case(verb));
        known.copied().unwrap_or(Verb::Other)
    }
}

impl ReplyClass {
    /// The class of a reply code; what is no reply code counts as permanent.
    pub(crate) fn of(code: u16) -> ReplyClass {
        match code / 100 {
            2 => ReplyClass::Completion,
            3 => ReplyClass::Intermediate,
            4 => ReplyClass::Transient,
            _ => ReplyClass::Permanent,
        }
    }
}
