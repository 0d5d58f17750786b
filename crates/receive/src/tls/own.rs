//! The certificate of a server that was given none: an authority of its own, and a certificate by it.
//!
//! Made once and kept in `tls/` beside the database, so that whoever trusts `ca.pem` need not do so again. The certificate is
//! renewed when it nears its end or the server's name changes; the authority stays for ten years. Not for production.

use super::certificate::{Contents, Pair, read};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::crypto::CryptoProvider;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Days that the certificate is good for; browsers and mail programs take no more than 398.
const CERTIFICATE_DAYS: i32 = 397;
/// Days that the authority is good for.
const AUTHORITY_DAYS: i32 = 3652;
/// Days before its end at which a certificate is renewed.
const RENEWED: i32 = 30;

/// Where everything is kept, for the database at `storage`.
pub(crate) fn folder(storage: &Path) -> PathBuf {
    storage.parent().unwrap_or(Path::new("")).join("tls")
}

/// Where the authority is that clients may trust.
pub(crate) fn authority_file(storage: &Path) -> PathBuf {
    folder(storage).join("ca.pem")
}

/// Where the certificate and its key are.
pub(crate) fn pair(storage: &Path) -> Pair {
    Pair {
        cert_file: folder(storage).join("cert.pem"),
        key_file: folder(storage).join("key.pem"),
    }
}

/// Makes what is not there yet, is not for `hostname`, or is about to expire.
pub(crate) fn ensure(storage: &Path, hostname: &str, provider: &CryptoProvider) -> Result<Pair, String> {
    let pair = pair(storage);
    let good = |pair: &Pair| {
        let certificate = Contents::read(pair)?.parse(pair, provider)?;
        let named = certificate.names.contains(&hostname.to_ascii_lowercase());
        Ok::<bool, String>(named && lasts(certificate.expires, RENEWED))
    };
    if good(&pair).unwrap_or(false) && authority_file(storage).exists() {
        return Ok(pair);
    }
    make(storage, hostname, &pair, provider)
        .map_err(|why| format!("a certificate for development could not be made: {why}"))?;
    Ok(pair)
}

fn make(storage: &Path, hostname: &str, pair: &Pair, provider: &CryptoProvider) -> Result<(), String> {
    let folder = folder(storage);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    let authority = authority(storage, provider)?;
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let names = [hostname, "localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut params = CertificateParams::new(names).map_err(|error| error.to_string())?;
    params.distinguished_name = named(hostname);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    lifetime(&mut params, CERTIFICATE_DAYS);
    let certificate = params
        .signed_by(&key, &authority)
        .map_err(|error| error.to_string())?;
    write(&pair.key_file, &key.serialize_pem(), 0o600)?;
    write(&pair.cert_file, &certificate.pem(), 0o644)
}

/// The authority that is kept, or a new one when there is none, or it would not outlive a certificate of today.
fn authority(storage: &Path, provider: &CryptoProvider) -> Result<Issuer<'static, KeyPair>, String> {
    let pair = Pair {
        cert_file: authority_file(storage),
        key_file: folder(storage).join("ca-key.pem"),
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = named("smtp-server development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lifetime(&mut params, AUTHORITY_DAYS);
    let kept = || {
        let certificate = Contents::read(&pair)?.parse(&pair, provider)?;
        if !lasts(certificate.expires, CERTIFICATE_DAYS) {
            return Err("it expires".to_owned());
        }
        let pem = String::from_utf8(read(&pair.key_file)?).map_err(|error| error.to_string())?;
        KeyPair::from_pem(&pem).map_err(|error| error.to_string())
    };
    if let Ok(key) = kept() {
        return Ok(Issuer::new(params, key));
    }
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let certificate = params.self_signed(&key).map_err(|error| error.to_string())?;
    write(&pair.key_file, &key.serialize_pem(), 0o600)?;
    write(&pair.cert_file, &certificate.pem(), 0o644)?;
    Ok(Issuer::new(params, key))
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn lasts(until: Timestamp, days: i32) -> bool {
    until.as_second() - Timestamp::now().as_second() > i64::from(days) * 86_400
}

/// From yesterday, for clocks that are behind.
fn lifetime(params: &mut CertificateParams, days: i32) {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let midnight = |date: Date| {
        let part = |number: i8| u8::try_from(number).unwrap_or(1);
        date_time_ymd(date.year().into(), part(date.month()), part(date.day()))
    };
    params.not_before = midnight(today.saturating_sub(1.day()));
    params.not_after = midnight(today.saturating_add(days.days()));
}

/// Whole or not at all.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    let beside = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::provider;
    use super::*;
    use rustls::pki_types::pem::PemObject;
    use std::os::unix::fs::PermissionsExt;

    fn octets(pair: &Pair) -> u64 {
        Contents::read(pair).unwrap().fingerprint()
    }

    #[test]
    fn it_is_made_once_and_anew_for_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let storage = folder.path().join("data/smtp.db");
        let first = ensure(&storage, "mx.test", &provider()).unwrap();
        let (made, authority) = (octets(&first), std::fs::read(authority_file(&storage)).unwrap());
        assert_eq!(octets(&ensure(&storage, "MX.test", &provider()).unwrap()), made);
        let renewed = ensure(&storage, "other.test", &provider()).unwrap();
        assert_ne!(octets(&renewed), made);
        assert_eq!(std::fs::read(authority_file(&storage)).unwrap(), authority);
        let certificate = Contents::read(&renewed)
            .unwrap()
            .parse(&renewed, &provider())
            .unwrap();
        assert_eq!(certificate.names, ["other.test", "localhost", "127.0.0.1", "::1"]);
        for key in [&renewed.key_file, &storage.with_file_name("tls/ca-key.pem")] {
            let mode = std::fs::metadata(key).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", key.display());
        }
    }

    #[test]
    fn its_own_authority_vouches_for_it_also_after_a_renewal() {
        let folder = tempfile::tempdir().unwrap();
        let storage = folder.path().join("smtp.db");
        for hostname in ["mx.test", "other.test"] {
            let pair = ensure(&storage, hostname, &provider()).unwrap();
            let path = authority_file(&storage);
            let roots = super::super::certificate::authorities(&path, &read(&path).unwrap()).unwrap();
            let verifier =
                rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider().into());
            let chain = rustls::pki_types::CertificateDer::from_pem_file(&pair.cert_file).unwrap();
            let verified = rustls::client::danger::ServerCertVerifier::verify_server_cert(
                &*verifier.build().unwrap(),
                &chain,
                &[],
                &hostname.try_into().unwrap(),
                &[],
                rustls::pki_types::UnixTime::now(),
            );
            assert!(verified.is_ok(), "{verified:?}");
        }
    }

    #[test]
    fn a_damaged_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let storage = folder.path().join("smtp.db");
        let pair = ensure(&storage, "mx.test", &provider()).unwrap();
        std::fs::write(&pair.key_file, "nothing").unwrap();
        let pair = ensure(&storage, "mx.test", &provider()).unwrap();
        assert!(Contents::read(&pair).unwrap().parse(&pair, &provider()).is_ok());
    }
}
