//! How operators look at all mail at once: recipients by domain and age.

use crate::limits;
use std::cmp::Reverse;
use std::collections::HashMap;

/// By what the mail in a [`Shape`] is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShapeBy {
    /// Domains of recipients.
    Recipient,
    /// Domains of senders; the null sender's is empty.
    Sender,
}

/// Recipients in the queue by domain and by age.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// All of them.
    pub total: Ages,
    /// Those of each domain, most first. At most 10,000 domains are told apart.
    pub domains: Vec<(String, Ages)>,
}

/// A shape that is being counted.
#[derive(Default)]
pub(crate) struct Shaping {
    total: Ages,
    domains: HashMap<String, Ages>,
}

impl Shaping {
    /// So many recipients more, at a place among [`Ages`]. Those of a domain that cannot be read are in the total only.
    pub(crate) fn count(&mut self, domain: Option<&str>, place: usize, recipients: u64) {
        add(&mut self.total, place, recipients);
        let Some(domain) = domain else { return };
        if let Some(ages) = self.domains.get_mut(domain) {
            add(ages, place, recipients);
        } else if self.domains.len() < limits::SHAPED {
            add(
                self.domains.entry(domain.to_owned()).or_default(),
                place,
                recipients,
            );
        }
    }

    /// The shape.
    pub(crate) fn done(self) -> Shape {
        let mut domains: Vec<_> = self.domains.into_iter().collect();
        domains.sort_by_cached_key(|(name, ages)| (Reverse(ages.iter().sum::<u64>()), name.clone()));
        Shape {
            total: self.total,
            domains,
        }
    }
}

fn add(ages: &mut Ages, place: usize, recipients: u64) {
    if let Some(ages) = ages.get_mut(place) {
        *ages += recipients;
    }
}

/// Counts by age: the place of one is that of the first of [`AGES`] that it is younger than, and behind all of them the oldest.
pub type Ages = [u64; AGES.len() + 1];

/// Bounds of ages, in minutes.
pub const AGES: [u32; 9] = [5, 10, 20, 40, 80, 160, 320, 640, 1280];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_tells_so_many_domains_apart() {
        let mut shaping = Shaping::default();
        for number in 0..=limits::SHAPED {
            shaping.count(Some(&format!("d{number:05}.example")), 0, 1);
        }
        shaping.count(Some("d00007.example"), 2, 5);
        shaping.count(None, 1, 3);
        shaping.count(None, AGES.len() + 1, 1);
        let shape = shaping.done();
        assert_eq!(shape.total[..3], [10_001, 3, 5]);
        assert_eq!(shape.domains.len(), 10_000, "one more is in the total only");
        let names = shape.domains.iter().map(|(name, _)| name.as_str());
        let first: Vec<&str> = names.take(2).collect();
        assert_eq!(first, ["d00007.example", "d00000.example"]);
    }
}
