//! The HTTP client of everything that calls other programs: one TLS stack, no redirects, no proxy of the environment.

pub use reqwest;

use reqwest::{Client, Error, redirect};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A client that trusts the authorities in `pem`, or the built-in roots; `timeout` is for a whole request.
///
/// # Errors
/// What is wrong with the authorities.
pub fn client(pem: Option<&[u8]>, timeout: Duration) -> Result<Client, String> {
    let roots = match pem {
        Some(pem) => authorities(pem)?,
        None => RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        },
    };
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(timeout)
        .build()
        .map_err(|error| in_words(&error))
}

/// The same with the authorities in a file. Blocking.
///
/// # Errors
/// What is wrong with the file, with its name.
pub fn client_with(ca_file: Option<&Path>, timeout: Duration) -> Result<Client, String> {
    let Some(path) = ca_file else {
        return client(None, timeout);
    };
    let pem = std::fs::read(path).map_err(|error| error.to_string());
    pem.and_then(|pem| client(Some(&pem), timeout))
        .map_err(|reason| format!("{}: {reason}", path.display()))
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    match roots.add_parsable_certificates(certificates) {
        (0, _) => Err("no certificate in it (PEM is expected)".to_owned()),
        _ => Ok(roots),
    }
}

/// The whole chain of causes: "error sending request" alone helps nobody. Without the URL, which may hold a secret.
pub fn in_words(error: &Error) -> String {
    let mut text = if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        "the request failed".to_owned()
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
