//! Where keys come from: a file or a URL, each read whole, within limits.

use crate::keys::KeySet;
use crate::{KeySource, SourceError, Why};
use smtp_https::reqwest::{Client, Error, StatusCode};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
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
    let Some(path) = ca_file else {
        return smtp_https::client(None, TIMEOUT).map_err(Why::Request);
    };
    let pem = read(path).await?;
    smtp_https::client(Some(&pem), TIMEOUT).map_err(|error| Why::File {
        path: path.display().to_string(),
        error,
    })
}

fn request_failed(error: Error) -> Why {
    Why::Request(smtp_https::in_words(&error))
}
