//! How much memory a running server has, as the kernel counts it.

use super::{Server, read};
use std::path::Path;

impl Server {
    /// Resident memory in octets.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }
    /// The most resident memory that it ever had, in octets.
    pub fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }
    fn memory(&self, figure: &str) -> u64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.child.id())));
        let mut lines = status.lines();
        let value = lines.find_map(|line| line.strip_prefix(figure)).expect(figure);
        let kib = value
            .split_whitespace()
            .next()
            .and_then(|n| n.parse::<u64>().ok());
        kib.expect(figure) * 1024
    }
}
