//! Which certificate a client is shown.
//!
//! The one that is for the name the client asks for (SNI, RFC 6066): an exact name before a wildcard, the first certificate before
//! later ones. Who asks for no name, an address or an unknown name gets the first certificate: mail servers that
//! verify nothing are then served all the same.

use super::certificate::Certificate;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;

/// The certificates by name.
#[derive(Debug)]
pub(crate) struct Choice {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    fallback: Option<Arc<CertifiedKey>>,
}

impl Choice {
    pub(crate) fn new<'a>(certificates: impl Iterator<Item = &'a Certificate>) -> Self {
        let mut choice = Choice {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            fallback: None,
        };
        for certificate in certificates {
            for name in &certificate.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut choice.wildcard, parent),
                    None => (&mut choice.exact, name.as_str()),
                };
                names
                    .entry(name.to_owned())
                    .or_insert_with(|| certificate.key.clone());
            }
            choice.fallback.get_or_insert_with(|| certificate.key.clone());
        }
        choice
    }

    fn choose(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let by_name = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            // A wildcard stands for one label, the first (RFC 9525 6.3).
            let parent = name.split_once('.').map(|(_, parent)| parent);
            self.exact
                .get(&name)
                .or_else(|| parent.and_then(|parent| self.wildcard.get(parent)))
        });
        by_name.or(self.fallback.as_ref()).cloned()
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::certificate;
    use super::*;

    #[test]
    fn a_name_gets_its_certificate_and_all_else_the_first() {
        let certificates = [
            certificate(&["mx.example.org", "*.example.org"]),
            certificate(&["mail.example.org", "*.example.net"]),
            certificate(&["mx.example.org", "[2001:db8::1]"]),
        ];
        let choice = Choice::new(certificates.iter());
        let chosen = |name: Option<&str>| {
            let key = choice.choose(name).unwrap();
            certificates.iter().position(|one| Arc::ptr_eq(&one.key, &key))
        };
        for (name, place) in [
            ("mx.example.org", 0),
            ("MX.Example.ORG", 0),
            ("other.example.org", 0),
            ("mail.example.org", 1),
            ("a.example.net", 1),
            ("a.b.example.net", 0),
            ("example.net", 0),
            ("elsewhere.test", 0),
            ("", 0),
        ] {
            assert_eq!(chosen(Some(name)), Some(place), "{name}");
        }
        assert_eq!(chosen(None), Some(0));
    }

    #[test]
    fn without_certificates_there_is_no_choice() {
        assert!(Choice::new([].iter()).choose(Some("mx.example.org")).is_none());
    }
}
