//! TLS towards next hops: one configuration that takes any certificate, one that verifies.

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use smtp_sasl::TlsExporter;
use smtp_trust::AnyCertificate;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The client configurations. Sessions are resumed within each.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    any: Arc<ClientConfig>,
    verified: Arc<ClientConfig>,
}

impl Tls {
    /// With the roots of `ca_file` (PEM), or the built-in ones.
    pub(crate) fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = || {
            ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .map_err(|error| format!("TLS: {error}"))
        };
        let any = builder()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider.clone())))
            .with_no_client_auth();
        let verified = builder()?
            .with_root_certificates(
                smtp_trust::roots(ca_file).map_err(|why| format!("delivery.ca_file {why}"))?,
            )
            .with_no_client_auth();
        Ok(Tls {
            any: Arc::new(any),
            verified: Arc::new(verified),
        })
    }

    /// Secures a connection to the server `name` (a name or an address). The error is for people.
    pub(crate) async fn connect(
        &self,
        name: &str,
        verify: bool,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, String> {
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("{name} cannot be in a certificate"))?;
        let config = if verify { &self.verified } else { &self.any };
        TlsConnector::from(config.clone())
            .connect(server, stream)
            .await
            .map_err(|error| error.to_string())
    }
}

/// What the log says of a secured connection: `TLSv1.3 with TLS_AES_256_GCM_SHA384`, as the registry of cipher suites names it.
pub(crate) fn describe(stream: &TlsStream<TcpStream>) -> String {
    let (_, connection) = stream.get_ref();
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLS",
    };
    match connection.negotiated_cipher_suite() {
        Some(suite) => {
            let name = format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1);
            format!("{version} with {name}")
        }
        None => version.to_owned(),
    }
}

/// What binds an exchange of AUTH to a connection under TLS 1.3 (RFC 9266).
pub(crate) fn exporter(stream: &TlsStream<TcpStream>) -> Option<TlsExporter> {
    let (_, connection) = stream.get_ref();
    if connection.protocol_version() != Some(rustls::ProtocolVersion::TLSv1_3) {
        return None;
    }
    let exported = connection.export_keying_material([0; 32], TlsExporter::LABEL, Some(&[]));
    exported.map(TlsExporter).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_without_certificates_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, "nothing\n").unwrap();
        let error = Tls::new(Some(&path)).unwrap_err();
        assert!(
            error.starts_with("delivery.ca_file /") && error.contains("no certificate"),
            "{error}"
        );
        assert!(Tls::new(None).is_ok());
    }
}
