//! What a session advertises and enforces. Many sessions share one value; what differs between connections
//! (TLS, mechanisms) makes a few of them.

/// What the session advertises and enforces.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our name in the greeting and in EHLO's reply.
    pub hostname: String,
    /// Text of the greeting after the name.
    pub banner: String,
    /// Largest message in octets (SIZE).
    pub max_message_size: u64,
    /// Most recipients of one transaction; also advertised by LIMITS (RFC 9422).
    pub max_recipients: usize,
    /// Longest text line in octets without its CRLF.
    pub max_line_length: usize,
    /// Whether input that arrives where a client has to wait for our reply (before
    /// the greeting; after EHLO, HELO, DATA) ends the session (554 5.5.0). If not it is only
    /// reported as a [`super::Note`].
    pub refuse_unauthorized_pipelining: bool,
    /// Whether the connection is under TLS, or can be.
    pub tls: Tls,
    /// What AUTH can be used for on this connection now.
    pub auth: AuthOffer,
    /// Whether MAIL needs AUTH before it (submission, RFC 6409 4.3): 530 5.7.0.
    pub auth_required: bool,
}

/// TLS on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// There is none to be had: STARTTLS is answered 502.
    #[default]
    Absent,
    /// In clear so far; STARTTLS is advertised.
    Offered,
    /// It is up, by STARTTLS or from the start: STARTTLS is answered 503.
    Active,
}

/// AUTH on a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuthOffer {
    /// There is none: AUTH is answered 502.
    #[default]
    Absent,
    /// There will be under TLS: AUTH is not advertised, and answered 538.
    UnderTls,
    /// These SASL mechanisms (RFC 4422 3.1: up to 20 capital letters, digits, `-` and `_`), at least
    /// one, best first: the order in which EHLO shows them.
    Mechanisms(Vec<&'static str>),
}
