//! TLS towards the database, as libpq's `sslmode` says it.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use smtp_trust::{AnyCertificate, certificates};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is asked of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SslMode {
    Disable,
    /// If the server offers it; nothing is verified.
    Prefer,
    /// With any certificate; with `sslrootcert` as [`SslMode::VerifyCa`], as in libpq.
    Require,
    /// The certificate was signed by an authority that is trusted.
    VerifyCa,
    /// And is for the host's name.
    VerifyFull,
}

impl SslMode {
    pub(super) fn parse(word: &str) -> Result<SslMode, String> {
        Ok(match word {
            "disable" => SslMode::Disable,
            "allow" | "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            _ => {
                return Err(format!(
                    "sslmode {word} is none of disable, prefer, require, verify-ca, verify-full"
                ));
            }
        })
    }

    pub(super) fn negotiated(self) -> tokio_postgres::config::SslMode {
        match self {
            SslMode::Disable => tokio_postgres::config::SslMode::Disable,
            SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
                tokio_postgres::config::SslMode::Require
            }
        }
    }
}

/// PEM files.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsFiles {
    /// Authorities; `system` is the built-in ones, as nothing is.
    pub(super) roots: Option<PathBuf>,
    /// What we show.
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

impl TlsFiles {
    /// `sslrootcert=system`.
    fn is_system(&self) -> bool {
        self.roots.as_deref() == Some(Path::new("system"))
    }
}

/// What is meant by a word for the mode, if there is one, and these files. The built-in authorities sign for everybody: by them a certificate
/// tells something only with the name in it. So `system` is `verify-full`, and no less, as in libpq.
pub(super) fn mode(word: Option<&str>, files: &TlsFiles) -> Result<SslMode, String> {
    let mode = match word {
        None if files.is_system() => SslMode::VerifyFull,
        None => SslMode::Prefer,
        Some(word) => SslMode::parse(word)?,
    };
    if files.is_system() && mode != SslMode::VerifyFull {
        return Err("with sslrootcert=system sslmode has to be verify-full".into());
    }
    if mode == SslMode::VerifyCa && files.roots.is_none() {
        return Err(
            "sslmode verify-ca needs sslrootcert; by the built-in authorities only verify-full tells anything"
                .into(),
        );
    }
    Ok(mode)
}

/// The configuration for a mode; `None` without TLS.
pub(super) fn client(mode: SslMode, files: &TlsFiles) -> Result<Option<ClientConfig>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mode = match (mode, &files.roots) {
        (SslMode::Disable, _) => return Ok(None),
        (SslMode::Require, Some(_)) => SslMode::VerifyCa,
        (mode, _) => mode,
    };
    let web_pki = || {
        let file = files.roots.as_deref().filter(|_| !files.is_system());
        WebPkiServerVerifier::builder_with_provider(smtp_trust::roots(file)?.into(), provider.clone())
            .build()
            .map_err(|error| format!("sslrootcert: {error}"))
    };
    let verifier: Arc<dyn ServerCertVerifier> = match mode {
        SslMode::VerifyFull => web_pki()?,
        SslMode::VerifyCa => Arc::new(AnyName(web_pki()?)),
        SslMode::Disable | SslMode::Prefer | SslMode::Require => Arc::new(AnyCertificate(provider.clone())),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match (&files.certificate, &files.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let secret =
                PrivateKeyDer::from_pem_file(key).map_err(|error| format!("{}: {error}", key.display()))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, secret)
                .map_err(|error| format!("{} with {}: {error}", certificate.display(), key.display()))?
        }
        (Some(_), None) => return Err("sslcert needs sslkey".into()),
        (None, Some(_)) => return Err("sslkey needs sslcert".into()),
    };
    Ok(Some(config))
}

/// Verifies whom a certificate is from, but not whom it is for.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self
            .0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is looked at last: everything else was right.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
