//! Tokens that the tests sign themselves (with aws-lc-rs, not with the library under test), and issuers
//! that are real HTTP servers on loopback.

mod issuer;
mod properties;
mod signer;
mod sources;
mod tokens;

use crate::{KeySource, TokenSettings, TokenVerifier};
use issuer::Issuer;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

fn settings(source: KeySource) -> TokenSettings {
    TokenSettings {
        issuer: ISSUER.to_owned(),
        audience: vec!["smtp".to_owned(), "mail".to_owned()],
        source,
        claim: crate::Claim::default(),
    }
}

fn file(path: &Path) -> KeySource {
    KeySource::File(path.to_owned())
}

fn url(issuer: &Issuer) -> KeySource {
    KeySource::Url {
        url: issuer.url("/jwks"),
        ca_file: None,
        bearer_token_file: None,
    }
}

/// Seconds since 1970, `from_now` seconds from now.
fn time(from_now: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() + from_now
}

/// What a projected service-account token of Kubernetes holds.
fn claims() -> Value {
    json!({
        "aud": ["smtp"],
        "exp": time(3600),
        "iat": time(-1),
        "iss": ISSUER,
        "jti": "0c1e4e2c-7d2d-4b3f-9a51-4f3f8f6d3a11",
        "kubernetes.io": {
            "namespace": "shop",
            "node": { "name": "node-1", "uid": "6d0c" },
            "pod": { "name": "checkout-7d9f", "uid": "1b2c" },
            "serviceaccount": { "name": "checkout", "uid": "9f3e" },
        },
        "nbf": time(-1),
        "sub": "system:serviceaccount:shop:checkout",
    })
}

/// The claims with one of them changed; null takes it out.
fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let map = claims.as_object_mut().unwrap();
    match value {
        Value::Null => drop(map.remove(name)),
        value => drop(map.insert(name.to_owned(), value)),
    }
    claims
}

/// A clock that goes when it is told to.
#[derive(Clone)]
struct TestClock(Arc<Mutex<Instant>>);

impl TestClock {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn advance(&self, seconds: u64) {
        *self.0.lock() += Duration::from_secs(seconds);
    }

    fn verifier(&self, source: KeySource) -> TokenVerifier {
        let clock = self.clone();
        TokenVerifier::with_clock(settings(source), Box::new(move || *clock.0.lock())).unwrap()
    }
}
