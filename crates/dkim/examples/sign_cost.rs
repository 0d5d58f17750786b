//! What a signature costs.
//!
//! The signatures of RSA-2048 and Ed25519 alone, then all that signing a message of 5 KiB by both takes, as microseconds of one core.
//! The difference is what canonicalising, hashing and writing the fields add.
//!
//! ```text
//! cargo run --release -p smtp-dkim --example sign_cost -- [COUNT]
//! ```

// It is a program for the terminal, and may stop at the first error.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use smtp_dkim::{Algorithm, Identity, Signer, SigningKey};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

const SIZE: usize = 5120;
const HEADER: &[u8] = b"From: Ann Example <ann@example.com>\r\n\
    To: Bob Example <bob@example.net>\r\n\
    Subject: Minutes of the meeting\r\n\
    Date: Thu, 01 Jan 2026 10:00:00 +0000\r\n\
    Message-ID: <20260101100000.1@example.com>\r\n\
    MIME-Version: 1.0\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Transfer-Encoding: 8bit\r\n\r\n";
const LINE: &[u8] = b"The quick brown fox jumps over the lazy dog, and writes a line about it.\r\n";

fn main() {
    let count: u32 = std::env::args().nth(1).map_or(2000, |text| text.parse().unwrap());
    let hash = digest(&SHA256, HEADER);
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let mut signature = vec![0; rsa.public_modulus_len()];
    let rsa = time("RSA-2048 signature alone", count, || {
        rsa.sign_digest(&RSA_PKCS1_SHA256, &hash, &mut signature).unwrap();
        black_box(&signature);
    });
    let ed25519 = Ed25519KeyPair::generate().unwrap();
    let ed25519 = time("Ed25519 signature alone", count, || {
        black_box(ed25519.try_sign(hash.as_ref()).unwrap());
    });

    let identities = [Algorithm::Rsa, Algorithm::Ed25519].map(|algorithm| {
        let key = Arc::new(SigningKey::generate(algorithm).unwrap());
        Arc::new(Identity::new("example.com", algorithm.name(), key).unwrap())
    });
    let body: Vec<u8> = LINE.iter().copied().cycle().take(SIZE - HEADER.len()).collect();
    let sign = |identities: &[Arc<Identity>]| {
        let mut signer = Signer::new(HEADER, identities, 1_800_000_000, None).unwrap();
        signer.update(&body);
        black_box(signer.finish().unwrap());
    };
    let hashes = time("5 KiB read and hashed, not signed", count, || sign(&[]));
    let whole = time("5 KiB signed by both", count, || sign(&identities));
    println!(
        "added to the two signatures: {:.1} µs, of which {hashes:.1} µs for the hashes",
        whole - rsa - ed25519
    );
}

/// Microseconds that one call takes.
fn time(what: &str, count: u32, mut work: impl FnMut()) -> f64 {
    work();
    let start = Instant::now();
    for _ in 0..count {
        work();
    }
    let micros = start.elapsed().as_secs_f64() * 1e6 / f64::from(count);
    println!("{what}: {micros:.1} µs");
    micros
}
