//! Numbers that differ from run to run.

use std::time::{SystemTime, UNIX_EPOCH};

/// A number that nobody knows before, from one that is shown.
pub struct Random(u64);

impl Default for Random {
    fn default() -> Random {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = now.expect("clock").as_nanos() as u64;
        eprintln!("seed {seed}");
        Random(seed)
    }
}

impl Random {
    pub fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}
