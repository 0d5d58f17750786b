//! The real server in a pod's network namespace, and next hops in others.

use super::cluster::Host;
use blackbox::server::{Server, Setup};
use blackbox::sink::{Act, Moment, Sink};

/// A server with the ports that containers have.
pub fn setup(config: &str) -> Setup {
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
pub fn start(host: &Host, setup: Setup) -> Server {
    host.space.inside(|| setup.start())
}

/// A next hop on a host's port.
pub fn sink(host: &Host, port: u16) -> Sink {
    let address = format!("[::]:{port}");
    let honest = |_: usize, _: &Moment| Act::Default;
    host.space
        .inside(|| Sink::on(&address, &["PIPELINING", "8BITMIME", "SMTPUTF8"], honest))
}
