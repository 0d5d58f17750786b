//! Files of certificates that are replaced while the server runs.
//!
//! They are read every second and compared by content. That costs some microseconds, and it sees what a watch of the file system
//! misses: a `..data` link that is swapped, a volume of the network, a file written twice within one tick of its clock. A good
//! pair is used at once. A bad one is reported when it is still the same a second later: a certificate and its key are
//! seldom replaced in one step.

use super::certificate::{Certificate, Contents, authorities, fingerprint, read};
use super::{CertificateInfo, Configs, Files, Tls, configs, info, label, own, provider};
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use smtp_observe::{Event, Observer};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often the files are read.
const PERIOD: Duration = Duration::from_secs(1);
/// How often a certificate that is about to expire is spoken of.
const REMINDER: Duration = Duration::from_secs(86_400);
/// Seconds before its end at which that begins.
const SOON: i64 = 14 * 86_400;
/// The name of `tls.client_ca_file` in events.
const CLIENT_CA: &str = "client_ca";

/// The files, and what was last read from them.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) files: Files,
    certificates: Vec<Certificate>,
    authorities: Option<RootCertStore>,
    /// Of each pair, then of the authorities.
    seen: Vec<Seen>,
    reminded: Option<Instant>,
}

/// Contents of one place, told apart by their fingerprints.
#[derive(Debug, Default)]
struct Seen {
    in_force: u64,
    /// Bad, and perhaps half written.
    suspect: Option<u64>,
    refused: Option<u64>,
}

impl Seen {
    fn of(in_force: u64) -> Self {
        Seen {
            in_force,
            ..Seen::default()
        }
    }

    /// Whether there is something new to look at.
    fn is_new(&mut self, fingerprint: u64) -> bool {
        if fingerprint == self.in_force {
            (self.suspect, self.refused) = (None, None);
            return false;
        }
        self.refused != Some(fingerprint)
    }

    /// Whether the bad content is to be reported.
    fn is_settled(&mut self, fingerprint: u64) -> bool {
        let settled = self.suspect.replace(fingerprint) == Some(fingerprint);
        if settled {
            self.refused = Some(fingerprint);
        }
        settled
    }
}

impl Watched {
    pub(super) fn load(files: Files, provider: &CryptoProvider) -> Result<Watched, String> {
        let (mut certificates, mut seen) = (Vec::new(), Vec::new());
        for pair in &files.pairs {
            let contents = Contents::read(pair)?;
            certificates.push(contents.parse(pair, provider)?);
            seen.push(Seen::of(contents.fingerprint()));
        }
        let mut client_authorities = None;
        if let Some(path) = &files.client_ca {
            let octets = read(path)?;
            client_authorities = Some(authorities(path, &octets)?);
            seen.push(Seen::of(fingerprint(&octets)));
        }
        Ok(Watched {
            files,
            certificates,
            authorities: client_authorities,
            seen,
            reminded: None,
        })
    }

    pub(super) fn configs(&self) -> Result<Configs, String> {
        configs(
            &self.certificates,
            self.authorities.clone(),
            self.files.min_version,
        )
    }

    pub(super) fn certificates(&self) -> Vec<CertificateInfo> {
        let pairs = self.files.pairs.iter().zip(&self.certificates).enumerate();
        pairs
            .map(|(place, (pair, certificate))| info(place, pair, certificate))
            .collect()
    }

    /// Says which certificates are in force.
    pub(super) fn announce(&self, observer: &Observer) {
        for (place, certificate) in self.certificates.iter().enumerate() {
            loaded(observer, place, certificate);
        }
    }

    /// Reads every file again and takes what is new and good. Whether anything was taken.
    fn look(&mut self, provider: &CryptoProvider, observer: &Observer) -> bool {
        let mut taken = false;
        let places = self
            .files
            .pairs
            .iter()
            .zip(&mut self.certificates)
            .zip(&mut self.seen);
        for (place, ((pair, certificate), seen)) in places.enumerate() {
            let contents = Contents::read(pair);
            let found = contents
                .as_ref()
                .map_or_else(fingerprint_of_error, Contents::fingerprint);
            if !seen.is_new(found) {
                continue;
            }
            match contents.and_then(|contents| contents.parse(pair, provider)) {
                Ok(fresh) => {
                    *certificate = fresh;
                    *seen = Seen::of(found);
                    loaded(observer, place, certificate);
                    taken = true;
                }
                Err(error) if seen.is_settled(found) => refused(observer, &label(place), &error),
                Err(_) => {}
            }
        }
        self.look_at_authorities(observer) || taken
    }

    fn look_at_authorities(&mut self, observer: &Observer) -> bool {
        let (Some(path), Some(seen)) = (&self.files.client_ca, self.seen.last_mut()) else {
            return false;
        };
        let octets = read(path);
        let found = octets.as_ref().map_or_else(fingerprint_of_error, fingerprint);
        if !seen.is_new(found) {
            return false;
        }
        match octets.and_then(|octets| authorities(path, &octets)) {
            Ok(fresh) => {
                self.authorities = Some(fresh);
                *seen = Seen::of(found);
                true
            }
            Err(error) => {
                if seen.is_settled(found) {
                    refused(observer, CLIENT_CA, &error);
                }
                false
            }
        }
    }

    /// Once a day: what expires soon; and our own certificate is renewed in time.
    fn remind(&mut self, provider: &CryptoProvider, observer: &Observer) {
        if self.reminded.is_some_and(|last| last.elapsed() < REMINDER) {
            return;
        }
        self.reminded = Some(Instant::now());
        let renewed = self
            .files
            .own
            .as_ref()
            .map(|own| own::ensure(&own.storage, &own.hostname, provider));
        if let Some(Err(error)) = renewed {
            refused(observer, &label(0), &error);
        }
        let now = Timestamp::now().as_second();
        for (place, certificate) in self.certificates.iter().enumerate() {
            let left = certificate.expires.as_second() - now;
            if left < SOON {
                observer.emit(Event::CertificateExpiring {
                    certificate: &label(place),
                    names: &certificate.names,
                    expires: &certificate.expires.to_string(),
                    days_left: u64::try_from(left / 86_400).unwrap_or(0),
                });
            }
        }
    }
}

/// What cannot be read is a content too: it is reported once.
fn fingerprint_of_error(error: &String) -> u64 {
    fingerprint(error)
}

fn loaded(observer: &Observer, place: usize, certificate: &Certificate) {
    observer.emit(Event::CertificateLoaded {
        certificate: &label(place),
        names: &certificate.names,
        expires: &certificate.expires.to_string(),
    });
}

fn refused(observer: &Observer, certificate: &str, error: &str) {
    observer.emit(Event::CertificateRefused { certificate, error });
}

/// Watches the files until its task is aborted.
pub(crate) async fn watch(tls: Arc<Tls>) {
    let mut tick = interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let tls = tls.clone();
        // Reading files may wait for a disk. A panic in there is a panic of one look.
        let _ = tokio::task::spawn_blocking(move || tls.look()).await;
    }
}

impl Tls {
    /// Takes what has changed in the files.
    pub(super) fn look(&self) {
        let mut watched = self.watched.lock();
        if watched.look(&provider(), &self.observer) {
            match watched.configs() {
                Ok(configs) => self.configs.store(Arc::new(configs)),
                Err(error) => refused(&self.observer, CLIENT_CA, &error),
            }
            watched.reminded = None;
        }
        watched.remind(&provider(), &self.observer);
    }
}

#[cfg(test)]
mod tests;
