//! Certificates for tests.

use super::certificate::{Certificate, Contents, Pair};
use super::provider as default_provider;
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::CryptoProvider;
use std::path::Path;

pub(crate) fn provider() -> CryptoProvider {
    default_provider()
}

/// A self-signed certificate and its key, in PEM.
pub(crate) fn pem(names: &[&str]) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// Writes a pair into a folder, as `cert.pem` and `key.pem`.
pub(crate) fn write(folder: &Path, (certificate, key): &(String, String)) -> Pair {
    let pair = Pair {
        cert_file: folder.join("cert.pem"),
        key_file: folder.join("key.pem"),
    };
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(&pair.cert_file, certificate).unwrap();
    std::fs::write(&pair.key_file, key).unwrap();
    pair
}

pub(crate) fn certificate(names: &[&str]) -> Certificate {
    let folder = tempfile::tempdir().unwrap();
    let pair = write(folder.path(), &pem(names));
    Contents::read(&pair).unwrap().parse(&pair, &provider()).unwrap()
}
