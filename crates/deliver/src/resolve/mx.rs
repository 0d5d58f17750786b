//! Which mail exchangers of a domain are tried, and in which order. No I/O.

use super::Own;
use rand::seq::SliceRandom;
use smtp::{Enhanced, Reply};

/// Most hosts tried for one domain.
pub(super) const MOST_HOSTS: usize = 20;

/// One mail exchanger: a lower-case name without final dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    /// Lower is better.
    pub preference: u16,
    pub name: String,
}

/// The usable exchangers of `records` by preference, equal ones in random order (RFC 5321 5.1).
/// The error is permanent: a null MX (RFC 7505), or nothing but names that cannot be hosts.
pub(super) fn exchanges(domain: &str, records: Vec<Exchange>) -> Result<Vec<Exchange>, Reply> {
    if let [only] = records.as_slice()
        && only.name.is_empty()
    {
        return Err(Reply::with(
            556,
            Enhanced(5, 1, 10),
            format!("{domain} does not accept mail (null MX)"),
        ));
    }
    let mut usable: Vec<Exchange> = records
        .into_iter()
        .filter(|record| is_host_name(&record.name))
        .collect();
    if usable.is_empty() {
        return Err(Reply::with(
            550,
            Enhanced(5, 4, 4),
            format!("no host for mail to {domain}: its MX records name no valid host"),
        ));
    }
    usable.shuffle(&mut rand::rng());
    usable.sort_by_key(|exchange| exchange.preference);
    let mut names = std::collections::HashSet::new();
    usable.retain(|exchange| names.insert(exchange.name.clone()));
    Ok(usable)
}

/// The exchangers that are preferred to ourselves (RFC 5321 5.1), at most [`MOST_HOSTS`].
pub(super) fn before_ourselves(
    domain: &str,
    mut exchanges: Vec<Exchange>,
    own: &Own,
) -> Result<Vec<Exchange>, Reply> {
    let ours = exchanges
        .iter()
        .find(|exchange| own.is_name(&exchange.name))
        .map(|exchange| exchange.preference);
    if let Some(ours) = ours {
        exchanges.retain(|exchange| exchange.preference < ours);
    }
    if exchanges.is_empty() {
        return Err(loops_back(domain));
    }
    exchanges.truncate(MOST_HOSTS);
    Ok(exchanges)
}

/// What mail is bounced with that DNS sends to ourselves though the domain is not ours.
pub(super) fn loops_back(domain: &str) -> Reply {
    Reply::with(
        554,
        Enhanced(5, 4, 6),
        format!(
            "mail for {domain} loops back to myself: DNS names this server, but the domain is not configured here"
        ),
    )
}

/// Whether a name can be a host: labels of letters, digits, `-` and `_`, and no IP address.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
    };
    let all_numeric = || {
        name.split('.')
            .all(|label| label.bytes().all(|octet| octet.is_ascii_digit()))
    };
    name.split('.').all(is_label) && !all_numeric()
}
