//! A certificate and its key, read from files and checked.
//!
//! Promises: what is returned can be used for a handshake: the chain parses, and the key belongs to it.

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// Largest file of certificates or keys, in octets.
const LARGEST: u64 = 1 << 20;

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) cert_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

/// A certificate whose key is at hand.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    /// Host names and addresses in it; the common name when it has none.
    pub(crate) names: Vec<String>,
    pub(crate) expires: Timestamp,
    pub(crate) key: Arc<CertifiedKey>,
}

/// The octets of a pair's files, as they were at one moment.
pub(crate) struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Contents {
    pub(crate) fn read(pair: &Pair) -> Result<Contents, String> {
        Ok(Contents {
            certificate: read(&pair.cert_file)?,
            key: read(&pair.key_file)?,
        })
    }

    /// Tells one content from another.
    pub(crate) fn fingerprint(&self) -> u64 {
        fingerprint(&(&self.certificate, &self.key))
    }

    /// The errors name the file.
    pub(crate) fn parse(&self, pair: &Pair, provider: &CryptoProvider) -> Result<Certificate, String> {
        let chain = certificates(&pair.cert_file, &self.certificate)?;
        let wrong_key = |why: String| format!("{}: {why}", pair.key_file.display());
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            wrong_key("it holds no PEM private key that can be read (an encrypted one cannot be used)".into())
        })?;
        let (mut names, mut expires) = (Vec::new(), Timestamp::MAX);
        for (position, certificate) in chain.iter().enumerate() {
            let parsed = parse(certificate).map_err(|why| {
                format!(
                    "{}: certificate {}: {why}",
                    pair.cert_file.display(),
                    position + 1
                )
            })?;
            if position == 0 {
                names = host_names(&parsed);
            }
            // A chain is worth as much as its shortest-lived part.
            expires = expires.min(expiry(&parsed));
        }
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => wrong_key(format!(
                "this key does not belong to the first certificate of {}",
                pair.cert_file.display()
            )),
            error => wrong_key(error.to_string()),
        })?;
        Ok(Certificate {
            names,
            expires,
            key: Arc::new(key),
        })
    }
}

/// Tells one value from another.
pub(crate) fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A whole file; the error names it.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let mut octets = Vec::new();
    let file = File::open(path).map_err(|error| wrong(&error))?;
    file.take(LARGEST + 1)
        .read_to_end(&mut octets)
        .map_err(|error| wrong(&error))?;
    if octets.len() as u64 > LARGEST {
        return Err(wrong(&"larger than 1 MiB"));
    }
    Ok(octets)
}

/// The authorities in a PEM file's octets.
pub(crate) fn authorities(path: &Path, octets: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, octets)? {
        roots
            .add(certificate)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(roots)
}

/// At least one.
fn certificates(path: &Path, octets: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(octets)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    if certificates.is_empty() {
        return Err(format!("{}: it holds no PEM certificate", path.display()));
    }
    Ok(certificates)
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) => Err("there is something behind it".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn expiry(certificate: &X509Certificate<'_>) -> Timestamp {
    // Later than can be said is never.
    Timestamp::from_second(certificate.validity().not_after.timestamp()).unwrap_or(Timestamp::MAX)
}

/// The names that a server's certificate is for (RFC 9525), in lower case.
fn host_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = alternative_names(certificate, |name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(octets) => address(octets).map(|address| address.to_string()),
        _ => None,
    });
    if names.is_empty() {
        return common_name(certificate).into_iter().collect();
    }
    names
}

/// Who a client is by its certificate, which has been verified: the host names and mail addresses in it, and its common name.
pub(crate) fn identities(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = parse(certificate) else {
        return Vec::new();
    };
    let mut names = alternative_names(&certificate, |name| match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) => Some((*name).to_owned()),
        _ => None,
    });
    names.extend(common_name(&certificate));
    names.dedup();
    names
}

fn alternative_names(
    certificate: &X509Certificate<'_>,
    take: impl Fn(&GeneralName<'_>) -> Option<String>,
) -> Vec<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    extension.map_or_else(Vec::new, |names| {
        names.value.general_names.iter().filter_map(take).collect()
    })
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let name = certificate.subject().iter_common_name().next()?;
    name.as_str().ok().map(str::to_owned)
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(octets.into());
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}
