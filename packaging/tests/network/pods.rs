//! Clients of pods.

use blackbox::wire::Wire;
use packaging::net::cluster::Host;
use std::net::{IpAddr, SocketAddr};

/// Connects from a host and says EHLO.
pub(crate) fn hello(from: &Host, to: IpAddr, port: u16) -> Wire {
    let address = SocketAddr::new(to, port);
    from.space.inside(|| Wire::hello(address))
}

/// Whether a client of this connection may send to a foreign domain: the reply's code to such a recipient.
pub(crate) fn relaying(client: &mut Wire) -> u16 {
    client.expect("MAIL FROM:<a@x.test>", 250);
    let code = client.say("RCPT TO:<b@foreign.test>").code;
    client.expect("RCPT TO:<c@here.test>", 250);
    client.expect("RSET", 250);
    code
}
