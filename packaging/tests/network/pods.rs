//! Clients of pods.

use blackbox::wire::Wire;
use packaging::net::cluster::Host;
use std::net::{IpAddr, SocketAddr};

/// Connects from a host and says EHLO.
pub(crate) fn hello(from: &Host, to: IpAddr, port: u16) -> Wire {
    let address = SocketAddr::new(to, port);
    from.space.inside(|| Wire::hello(address))
}

/// The trusted client may relay through the Service at this address, and a stranger may not: the pods see who they are.
pub(crate) fn assert_each_is_who_it_is(trusted: &Host, stranger: &Host, address: IpAddr) {
    for (client, code) in [(trusted, 250), (stranger, 554)] {
        let reply = relaying(&mut hello(client, address, 25));
        assert_eq!(reply, code, "{:?} at {address}", client.addresses);
    }
}

/// Whether a client of this connection may send to a foreign domain: the reply's code to such a recipient.
pub(crate) fn relaying(client: &mut Wire) -> u16 {
    client.expect("MAIL FROM:<a@x.test>", 250);
    let code = client.say("RCPT TO:<b@foreign.test>").code;
    client.expect("RCPT TO:<c@here.test>", 250);
    client.expect("RSET", 250);
    code
}
