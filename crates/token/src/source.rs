//! Where keys come from: a file or a URL, each read whole, within limits.

use crate::keys::KeySet;
use crate::{KeySource, SourceError, Why};
use reqwest::{Client, StatusCode, redirect};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

/// Largest key set, CA file or token file in octets.
const MAX_SIZE: usize = 256 * 1024;
/// Longest time for a request, from the connection to the last octet.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Tells one version of a file from another; also when a Secret's `..data` link was swapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    size: u64,
}

impl From<Metadata> for Stamp {
    fn from(file: Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            modified: (file.mtime(), file.mtime_nsec()),
            size: file.size(),
        }
    }
}

impl KeySource {
    /// The version of the keys' file. A URL has none, and neither has a file that is not there.
    pub(crate) async fn stamp(&self) -> Option<Stamp> {
        match self {
            Self::File(path) => tokio::fs::metadata(path).await.ok().map(Stamp::from),
            Self::Url { .. } => None,
        }
    }

    /// Reads the keys.
    pub(crate) async fn load(&self) -> Result<KeySet, SourceError> {
        let (place, document) = match self {
            Self::File(path) => (path.display().to_string(), read(path).await),
            Self::Url {
                url,
                ca_file,
                bearer_token_file,
            } => (
                url.clone(),
                fetch(url, ca_file.as_deref(), bearer_token_file.as_deref()).await,
            ),
        };
        let keys = document.and_then(|document| KeySet::parse(&document));
        keys.map_err(|why| SourceError { place, why })
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, Why> {
    let wrong = |error: std::io::Error| Why::File {
        path: path.display().to_string(),
        error: error.to_string(),
    };
    let file = File::open(path).await.map_err(wrong)?;
    let mut content = Vec::new();
    file.take(MAX_SIZE as u64 + 1)
        .read_to_end(&mut content)
        .await
        .map_err(wrong)?;
    match content.len() > MAX_SIZE {
        true => Err(Why::TooLarge),
        false => Ok(content),
    }
}

async fn fetch(url: &str, ca_file: Option<&Path>, token_file: Option<&Path>) -> Result<Vec<u8>, Why> {
    let mut request = client(ca_file).await?.get(url);
    if let Some(path) = token_file {
        let token = String::from_utf8(read(path).await?).unwrap_or_default();
        request = request.bearer_auth(token.trim());
    }
    let mut response = request.send().await.map_err(request_failed)?;
    if response.status() != StatusCode::OK {
        return Err(Why::Status(response.status().as_u16()));
    }
    let mut content = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(request_failed)? {
        if content.len() + piece.len() > MAX_SIZE {
            return Err(Why::TooLarge);
        }
        content.extend_from_slice(&piece);
    }
    Ok(content)
}

/// A client for one request: the CA may be another the next time.
async fn client(ca_file: Option<&Path>) -> Result<Client, Why> {
    let roots = match ca_file {
        Some(path) => roots(path, &read(path).await?)?,
        None => RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        },
    };
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Why::Request(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(TIMEOUT)
        .build()
        .map_err(request_failed)
}

fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, Why> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    match roots.add_parsable_certificates(certificates) {
        (0, _) => {
            let error = "no certificate in it (PEM is expected)".to_owned();
            Err(Why::File {
                path: path.display().to_string(),
                error,
            })
        }
        _ => Ok(roots),
    }
}

/// The whole chain of causes: "error sending request" alone helps nobody.
fn request_failed(error: reqwest::Error) -> Why {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    Why::Request(text)
}
