//! The real server in a pod's network namespace.

use blackbox::server::{Server, Setup};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::wire::Wire;
use packaging::net::cluster::Host;
use std::net::{IpAddr, SocketAddr};

/// A server with the ports that containers have.
pub(crate) fn setup(config: &str) -> Setup {
    Setup::new(config)
        .env("SMTP_RATE_LIMITING__ENABLED", "false")
        .env("SMTP_HOST", "::")
        .env("SMTP_PORT", "2525")
        .env("SMTP_SMTPS_PORT", "4650")
        .env("SMTP_SUBMISSION_PORT", "5870")
        .env("SMTP_HTTP_PORT", "8080")
        .env("SMTP_LOG_LEVEL", "debug")
}

/// Starts it in a pod.
pub(crate) fn start(host: &Host, setup: Setup) -> Server {
    host.space.inside(|| setup.start())
}

/// A next hop on a host's port.
pub(crate) fn sink(host: &Host, port: u16) -> Sink {
    let address = format!("[::]:{port}");
    let honest = |_: usize, _: &Moment| Act::Default;
    host.space
        .inside(|| Sink::on(&address, &["PIPELINING", "8BITMIME", "SMTPUTF8"], honest))
}

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
