//! The mechanisms' names, and what a connection must have for each.

use std::fmt;

/// A mechanism, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mechanism {
    /// SCRAM bound to the TLS connection (RFC 7677, RFC 9266).
    ScramSha256Plus,
    /// SCRAM (RFC 5802, RFC 7677).
    ScramSha256,
    /// The client's certificate (RFC 4422, appendix A).
    External,
    /// A bearer token (RFC 7628).
    OAuthBearer,
    /// A bearer token, in Google's older form.
    XOAuth2,
    /// Name and password (RFC 4616).
    Plain,
    /// Name and password, each asked for (draft-murchison-sasl-login).
    Login,
}

impl Mechanism {
    /// All of them, the strongest first.
    pub const ALL: [Self; 7] = [
        Self::ScramSha256Plus,
        Self::ScramSha256,
        Self::External,
        Self::OAuthBearer,
        Self::XOAuth2,
        Self::Plain,
        Self::Login,
    ];

    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::External => "EXTERNAL",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::XOAuth2 => "XOAUTH2",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// The mechanism of that name, in either case (RFC 4954, section 4).
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the connection is, as far as SASL cares.
#[derive(Clone, Debug)]
pub enum Channel {
    /// Not encrypted.
    Clear,
    /// TLS.
    Tls {
        /// Ties an exchange to this connection; without it there is no SCRAM-SHA-256-PLUS.
        exporter: Option<TlsExporter>,
        /// Whether the client showed a certificate that was verified: without it there is no EXTERNAL.
        client_certificate: bool,
    },
}

impl Channel {
    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls { .. })
    }

    pub(crate) fn exporter(&self) -> Option<&TlsExporter> {
        match self {
            Self::Clear => None,
            Self::Tls { exporter, .. } => exporter.as_ref(),
        }
    }

    pub(crate) fn has_client_certificate(&self) -> bool {
        matches!(
            self,
            Self::Tls {
                client_certificate: true,
                ..
            }
        )
    }
}

/// The channel binding `tls-exporter` (RFC 9266): keying material exported with the label
/// [`TlsExporter::LABEL`] and an empty context. Only of TLS 1.3: a TLS 1.2 connection need not be unique
/// (RFC 9266, section 4.2).
#[derive(Clone)]
pub struct TlsExporter(pub [u8; 32]);

impl TlsExporter {
    /// The label to export with.
    pub const LABEL: &'static [u8] = b"EXPORTER-Channel-Binding";
    /// The name of this kind of binding.
    pub(crate) const NAME: &'static str = "tls-exporter";
}

impl fmt::Debug for TlsExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsExporter(…)")
    }
}
