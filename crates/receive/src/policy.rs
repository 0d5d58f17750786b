//! Who may send what to whom: the relay rule, pure and derived once from each configuration.
//!
//! Promises: never an open relay. A client outside `relay.networks` reaches local domains only, whatever the address looks
//! like: the domain after the last unquoted `@` decides, and a local part is never read as an address. Loopback is no exception.

use crate::rate_limit::is_within;
use smtp::session::{AuthOffer, Settings, Tls};
use smtp::{Address, Enhanced, Reply};
use smtp_config::Config;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

/// A configuration, and what reception derives from it.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) config: Arc<Config>,
    /// What sessions advertise and enforce.
    pub(crate) settings: Arc<Settings>,
    local_domains: HashSet<String>,
    /// Who gets mail for `postmaster` and `postmaster@` our own name (RFC 5321 4.5.1).
    postmaster: Option<Address>,
}

impl Policy {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        let local_domains: HashSet<String> =
            config.domains.iter().map(|domain| key_of(&domain.name)).collect();
        let postmaster = config
            .domains
            .first()
            .filter(|_| !local_domains.contains(&key_of(&config.server.hostname)))
            .and_then(|domain| Address::parse(&format!("postmaster@{}", domain.name)).ok());
        Policy {
            settings: Arc::new(settings(&config)),
            local_domains,
            postmaster,
            config,
        }
    }

    /// Accepts a recipient, as the address that mail is queued for, or says why not.
    pub(crate) fn recipient(&self, client: IpAddr, recipient: Address) -> Result<Address, (Address, Reply)> {
        if self.is_local(recipient.domain()) {
            return Ok(recipient);
        }
        if let Some(postmaster) = self
            .postmaster
            .as_ref()
            .filter(|_| self.is_our_postmaster(&recipient))
        {
            return Ok(postmaster.clone());
        }
        if self.config.delivery.capture || self.may_relay(client) {
            return Ok(recipient);
        }
        let text = format!("<{}>: Relay access denied", recipient.as_str());
        Err((recipient, Reply::with(554, Enhanced(5, 7, 1), text)))
    }

    fn may_relay(&self, client: IpAddr) -> bool {
        is_within(&self.config.relay.networks, client.to_canonical())
    }

    fn is_local(&self, domain: &str) -> bool {
        self.local_domains.contains(domain) || self.local_domains.contains(&key_of(domain))
    }

    fn is_our_postmaster(&self, recipient: &Address) -> bool {
        recipient.local().eq_ignore_ascii_case("postmaster")
            && recipient
                .domain()
                .eq_ignore_ascii_case(&self.config.server.hostname)
    }
}

/// What domains are compared by: A-labels (RFC 5890) in lower case, as delivery compares them. What is no domain
/// name stays as it is.
fn key_of(domain: &str) -> String {
    if domain.is_ascii() {
        return domain.to_ascii_lowercase();
    }
    idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_owned())
}

fn settings(config: &Config) -> Settings {
    Settings {
        hostname: config.server.hostname.clone(),
        banner: config.server.banner.clone(),
        max_message_size: config.limits.max_message_size,
        max_recipients: config.limits.max_recipients,
        max_line_length: config.limits.max_line_length,
        refuse_unauthorized_pipelining: config.limits.refuse_unauthorized_pipelining,
        tls: Tls::Absent,
        auth: AuthOffer::Absent,
        auth_required: false,
    }
}

#[cfg(test)]
mod tests;
