//! The process's own figures, from `/proc/self`; 0 where there is none.

use std::fs;

/// Ticks a second of the times in `/proc`: fixed by the kernel's interface.
const TICKS: f64 = 100.0;

/// What the kernel says about this process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    /// Octets of memory in use.
    pub(super) resident_bytes: f64,
    /// Open file descriptors.
    pub(super) open_fds: f64,
    /// User and system time.
    pub(super) cpu_seconds: f64,
}

impl Process {
    /// Reads them now.
    pub(super) fn read() -> Process {
        Process {
            resident_bytes: resident_bytes().unwrap_or_default(),
            open_fds: open_fds().unwrap_or_default(),
            cpu_seconds: cpu_seconds().unwrap_or_default(),
        }
    }
}

/// `VmRSS:     1234 kB`.
fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024.0)
}

/// Newer kernels give the number as the folder's size; else the entries are counted.
fn open_fds() -> Option<f64> {
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    if size > 0 {
        return Some(size as f64);
    }
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

/// Fields 14 and 15; the name in field 2 may hold spaces, so counting starts after its bracket.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut times = rest.split_whitespace().skip(11);
    let user: f64 = times.next()?.parse().ok()?;
    let system: f64 = times.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}
