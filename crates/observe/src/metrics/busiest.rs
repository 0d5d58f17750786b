//! How much of what comes to a listener comes from one private address: the sign of a load balancer or NAT that hides who the clients are.
//!
//! Promises: memory is bounded whoever comes; a share is never told too high, and by less than 1/64 too low.

use crate::labels::{Label, Listener};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Addresses that a window counts at once.
const SLOTS: usize = 64;
/// How long a window is, and how many are kept: ten minutes, the one that is filled just now included.
const WINDOW: Duration = Duration::from_secs(60);
const WINDOWS: usize = 10;
/// Of fewer connections a share says nothing.
const FEWEST: u64 = 100;

/// The connections of the last ten minutes, for each listener.
#[derive(Debug)]
pub(super) struct Busiest {
    since: Instant,
    listeners: [Mutex<Recent>; Listener::NAMES.len()],
}

impl Busiest {
    pub(super) fn new() -> Self {
        Busiest {
            since: Instant::now(),
            listeners: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// A client came.
    pub(super) fn came(&self, listener: Listener, client: IpAddr) {
        let window = self.window();
        if let Some(recent) = self.listeners.get(listener.index()) {
            recent.lock().came(client, window);
        }
    }

    /// The share of the busiest private address, by listener.
    pub(super) fn ratios(&self) -> [f64; Listener::NAMES.len()] {
        let window = self.window();
        std::array::from_fn(|place| {
            let recent = self.listeners.get(place);
            recent.map_or(0.0, |recent| recent.lock().ratio(window))
        })
    }

    /// The number of the window that is filled now.
    fn window(&self) -> u64 {
        self.since.elapsed().as_secs() / WINDOW.as_secs()
    }
}

/// The windows of one listener, each in the place of its number.
#[derive(Debug, Default)]
struct Recent {
    newest: u64,
    windows: [Window; WINDOWS],
}

#[derive(Debug, Default)]
struct Window {
    all: u64,
    /// Misra and Gries: who is more than 1/65 of all is among them, with a count that is too low by less than that.
    private: Vec<(IpAddr, u64)>,
}

impl Recent {
    fn came(&mut self, client: IpAddr, window: u64) {
        self.advance(window);
        let place = place(self.newest);
        if let Some(window) = self.windows.get_mut(place) {
            window.came(client.to_canonical());
        }
    }

    fn ratio(&mut self, window: u64) -> f64 {
        self.advance(window);
        let all: u64 = self.windows.iter().map(|window| window.all).sum();
        if all < FEWEST {
            return 0.0;
        }
        let mut counts: HashMap<IpAddr, u64> = HashMap::new();
        for (client, count) in self.windows.iter().flat_map(|window| &window.private) {
            *counts.entry(*client).or_default() += count;
        }
        counts.into_values().max().unwrap_or(0) as f64 / all as f64
    }

    /// Forgets what is too long ago.
    fn advance(&mut self, window: u64) {
        let first = self.newest + 1;
        for number in first.max(window.saturating_sub(WINDOWS as u64 - 1))..=window {
            if let Some(old) = self.windows.get_mut(place(number)) {
                *old = Window::default();
            }
        }
        // Two threads may come with numbers out of order.
        self.newest = self.newest.max(window);
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number % WINDOWS as u64).unwrap_or(0)
}

impl Window {
    fn came(&mut self, client: IpAddr) {
        self.all += 1;
        if !is_private(client) {
            return;
        }
        if let Some((_, count)) = self.private.iter_mut().find(|(known, _)| *known == client) {
            *count += 1;
        } else if self.private.len() < SLOTS {
            self.private.push((client, 1));
        } else {
            self.private.iter_mut().for_each(|(_, count)| *count -= 1);
            self.private.retain(|(_, count)| *count > 0);
        }
    }
}

/// Whether an address is one that clients in the Internet do not have, and not this machine's own: RFC 1918, RFC 6598, RFC 4193 and
/// link-local ones.
fn is_private(client: IpAddr) -> bool {
    match client {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            v4.is_private() || v4.is_link_local() || (first == 100 && second & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn many(recent: &mut Recent, client: &str, times: u64, window: u64) {
        (0..times).for_each(|_| recent.came(ip(client), window));
    }

    #[test]
    fn private_is_what_the_internet_does_not_route() {
        for private in [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.9.9",
            "100.64.0.1",
            "100.127.0.1",
            "169.254.1.1",
            "fd00::1",
            "fc00::1",
            "fe80::1",
        ] {
            assert!(is_private(ip(private)), "{private}");
        }
        for other in [
            "127.0.0.1",
            "::1",
            "192.0.2.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "11.0.0.1",
            "2001:db8::1",
            "ff02::1",
            "0.0.0.0",
        ] {
            assert!(!is_private(ip(other)), "{other}");
        }
    }

    #[test]
    fn the_busiest_is_a_share_of_all() {
        let mut recent = Recent::default();
        many(&mut recent, "10.0.0.1", 50, 0);
        many(&mut recent, "::ffff:10.0.0.1", 10, 0);
        many(&mut recent, "10.0.0.2", 19, 0);
        many(&mut recent, "192.0.2.1", 20, 0);
        assert_eq!(recent.ratio(0), 0.0, "99 are too few");
        many(&mut recent, "127.0.0.1", 21, 0);
        assert_eq!(recent.ratio(0), 0.5);
        let mut recent = Recent::default();
        many(&mut recent, "127.0.0.1", 500, 0);
        many(&mut recent, "192.0.2.1", 500, 0);
        assert_eq!(recent.ratio(0), 0.0, "neither is private");
    }

    #[test]
    fn ten_minutes_are_remembered() {
        let mut recent = Recent::default();
        many(&mut recent, "10.0.0.1", 100, 3);
        many(&mut recent, "192.0.2.1", 300, 12);
        assert_eq!(recent.ratio(12), 0.25);
        assert_eq!(recent.ratio(13), 0.0, "the fourth minute is forgotten");
        assert_eq!(recent.windows.iter().map(|window| window.all).sum::<u64>(), 300);
        // Neither a long silence nor one that comes late spoils it.
        many(&mut recent, "10.0.0.1", 100, 1_000_000_007);
        many(&mut recent, "10.0.0.1", 100, 1_000_000_006);
        assert_eq!(recent.ratio(1_000_000_007), 1.0);
        assert_eq!(recent.ratio(1_000_000_016), 1.0);
        assert_eq!(recent.ratio(1_000_000_017), 0.0);
    }

    #[test]
    fn many_addresses_neither_take_memory_nor_hide_the_busiest() {
        let mut recent = Recent::default();
        for one in 0..10_000u32 {
            recent.came(Ipv4Addr::from_bits(0x0a00_0000 + one).into(), 5);
            recent.came(ip("192.168.0.1"), 5);
        }
        assert!(recent.windows.iter().all(|window| window.private.len() <= SLOTS));
        let ratio = recent.ratio(5);
        assert!((0.5 - 1.0 / 64.0..=0.5).contains(&ratio), "{ratio}");
    }

    #[test]
    fn listeners_are_told_apart() {
        let busiest = Busiest::new();
        (0..100).for_each(|_| busiest.came(Listener::Smtps, ip("10.0.0.1")));
        assert_eq!(busiest.ratios(), [0.0, 1.0, 0.0]);
    }
}
