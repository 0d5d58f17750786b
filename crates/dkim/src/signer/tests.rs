use super::*;
use crate::key::{Algorithm, SigningKey};
use crate::verifier::verify;
use proptest::prelude::*;
use std::sync::LazyLock;

mod examples;
mod properties;

static RSA: LazyLock<Arc<Identity>> = LazyLock::new(|| identity(Algorithm::Rsa, "rsa"));
static ED25519: LazyLock<Arc<Identity>> = LazyLock::new(|| identity(Algorithm::Ed25519, "ed"));

fn identity(algorithm: Algorithm, selector: &str) -> Arc<Identity> {
    let key = Arc::new(SigningKey::generate(algorithm).unwrap());
    Arc::new(Identity::new("example.com", selector, key).unwrap())
}

/// The signature fields of a message, its body given in pieces of `size`.
fn sign(header: &[u8], body: &[u8], size: usize, identities: &[Arc<Identity>]) -> Vec<u8> {
    let mut signer = Signer::new(header, identities, 1_800_000_000, None).unwrap();
    let len = signer.field_len();
    for piece in body.chunks(size) {
        signer.update(piece);
    }
    let fields = signer.finish().unwrap();
    assert_eq!(fields.len(), len, "{}", String::from_utf8_lossy(&fields));
    fields
}

/// The signed message.
fn signed(header: &[u8], body: &[u8], identity: &Arc<Identity>) -> Vec<u8> {
    let fields = sign(header, body, 7, std::slice::from_ref(identity));
    [&fields, header, b"\r\n", body].concat()
}
