//! TLS for clients: the certificates in force, and what handshakes are done with.
//!
//! Each listener has an immutable `ServerConfig` with a key for tickets of its own: a ticket of one listener resumes nothing on
//! another. Files that change (`watch`) make new ones, tickets included, for the next handshake; connections that are up keep theirs.
//!
//! Promises: a pair that is broken, half written or does not belong together is never used, and the one before it stays; the private
//! key is in no log and no error.

mod certificate;
mod choice;
mod own;
mod secured;
#[cfg(test)]
mod testing;
mod watch;

pub(crate) use secured::{Secured, Unsecured};
pub(crate) use watch::watch;

use arc_swap::ArcSwap;
use certificate::{Certificate, Pair};
use choice::Choice;
use jiff::Timestamp;
use parking_lot::Mutex;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use smtp_config::{Config, Profile, TlsVersion};
use smtp_observe::{Listener, Observer};
use std::path::PathBuf;
use std::sync::Arc;
use watch::Watched;

/// Tickets sent after a handshake. Mail clients keep one session for a server, and each ticket costs a record and its
/// encryption; they are sealed, and cost no memory here.
const TICKETS: usize = 1;

/// A certificate that clients are shown, for `check` and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// `default` for the one of `[tls]`, else its place in `[[certificates]]`, from 1.
    pub certificate: String,
    /// Its file.
    pub cert_file: PathBuf,
    /// Host names and addresses in it.
    pub names: Vec<String>,
    /// When it, or the first of its issuers, expires.
    pub expires: Timestamp,
}

/// The certificates in force.
#[derive(Debug)]
pub(crate) struct Tls {
    configs: ArcSwap<Configs>,
    watched: Mutex<Watched>,
    observer: Observer,
}

/// Certificates that only have to be put in force.
#[derive(Debug)]
pub(crate) struct Fresh {
    watched: Watched,
    configs: Configs,
}

/// One for each listener, in the order of [`Listener::ALL`].
type Configs = Vec<Arc<ServerConfig>>;

impl Tls {
    /// Reads every file that the configuration names, and makes a certificate where a profile other than production names
    /// none.
    ///
    /// # Errors
    /// The first file that cannot be used, and why.
    pub(crate) fn open(config: &Config, observer: Observer) -> Result<Tls, String> {
        let watched = Watched::load(Files::of(config)?, &provider())?;
        let configs = ArcSwap::from_pointee(watched.configs()?);
        watched.announce(&observer);
        Ok(Tls {
            configs,
            watched: Mutex::new(watched),
            observer,
        })
    }

    /// What the next handshake on `listener` is done with.
    pub(crate) fn config(&self, listener: Listener) -> Option<Arc<ServerConfig>> {
        let place = Listener::ALL.iter().position(|one| *one == listener)?;
        self.configs.load().get(place).cloned()
    }

    /// Reads what a new configuration says; `None` when it is what is in force.
    ///
    /// # Errors
    /// The first file that cannot be used, and why.
    pub(crate) fn prepare(&self, config: &Config) -> Result<Option<Fresh>, String> {
        let files = Files::of(config)?;
        if self.watched.lock().files == files {
            return Ok(None);
        }
        let watched = Watched::load(files, &provider())?;
        let configs = watched.configs()?;
        Ok(Some(Fresh { watched, configs }))
    }

    /// Puts it in force.
    pub(crate) fn take(&self, fresh: Fresh) {
        let mut watched = self.watched.lock();
        self.configs.store(Arc::new(fresh.configs));
        fresh.watched.announce(&self.observer);
        *watched = fresh.watched;
    }

    pub(crate) fn certificates(&self) -> Vec<CertificateInfo> {
        self.watched.lock().certificates()
    }
}

/// Checks the certificates that a configuration names without using them: each, or why it cannot be used. A profile that
/// makes its own has none to check.
pub fn check_certificates(config: &Config) -> Vec<Result<CertificateInfo, String>> {
    if !config.tls.enabled {
        return Vec::new();
    }
    let (pairs, provider) = (named_pairs(config), provider());
    let first = usize::from(config.tls.cert_file.is_none());
    let mut found: Vec<_> = pairs
        .iter()
        .enumerate()
        .map(|(place, pair)| {
            let certificate = certificate::Contents::read(pair)?.parse(pair, &provider)?;
            Ok(info(place + first, pair, &certificate))
        })
        .collect();
    if let Some(Err(why)) = config.tls.client_ca_file.as_ref().map(|path| {
        let authorities = certificate::authorities(path, &certificate::read(path)?)?;
        verifier(Some(authorities)).map(drop)
    }) {
        found.push(Err(why));
    }
    found
}

/// Where the authority is that vouches for the certificate which the server makes itself; `None` when it was given one.
pub fn own_authority(config: &Config) -> Option<PathBuf> {
    let own = config.tls.enabled && config.tls.cert_file.is_none();
    own.then(|| own::authority_file(&config.storage.path))
}

fn info(place: usize, pair: &Pair, certificate: &Certificate) -> CertificateInfo {
    CertificateInfo {
        certificate: label(place),
        cert_file: pair.cert_file.clone(),
        names: certificate.names.clone(),
        expires: certificate.expires,
    }
}

fn label(place: usize) -> String {
    match place {
        0 => "default".into(),
        place => place.to_string(),
    }
}

/// What the configuration says about TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    /// The first is the one of `[tls]`.
    pairs: Vec<Pair>,
    client_ca: Option<PathBuf>,
    min_version: TlsVersion,
    /// For whom the first is made, when it is our own.
    own: Option<Own>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Own {
    storage: PathBuf,
    hostname: String,
}

impl Files {
    fn of(config: &Config) -> Result<Files, String> {
        let mut pairs = named_pairs(config);
        let mut own = None;
        if config.tls.cert_file.is_none() {
            if config.profile == Profile::Production {
                return Err("tls.cert_file: production needs a certificate".into());
            }
            let (storage, hostname) = (&config.storage.path, &config.server.hostname);
            pairs.insert(0, own::ensure(storage, hostname, &provider())?);
            own = Some(Own {
                storage: storage.clone(),
                hostname: hostname.clone(),
            });
        }
        Ok(Files {
            pairs,
            client_ca: config.tls.client_ca_file.clone(),
            min_version: config.tls.min_version,
            own,
        })
    }
}

fn named_pairs(config: &Config) -> Vec<Pair> {
    let first = config.tls.cert_file.as_ref().zip(config.tls.key_file.as_ref());
    let others = config
        .certificates
        .iter()
        .map(|files| (&files.cert_file, &files.key_file));
    first
        .into_iter()
        .chain(others)
        .map(|(cert_file, key_file)| Pair {
            cert_file: cert_file.clone(),
            key_file: key_file.clone(),
        })
        .collect()
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// A configuration for each listener. Resumption never crosses from one to another, nor survives a change of certificates
/// or authorities: each has a ticket key of its own, which changes every six hours besides.
fn configs(
    certificates: &[Certificate],
    authorities: Option<RootCertStore>,
    min_version: TlsVersion,
) -> Result<Configs, String> {
    let choice = Arc::new(Choice::new(certificates.iter()));
    let verifier = verifier(authorities)?;
    let versions: &[_] = match min_version {
        TlsVersion::Tls12 => &[&TLS13, &TLS12],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let explain = |error: rustls::Error| format!("TLS: {error}");
    let one = |_| {
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(versions)
            .map_err(explain)?
            .with_client_cert_verifier(verifier.clone())
            .with_cert_resolver(choice.clone());
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(explain)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = TICKETS;
        Ok(Arc::new(config))
    };
    Listener::ALL.iter().map(one).collect()
}

/// With authorities a client may show a certificate by one of them; it need not.
fn verifier(authorities: Option<RootCertStore>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let Some(authorities) = authorities else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::new(provider()))
        .allow_unauthenticated()
        .build()
        .map_err(|error| format!("tls.client_ca_file: {error}"))
}
