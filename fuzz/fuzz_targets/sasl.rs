//! Any octets as what a peer says to each SASL mechanism, of both ends.

#![no_main]

#[path = "../../crates/sasl/tests/any_octets/drive.rs"]
mod drive;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| drive::drive(input));
