//! Bytes and time: a stream, the protocol's client, and what came in but is not used yet.

use super::pace::{ContentLimits, Pace};
use super::{Failure, Settings};
use crate::tls::{Tls, describe, exporter};
use bytes::BytesMut;
use smtp::client::{Client, ClientError, ClientStep, Phase};
use smtp::{Enhanced, Reply};
use smtp_config::HopProtocol;
use smtp_sasl::Channel;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::client::TlsStream;

/// Octets read at once.
const READ: usize = 4096;

/// A connection in clear or secured.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    async fn read(&mut self, input: &mut BytesMut) -> io::Result<usize> {
        input.reserve(READ);
        match self {
            Stream::Plain(stream) => stream.read_buf(input).await,
            Stream::Tls(stream) => stream.read_buf(input).await,
        }
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.write_all(bytes).await,
            Stream::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }
}

/// The client with its stream.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) client: Client,
    stream: Stream,
    input: BytesMut,
    relay: String,
    final_timeout: Duration,
    content: ContentLimits,
    moves: Arc<AtomicU64>,
}

impl Wire {
    pub(super) fn new(stream: Stream, relay: &str, settings: &Settings<'_>) -> Self {
        Wire {
            client: Client::new(settings.hostname, settings.protocol == HopProtocol::Lmtp),
            stream,
            input: BytesMut::new(),
            relay: relay.to_owned(),
            final_timeout: settings.final_timeout,
            content: settings.content,
            moves: settings.moves.clone(),
        }
    }

    /// Goes on until the server answered EHLO.
    pub(super) async fn ready(&mut self) -> Result<(), Failure> {
        match self.advance().await? {
            ClientStep::Ready => Ok(()),
            ClientStep::Refused { phase, reply } => Err(Failure::Connection(self.refused(phase, reply))),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Writes and reads until there is something else to do.
    pub(super) async fn advance(&mut self) -> Result<ClientStep, Failure> {
        let mut waiting: Option<(Phase, Instant)> = None;
        loop {
            let step = self
                .client
                .step(&mut self.input)
                .map_err(|error| self.broken(&error))?;
            if !matches!(step, ClientStep::Read) {
                return Ok(step);
            }
            self.write_output().await?;
            let phase = self.client.phase();
            let deadline = match waiting {
                Some((same, deadline)) if same == phase => deadline,
                _ => Instant::now() + self.limit(phase),
            };
            waiting = Some((phase, deadline));
            match timeout_at(deadline, self.stream.read(&mut self.input)).await {
                Ok(Ok(0)) => return Err(self.lost(phase, None)),
                Ok(Ok(_)) => self.moved(),
                Ok(Err(error)) => return Err(self.lost(phase, Some(&error))),
                Err(_) => return Err(self.timed_out(phase)),
            }
        }
    }

    /// The time for a message whose content begins now.
    pub(super) fn pace(&self) -> Pace {
        Pace::new(self.content, Instant::now())
    }

    /// Writes a block of content and empties it.
    pub(super) async fn write_block(&mut self, block: &mut Vec<u8>, pace: &mut Pace) -> Result<(), Failure> {
        let written = timeout_at(pace.deadline(), self.stream.write_all(block)).await;
        pace.taken(block.len(), Instant::now());
        block.clear();
        match written {
            Ok(Ok(())) => {
                self.moved();
                Ok(())
            }
            Ok(Err(error)) => Err(self.lost(Phase::Content, Some(&error))),
            Err(_) => Err(self.too_slow()),
        }
    }

    fn moved(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// Wraps the stream in TLS. What the server said before its handshake is forgotten.
    pub(super) async fn secure(mut self, tls: &Tls, name: &str, verify: bool) -> Result<Self, Failure> {
        let failed = |relay: &str, why: String| {
            let text = format!("TLS handshake with {relay}: {why}");
            Failure::Tls(Reply::with(451, Enhanced(4, 7, 5), text))
        };
        let Stream::Plain(stream) = self.stream else {
            return Err(failed(&self.relay, "it is up already".to_owned()));
        };
        let handshake = timeout(Phase::StartTls.timeout(), tls.connect(name, verify, stream)).await;
        let stream = match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(why)) => return Err(failed(&self.relay, why)),
            Err(_) => return Err(failed(&self.relay, "timed out".to_owned())),
        };
        self.input.clear();
        self.stream = Stream::Tls(Box::new(stream));
        Ok(self)
    }

    /// Copies both ways until the server closes. The client's end of input is passed on to the server.
    pub(super) async fn carry(
        self,
        input: impl AsyncRead + Unpin,
        output: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        match self.stream {
            Stream::Plain(stream) => both_ways(stream, input, output).await,
            Stream::Tls(stream) => both_ways(*stream, input, output).await,
        }
    }

    /// Version and cipher, under TLS.
    pub(super) fn describe(&self) -> Option<String> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => Some(describe(stream)),
        }
    }

    /// The connection as SASL knows it.
    pub(super) fn channel(&self) -> Channel {
        match &self.stream {
            Stream::Plain(_) => Channel::Clear,
            Stream::Tls(stream) => Channel::Tls {
                exporter: exporter(stream),
                client_certificate: false,
            },
        }
    }

    /// The client asked for something that does not fit here.
    pub(super) fn unexpected(&self, step: &ClientStep) -> Failure {
        self.protocol_error(format!("out of step ({step:?})"))
    }

    async fn write_output(&mut self) -> Result<(), Failure> {
        if self.client.output().is_empty() {
            return Ok(());
        }
        let mut output = std::mem::take(self.client.output());
        let phase = self.client.phase();
        let written = timeout(self.limit(phase), self.stream.write_all(&output)).await;
        output.clear();
        *self.client.output() = output;
        match written {
            // What the server said before it hung up is worth more than the write's error.
            Ok(Ok(()) | Err(_)) => Ok(()),
            Err(_) => Err(self.timed_out(phase)),
        }
    }

    fn limit(&self, phase: Phase) -> Duration {
        if phase == Phase::Final {
            self.final_timeout
        } else {
            phase.timeout()
        }
    }

    fn refused(&self, phase: Phase, reply: Reply) -> Reply {
        let text = format!(
            "host {} refused us at {}: {}",
            self.relay,
            phase.name(),
            reply.text
        );
        Reply {
            code: reply.code,
            enhanced: reply.enhanced,
            text: text.into(),
        }
    }

    fn lost(&self, phase: Phase, error: Option<&io::Error>) -> Failure {
        let why = error.map(|error| format!(" ({error})")).unwrap_or_default();
        let text = format!("lost connection with {} at {}{why}", self.relay, phase.name());
        Failure::Connection(Reply::with(451, Enhanced(4, 4, 2), text))
    }

    pub(super) fn timed_out(&self, phase: Phase) -> Failure {
        let text = format!("{} did not answer in time at {}", self.relay, phase.name());
        Failure::Connection(Reply::with(451, Enhanced(4, 4, 2), text))
    }

    fn too_slow(&self) -> Failure {
        let ContentLimits {
            block_timeout,
            min_rate,
        } = self.content;
        let text = format!(
            "{} takes content too slowly: nothing for {} s, or less than {min_rate} octets/s",
            self.relay,
            block_timeout.as_secs_f32()
        );
        Failure::Connection(Reply::with(451, Enhanced(4, 4, 2), text))
    }

    fn broken(&self, error: &ClientError) -> Failure {
        self.protocol_error(match error {
            ClientError::Malformed(line) => {
                format!("not a reply: {}", line.chars().take(200).collect::<String>())
            }
            ClientError::TooLong => "a reply that is too long".to_owned(),
            ClientError::Challenge => "a challenge of AUTH that is not base64".to_owned(),
            ClientError::Unexpected(reply) => format!("a reply out of turn: {} {}", reply.code, reply.text),
        })
    }

    fn protocol_error(&self, what: String) -> Failure {
        let text = format!("protocol error of {}: {what}", self.relay);
        Failure::Connection(Reply::with(451, Enhanced(4, 5, 0), text))
    }
}

async fn both_ways(
    server: impl AsyncRead + AsyncWrite,
    mut input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let (mut from_server, mut to_server) = split(server);
    let up = async {
        copy(&mut input, &mut to_server).await?;
        to_server.shutdown().await
    };
    let down = async {
        let copied = copy(&mut from_server, &mut output).await;
        output.flush().await?;
        copied
    };
    tokio::pin!(down);
    tokio::select! {
        copied = &mut down => return copied.map(drop),
        sent = up => sent?,
    }
    down.await.map(drop)
}
