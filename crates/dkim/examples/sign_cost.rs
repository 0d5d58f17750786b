//! What a signature costs.
//!
//! The signatures of RSA-2048 and Ed25519 alone, then all that signing a message of 5 KiB by both takes, as microseconds of processor
//! time on average. The difference is what canonicalising, hashing and writing the fields add. Beside other work RSA takes up to a quarter
//! longer, and wavers by more than that difference: then trust the line of what is done without signing.
//!
//! ```text
//! cargo run --release -p smtp-dkim --example sign_cost -- [COUNT]
//! ```

// It is a program for the terminal, and may stop at the first error.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smtp_dkim::{Identity, Signer, SigningKey};
use std::hint::black_box;
use std::sync::Arc;

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

/// The jobs take turns in so many rounds.
const ROUNDS: u32 = 100;

fn main() {
    let count: u32 = std::env::args().nth(1).map_or(2000, |text| text.parse().unwrap());
    let hash = digest(&SHA256, HEADER);
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let mut signature = vec![0; rsa.public_modulus_len()];
    let ed25519 = Ed25519KeyPair::generate().unwrap();
    let identities = [
        ("rsa", rsa.as_der().unwrap()),
        ("ed25519", ed25519.as_der().unwrap()),
    ]
    .map(identity);
    let body: Vec<u8> = LINE.iter().copied().cycle().take(SIZE - HEADER.len()).collect();
    let sign = |identities: &[Arc<Identity>]| {
        let mut signer = Signer::new(HEADER, identities, 1_800_000_000, None).unwrap();
        signer.update(&body);
        black_box(signer.finish().unwrap());
    };

    let mut total = [0.0; 4];
    for _ in 0..ROUNDS {
        let each = count.div_ceil(ROUNDS);
        let times = [
            time(each, || {
                rsa.sign_digest(&RSA_PKCS1_SHA256, &hash, &mut signature).unwrap();
                black_box(&signature);
            }),
            time(each, || {
                black_box(ed25519.try_sign(hash.as_ref()).unwrap());
            }),
            time(each, || sign(&[])),
            time(each, || sign(&identities)),
        ];
        total = std::array::from_fn(|job| total[job] + times[job]);
    }
    let [rsa, ed25519, unsigned, signed] = total.map(|sum| sum / f64::from(ROUNDS));
    println!("RSA-2048 signature alone            {rsa:7.1} µs");
    println!("Ed25519 signature alone             {ed25519:7.1} µs");
    println!("5 KiB canonicalised and hashed      {unsigned:7.1} µs");
    println!("5 KiB signed by both                {signed:7.1} µs");
    println!(
        "more than the two signatures        {:7.1} µs",
        signed - rsa - ed25519
    );
}

/// The same key for the signer: not all are equally fast.
fn identity((selector, pkcs8): (&str, Pkcs8V1Der<'_>)) -> Arc<Identity> {
    let base64 = STANDARD.encode(pkcs8.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n");
    let key = Arc::new(SigningKey::from_pem(&pem).unwrap());
    Arc::new(Identity::new("example.com", selector, key).unwrap())
}

/// Microseconds of processor time that one call takes.
fn time(count: u32, mut work: impl FnMut()) -> f64 {
    let start = processor_time();
    for _ in 0..count {
        work();
    }
    (processor_time() - start) / f64::from(count)
}

/// Microseconds that this thread has run (proc_pid_schedstat(5)).
fn processor_time() -> f64 {
    let figures = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds: f64 = figures.split_whitespace().next().unwrap().parse().unwrap();
    nanoseconds / 1e3
}
