//! What the black-box tests are made of: the real binary on ports and folders
//! of its own ([`server`]), the peers it talks to ([`sink`], [`postfix`], [`dovecot`], [`dns`], [`haproxy`],
//! [`tools`], [`dkim`]), the binary as another program ([`sendmail`]), ways to speak SMTP to it by hand ([`wire`], [`dialog`]),
//! disks that may be filled ([`disk`]), and files as a kubelet mounts them ([`mounted`]).
//!
//! Everything here panics when something is missing or does not happen in time: a
//! peer that is not installed fails the test.

pub mod api_server;
pub mod browser;
pub mod dialog;
pub mod disk;
pub mod dkim;
pub mod dns;
pub mod dovecot;
pub mod haproxy;
pub mod hop;
pub mod injection;
pub mod load;
pub mod mounted;
pub mod ports;
pub mod postfix;
pub mod postgres;
pub mod random;
pub mod receiver;
pub mod sendmail;
pub mod server;
pub mod sink;
pub mod tls;
pub mod tools;
pub mod wire;

use std::time::{Duration, Instant};

/// Waits until `what` holds, at most 30 seconds.
pub fn wait_for(name: &str, mut what: impl FnMut() -> bool) {
    wait_for_secs(name, 30, &mut what);
}

/// Waits until `what` holds, at most `seconds`.
pub fn wait_for_secs(name: &str, seconds: u64, mut what: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !what() {
        assert!(Instant::now() < end, "waited {seconds} s in vain for: {name}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
