//! A client that speaks TLS, and what it sees.

use super::super::*;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use smtp_observe::Gauges;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) type Secure = Client<TlsStream<TcpStream>>;

/// Takes any certificate: these tests are not about trust.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

pub(crate) fn builder(
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting))
}

pub(crate) fn client_config() -> Arc<ClientConfig> {
    builder(rustls::DEFAULT_VERSIONS).with_no_client_auth().into()
}

pub(crate) async fn handshake(config: &Arc<ClientConfig>, stream: TcpStream) -> io::Result<Secure> {
    let connecting =
        TlsConnector::from(config.clone()).connect(ServerName::try_from("mx.test").unwrap(), stream);
    let stream = timeout(PATIENCE, connecting)
        .await
        .expect("a handshake in time")?;
    Ok(Client {
        stream,
        unread: Vec::new(),
    })
}

impl Stage {
    pub(crate) async fn socket(&self, listener: Listener) -> TcpStream {
        TcpStream::connect(self.reception.addresses(listener)[0])
            .await
            .unwrap()
    }

    /// A client that has the greeting, on `smtps` through TLS.
    pub(crate) async fn smtps(&self, config: &Arc<ClientConfig>) -> Secure {
        let mut client = handshake(config, self.socket(Listener::Smtps).await)
            .await
            .unwrap();
        client.expect("220 mx.test").await;
        client
    }

    /// A client behind STARTTLS that has not said EHLO again.
    pub(crate) async fn starttls(&self, listener: Listener, config: &Arc<ClientConfig>) -> Secure {
        let mut client = Client {
            stream: self.socket(listener).await,
            unread: Vec::new(),
        };
        client.expect("220 mx.test").await;
        let offer = client.say("EHLO client.test", "250").await;
        assert!(offer.contains("STARTTLS") && !offer.contains("AUTH"), "{offer}");
        client.say("STARTTLS", "220 2.0.0").await;
        handshake(config, client.stream).await.unwrap()
    }

    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.reception.shared.observer.metrics(&Gauges::default());
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {series}")).parse().unwrap()
    }

    pub(crate) async fn until_metric(&self, series: &str, wanted: f64) {
        let reached = async {
            while self.metric(series) != wanted {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, reached).await.expect(series);
    }
}
