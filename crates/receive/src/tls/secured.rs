//! What is known of a connection under TLS, and why there is none.

use super::certificate::identities;
use rustls::{Error, HandshakeKind, ProtocolVersion, ServerConnection};
use smtp_observe::{Handshake, TlsFailure, TlsVersion};
use smtp_sasl::{Channel, TlsExporter};
use std::io;

/// A handshake that succeeded.
#[derive(Clone, Debug)]
pub(crate) struct Secured {
    pub(crate) version: TlsVersion,
    /// As the registry of cipher suites names it.
    pub(crate) cipher: Box<str>,
    pub(crate) handshake: Handshake,
    /// What the client asked for (SNI).
    pub(crate) server_name: Option<Box<str>>,
    /// Who the client is by the certificate it showed, and which `tls.client_ca_file` vouches for: host names, mail
    /// addresses and the common name. Empty without one.
    pub(crate) identities: Vec<String>,
    /// What SCRAM is bound to: of TLS 1.3 only (RFC 9266 4.2).
    exporter: Option<TlsExporter>,
}

impl Secured {
    pub(crate) fn of(connection: &ServerConnection) -> Self {
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
            _ => TlsVersion::Tls13,
        };
        let suite = connection
            .negotiated_cipher_suite()
            .map(|suite| format!("{:?}", suite.suite()));
        Secured {
            version,
            cipher: suite.unwrap_or_default().replacen("TLS13_", "TLS_", 1).into(),
            handshake: match connection.handshake_kind() {
                Some(HandshakeKind::Resumed) => Handshake::Resumed,
                _ => Handshake::Full,
            },
            server_name: connection.server_name().map(Into::into),
            identities: connection
                .peer_certificates()
                .and_then(<[_]>::first)
                .map(identities)
                .unwrap_or_default(),
            exporter: match version {
                TlsVersion::Tls13 => exporter(connection),
                TlsVersion::Tls12 => None,
            },
        }
    }

    /// The connection as AUTH knows it.
    pub(crate) fn channel(&self) -> Channel {
        Channel::Tls {
            exporter: self.exporter.clone(),
            client_certificate: !self.identities.is_empty(),
        }
    }

    /// As the log says it: `TLSv1.3 with TLS_AES_256_GCM_SHA384`.
    pub(crate) fn text(&self) -> String {
        format!("TLSv{} with {}", self.version.name(), self.cipher)
    }
}

fn exporter(connection: &ServerConnection) -> Option<TlsExporter> {
    let exported = connection.export_keying_material([0; 32], TlsExporter::LABEL, Some(&[]));
    exported.map(TlsExporter).ok()
}

/// A handshake that failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unsecured {
    pub(crate) reason: TlsFailure,
    /// For the log.
    pub(crate) text: String,
    /// The client was sent an alert, and should get it.
    pub(crate) alerted: bool,
}

impl Unsecured {
    pub(crate) fn new(reason: TlsFailure, text: &str) -> Self {
        Unsecured {
            reason,
            text: text.into(),
            alerted: false,
        }
    }

    /// What rustls makes of the client, or what the socket says.
    pub(crate) fn of(error: &io::Error) -> Self {
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            let text = match error.kind() {
                io::ErrorKind::UnexpectedEof => "the client closed the connection".to_owned(),
                _ => error.to_string(),
            };
            return Unsecured::new(TlsFailure::Closed, &text);
        };
        let reason = match error {
            Error::AlertReceived(alert) => {
                return Unsecured::new(TlsFailure::Alert, &format!("the client sent the alert {alert:?}"));
            }
            Error::PeerIncompatible(_) => TlsFailure::Incompatible,
            Error::InvalidCertificate(_) | Error::NoCertificatesPresented => TlsFailure::ClientCertificate,
            _ => TlsFailure::Protocol,
        };
        Unsecured {
            reason,
            text: error.to_string(),
            alerted: true,
        }
    }
}
