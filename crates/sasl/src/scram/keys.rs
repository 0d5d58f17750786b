//! The computation of RFC 5802, section 3, with SHA-256.

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// A key, a signature or a proof.
pub(crate) type Octets = [u8; 32];

/// `Hi(password, salt, iterations)`: the dear part, tens of milliseconds.
pub(crate) fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<Octets> {
    let iterations = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
    let mut salted = Zeroizing::new([0; 32]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        password,
        &mut *salted,
    );
    salted
}

pub(crate) fn client_key(salted_password: &Octets) -> Zeroizing<Octets> {
    Zeroizing::new(hmac(salted_password, b"Client Key"))
}

pub(crate) fn server_key(salted_password: &Octets) -> Octets {
    hmac(salted_password, b"Server Key")
}

pub(crate) fn hmac(key: &[u8], message: &[u8]) -> Octets {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    octets(tag.as_ref())
}

pub(crate) fn hash(message: &[u8]) -> Octets {
    octets(digest::digest(&digest::SHA256, message).as_ref())
}

/// A SHA-256 has 32 octets.
fn octets(from: &[u8]) -> Octets {
    let mut octets = [0; 32];
    octets.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    octets
}

pub(crate) fn xor(left: &Octets, right: &Octets) -> Octets {
    let mut both = *left;
    both.iter_mut().zip(right).for_each(|(to, from)| *to ^= *from);
    both
}

/// Compares in constant time.
pub(crate) fn same(left: &[u8], right: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(left, right).is_ok()
}
