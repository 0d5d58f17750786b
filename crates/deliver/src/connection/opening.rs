//! How a connection begins: TCP, TLS at once or by STARTTLS, the greeting, EHLO or LHLO, AUTH.
//!
//! Promises: what was said in clear is forgotten once TLS is up; what a server says together with its go-ahead for
//! TLS ends the connection; nothing goes in clear where the policy does not allow it.

use super::login::log_in;
use super::wire::{Stream, Wire};
use super::{Announce, Failure, Settings};
use crate::resolve::Endpoint;
use smtp::client::ClientStep;
use smtp::{Enhanced, Reply};
use smtp_config::{HopProtocol, TlsPolicy};
use smtp_observe::Phases;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Goes as far as a transaction can begin; tells how long each phase took.
pub(super) async fn open(
    endpoint: &Endpoint,
    settings: &Settings<'_>,
    relay: &str,
) -> Result<(Wire, Phases), Failure> {
    let (mut phases, mut lap) = (Phases::default(), Lap::start());
    let stream = connect(endpoint, relay, settings).await?;
    let mut wire = Wire::new(Stream::Plain(stream), relay, settings);
    if settings.protocol == HopProtocol::Smtps {
        phases.connect = lap.time();
        wire = encrypt(wire, endpoint, settings).await?;
        phases.tls = lap.time();
    }
    wire.ready().await?;
    phases.connect += lap.time();
    if settings.protocol != HopProtocol::Smtps && settings.policy != TlsPolicy::None {
        wire = start_tls(wire, endpoint, settings, relay).await?;
        phases.tls = lap.time();
    }
    if let Some(login) = settings.login {
        log_in(&mut wire, login, endpoint.address.ip().is_loopback()).await?;
        phases.login = lap.time();
    }
    Ok((wire, phases))
}

/// A clock that is read at the end of each phase.
pub(super) struct Lap(Instant);

impl Lap {
    pub(super) fn start() -> Lap {
        Lap(Instant::now())
    }

    /// The time since it was read last.
    pub(super) fn time(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.0, now)
    }
}

async fn connect(endpoint: &Endpoint, relay: &str, settings: &Settings<'_>) -> Result<TcpStream, Failure> {
    let limit = settings.connect_timeout;
    let connecting = async {
        match settings.announce {
            None => TcpStream::connect(endpoint.address).await,
            Some(announce) => connect_announced(endpoint.address, announce).await,
        }
    };
    let why = match timeout(limit, connecting).await {
        Ok(Ok(stream)) => {
            // Without it a small message would wait for an acknowledgement; a failure only costs time.
            let _ = stream.set_nodelay(true);
            return Ok(stream);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("timed out after {} s", limit.as_secs_f32()),
    };
    Err(Failure::Connection(Reply::with(
        451,
        Enhanced(4, 4, 1),
        format!("connect to {relay}: {why}"),
    )))
}

/// From the address that is connected to, which is this machine's.
async fn connect_announced(address: SocketAddr, announce: &dyn Announce) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.bind(SocketAddr::new(address.ip(), 0))?;
    announce.announce(socket.local_addr()?);
    socket.connect(address).await
}

async fn encrypt(wire: Wire, endpoint: &Endpoint, settings: &Settings<'_>) -> Result<Wire, Failure> {
    let verify = settings.policy == TlsPolicy::Verified;
    wire.secure(settings.tls, &endpoint.name, verify).await
}

/// STARTTLS and EHLO again, if the server offers it.
async fn start_tls(
    mut wire: Wire,
    endpoint: &Endpoint,
    settings: &Settings<'_>,
    relay: &str,
) -> Result<Wire, Failure> {
    let optional = settings.policy == TlsPolicy::Opportunistic;
    let not_offered = |what: &str| {
        let text = format!("TLS is required, but {relay} {what}");
        Failure::Connection(Reply::with(451, Enhanced(4, 7, 4), text))
    };
    if !wire.client.capabilities().starttls {
        return if optional {
            Ok(wire)
        } else {
            Err(not_offered("does not offer it"))
        };
    }
    wire.client.start_tls();
    match wire.advance().await? {
        ClientStep::StartTls => {}
        ClientStep::TlsRefused(_) if optional => return Ok(wire),
        ClientStep::TlsRefused(reply) => {
            return Err(not_offered(&format!(
                "refused STARTTLS: {} {}",
                reply.code, reply.text
            )));
        }
        ClientStep::Refused { reply, .. } => return Err(Failure::Connection(reply)),
        other => return Err(wire.unexpected(&other)),
    }
    let mut wire = encrypt(wire, endpoint, settings).await?;
    wire.client.tls_started();
    match wire.ready().await {
        // A server that breaks off right after the handshake did not like it.
        Err(Failure::Connection(reply)) if optional && reply.is_transient() => Err(Failure::Tls(reply)),
        Err(failure) => Err(failure),
        Ok(()) => Ok(wire),
    }
}
