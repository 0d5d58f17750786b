//! Who may send what to whom: the relay rule, pure and derived once from each configuration.
//!
//! Promises: never an open relay. A client outside `relay.networks` that did not authenticate reaches local domains only, whatever the
//! address looks like: the domain after the last unquoted `@` decides, and a local part is never read as an address. Nor may a next hop
//! read one: what it could take for a route (`x%y@z`, `y!x@z`) goes to none. Loopback is no exception. The address of a proxy is in no
//! network that may relay.

use crate::auth::offer;
use crate::listener::Kind;
use crate::rate_limit::{is_within, limited};
use smtp::session::{AuthOffer, Settings, Tls};
use smtp::{Address, Enhanced, Reply};
use smtp_config::{Config, LocalDelivery};
use smtp_directory::{Resolution, Snapshot};
use smtp_observe::{Listener, RejectReason};
use smtp_queue::Giver;
use smtp_sasl::{Channel, TlsExporter};
use std::net::IpAddr;
use std::sync::Arc;

/// A configuration, and what reception derives from it.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) config: Arc<Config>,
    /// What sessions advertise and enforce: on each listener, for each kind of connection.
    settings: Vec<[Arc<Settings>; CHANNELS]>,
}

/// Kinds of connections: in clear, and under TLS with or without an exporter and a certificate.
const CHANNELS: usize = 5;

/// Where a client is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) address: IpAddr,
    /// The address is a proxy's, and stands for anybody who comes through it: it gives no right.
    pub(crate) is_proxy: bool,
}

/// What becomes of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// Mail for it is queued for these, at least one.
    Accepted(Vec<Address>),
    /// The next hop is to be asked.
    Asked(Address),
    Refused(Reply, RejectReason),
}

impl Policy {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        let channels = std::array::from_fn::<Channel, CHANNELS, _>(channel);
        Policy {
            settings: Listener::ALL
                .iter()
                .map(|&listener| {
                    let settings = |channel| Arc::new(settings(&config, listener, channel));
                    channels.each_ref().map(settings)
                })
                .collect(),
            config,
        }
    }

    /// What a session on `listener` advertises and enforces on a connection of this kind.
    pub(crate) fn settings(&self, listener: Listener, channel: &Channel) -> Arc<Settings> {
        let place = Listener::ALL.iter().position(|one| *one == listener);
        let of_it = place.and_then(|place| self.settings.get(place)?.get(kind(channel)));
        // Every listener is in the list, and every kind.
        of_it.map_or_else(|| Arc::new(settings(&self.config, listener, channel)), Arc::clone)
    }

    /// Says what becomes of a recipient that a client names. `authenticated` clients may relay.
    pub(crate) fn recipient(
        &self,
        directory: &Snapshot,
        client: Origin,
        authenticated: bool,
        recipient: &Address,
    ) -> Recipient {
        let resolution = directory.recipient(recipient);
        let everything = self.config.delivery.capture;
        let may_relay = authenticated || self.is_trusted(client);
        let refused = |code, enhanced, text, reason| {
            let text = format!("<{}>: {text}", recipient.as_str());
            Recipient::Refused(Reply::with(code, enhanced, text), reason)
        };
        match resolution {
            _ if !may_relay && !everything && is_route_for_a_hop(directory, recipient, &resolution) => {
                refused(
                    554,
                    Enhanced(5, 7, 1),
                    "Relay access denied: no routes in addresses",
                    RejectReason::RelayDenied,
                )
            }
            Resolution::Local(addresses) => Recipient::Accepted(addresses),
            _ if everything => Recipient::Accepted(vec![recipient.clone()]),
            Resolution::NotLocal if may_relay => Recipient::Accepted(vec![recipient.clone()]),
            Resolution::NotLocal => refused(
                554,
                Enhanced(5, 7, 1),
                "Relay access denied",
                RejectReason::RelayDenied,
            ),
            Resolution::Verify(address) => Recipient::Asked(address),
            Resolution::Unknown => refused(
                550,
                Enhanced(5, 1, 1),
                "User unknown",
                RejectReason::UnknownRecipient,
            ),
            Resolution::Trouble(_) => refused(
                451,
                Enhanced(4, 3, 5),
                "Cannot be resolved now, try again later",
                RejectReason::Unresolvable,
            ),
        }
    }

    /// Whose share of the room for large messages a client's are counted in; nobody's, if it is exempt from limits. A client that may relay is not
    /// for that alone: one program of a cluster must not keep the others' mail out.
    pub(crate) fn giver(&self, client: IpAddr) -> Option<Giver> {
        limited(&self.config.rate_limiting, client).map(Giver)
    }

    /// Whether a client may relay without AUTH.
    pub(crate) fn is_trusted(&self, client: Origin) -> bool {
        !client.is_proxy && is_within(&self.config.relay.networks, client.address.to_canonical())
    }
}

/// Whether a next hop, which trusts us, would see an address that old servers take for a route to somewhere else (RFC 5321 appendix F.2
/// speaks of them). One that an account is named like is no route.
fn is_route_for_a_hop(directory: &Snapshot, recipient: &Address, resolution: &Resolution) -> bool {
    let kept = match resolution {
        Resolution::Local(addresses) => addresses.contains(recipient),
        Resolution::Verify(_) => true,
        Resolution::NotLocal | Resolution::Unknown | Resolution::Trouble(_) => false,
    };
    let goes_on = || {
        let domain = directory.domain(recipient.domain());
        domain.is_some_and(|domain| matches!(domain.deliver, LocalDelivery::Hop(_)))
    };
    kept && recipient.local().contains(['%', '!', '@'])
        && directory.account(recipient.as_str()).is_none()
        && goes_on()
}

/// The place of a connection's kind.
fn kind(channel: &Channel) -> usize {
    match channel {
        Channel::Clear => 0,
        Channel::Tls {
            exporter,
            client_certificate,
        } => 1 + usize::from(exporter.is_some()) + 2 * usize::from(*client_certificate),
    }
}

/// A connection of the kind at this place.
fn channel(kind: usize) -> Channel {
    match kind.checked_sub(1) {
        None => Channel::Clear,
        Some(bits) => Channel::Tls {
            exporter: (bits & 1 != 0).then_some(TlsExporter([0; 32])),
            client_certificate: bits & 2 != 0,
        },
    }
}

fn settings(config: &Config, listener: Listener, channel: &Channel) -> Settings {
    let in_clear = matches!(channel, Channel::Clear);
    let mechanisms = offer(channel, config);
    Settings {
        hostname: config.server.hostname.clone(),
        banner: config.server.banner.clone(),
        max_message_size: config.limits.max_message_size,
        max_recipients: config.limits.max_recipients,
        max_line_length: config.limits.max_line_length,
        refuse_unauthorized_pipelining: config.limits.refuse_unauthorized_pipelining,
        tls: match (in_clear, config.tls.enabled) {
            (false, _) => Tls::Active,
            (true, true) => Tls::Offered,
            (true, false) => Tls::Absent,
        },
        auth: match (in_clear, config.tls.enabled) {
            (false, _) => {
                AuthOffer::Mechanisms(mechanisms.mechanisms().iter().map(|one| one.name()).collect())
            }
            (true, true) => AuthOffer::UnderTls,
            (true, false) => AuthOffer::Absent,
        },
        auth_required: listener.is_submission(),
    }
}

#[cfg(test)]
mod tests;
