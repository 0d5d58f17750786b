//! One client's connection: waits for it, reads from it and writes to it, each with a limit, and takes it into TLS.
//!
//! Promises: while it waits it holds no read buffer beyond what a client sent and the session has not used
//! yet; a client that does not read cannot hold it longer than the limit.

mod stream;

use crate::shared::{Phase, Shared};
use crate::tls::{Secured, Unsecured};
use bytes::BytesMut;
use rustls::ServerConfig;
use smtp_observe::TlsFailure;
use socket2::SockRef;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use stream::Stream;
use tokio::net::TcpStream;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

/// An output buffer up to this size is kept for the next reply.
const KEPT_OUTPUT: usize = 512;
/// Most time for the last words: a client that has gone does not hold its slot.
const LINGER: Duration = Duration::from_secs(1);
/// Most octets read and thrown away for the sake of the last words.
const LINGER_OCTETS: usize = 256 * 1024;

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// There is something to read, or the client closed.
    Readable,
    /// The limit passed.
    TimedOut,
    /// The server went on to this phase.
    Phase(Phase),
}

/// A connection, and what has been read from it.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    shared: Arc<Shared>,
    /// Read and not used yet.
    pub(crate) input: BytesMut,
    /// One timer for the life of the connection: moved only when it rings, or rings too late.
    timer: Pin<Box<Sleep>>,
    phase_changed: Pin<Box<OwnedNotified>>,
    phase: Phase,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, shared: Arc<Shared>) -> Self {
        Wire {
            stream: Stream::Plain(stream),
            input: BytesMut::new(),
            timer: Box::pin(sleep_until(Instant::now())),
            phase_changed: Box::pin(shared.phase_changed()),
            phase: Phase::Serving,
            shared,
        }
    }

    /// Whether the client has sent something already. Does not wait.
    pub(crate) fn has_input(&mut self) -> bool {
        match &mut self.stream {
            Stream::Plain(socket) => {
                let mut octet = [MaybeUninit::uninit()];
                SockRef::from(&*socket)
                    .peek(&mut octet)
                    .is_ok_and(|count| count > 0)
            }
            stream => stream
                .poll_readable(&mut Context::from_waker(Waker::noop()))
                .is_ready(),
        }
    }

    /// Does the handshake of TLS, as the server. What was read before is forgotten. The server's drain lets it go on; its
    /// end does not.
    pub(crate) async fn secure(
        &mut self,
        config: Arc<ServerConfig>,
        limit: Duration,
    ) -> Result<Secured, Unsecured> {
        self.input = BytesMut::new();
        let Stream::Plain(socket) = std::mem::replace(&mut self.stream, Stream::Closed) else {
            return Err(Unsecured::new(TlsFailure::Protocol, "TLS is up already"));
        };
        let mut accept = pin!(TlsAcceptor::from(config).accept(socket).into_fallible());
        let until = Instant::now() + limit;
        let outcome = poll_fn(|context| {
            if let Poll::Ready(outcome) = accept.as_mut().poll(context) {
                return Poll::Ready(Ok(outcome));
            }
            loop {
                match std::task::ready!(self.poll_others(context, until)) {
                    Wake::Phase(Phase::Closing) => {
                        let why = Unsecured::new(TlsFailure::Draining, "the server is stopping");
                        return Poll::Ready(Err(why));
                    }
                    Wake::TimedOut => {
                        let why = Unsecured::new(TlsFailure::Timeout, "the handshake took too long");
                        return Poll::Ready(Err(why));
                    }
                    Wake::Phase(_) | Wake::Readable => {}
                }
            }
        })
        .await?;
        match outcome {
            Ok(stream) => {
                let secured = Secured::of(stream.get_ref().1);
                self.stream = Stream::Tls(Box::new(stream));
                Ok(secured)
            }
            Err((error, socket)) => {
                self.stream = Stream::Plain(socket);
                Err(Unsecured::of(&error))
            }
        }
    }

    /// The server's life as this connection has heard of it.
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Waits for input, a change of phase, or the limit. Gives back what the read buffer does not need.
    pub(crate) async fn readable(&mut self, limit: Duration) -> Wake {
        self.shrink_input();
        let mut until = None;
        poll_fn(|context| {
            // A client that never pauses sees a change of phase too.
            if self.shared.phase() == self.phase && self.stream.poll_readable(context).is_ready() {
                return Poll::Ready(Wake::Readable);
            }
            self.poll_others(context, *until.get_or_insert_with(|| Instant::now() + limit))
        })
        .await
    }

    /// Waits for a change of phase or the limit, whatever the client sends.
    pub(crate) async fn rest(&mut self, limit: Duration) -> Wake {
        self.shrink_input();
        let until = Instant::now() + limit;
        poll_fn(|context| self.poll_others(context, until)).await
    }

    fn poll_others(&mut self, context: &mut Context<'_>, until: Instant) -> Poll<Wake> {
        while self.phase_changed.as_mut().poll(context).is_ready() {
            self.phase_changed.set(self.shared.phase_changed());
        }
        let phase = self.shared.phase();
        if phase != self.phase {
            self.phase = phase;
            return Poll::Ready(Wake::Phase(phase));
        }
        // A timer that rings too early is cheaper than one that is moved at each wait.
        if self.timer.deadline() > until {
            self.timer.as_mut().reset(until);
        }
        while self.timer.as_mut().poll(context).is_ready() {
            if Instant::now() >= until {
                return Poll::Ready(Wake::TimedOut);
            }
            self.timer.as_mut().reset(until);
        }
        Poll::Pending
    }

    /// Reads what is there, at most about `room` octets. `None` when nothing is, 0 when the client closed.
    pub(crate) async fn receive(&mut self, room: usize) -> io::Result<Option<usize>> {
        self.stream.receive(&mut self.input, room).await
    }

    /// Writes what the socket takes without asking tokio first, which does not know yet that a fresh socket is writable.
    pub(crate) fn send_first(&mut self, output: &mut Vec<u8>) {
        if let Stream::Plain(socket) = &self.stream
            && let Ok(count) = SockRef::from(socket).send(output)
        {
            output.drain(..count.min(output.len()));
        }
    }

    /// Writes all of `output` and empties it.
    pub(crate) async fn send(&mut self, output: &mut Vec<u8>, limit: Duration) -> io::Result<()> {
        let mut sent = 0;
        let at_once = poll_fn(|context| Poll::Ready(self.stream.poll_send(context, output, &mut sent))).await;
        match at_once {
            Poll::Ready(result) => result?,
            // Boxed: seldom needed, and then the session is not at rest.
            Poll::Pending => {
                let rest = poll_fn(|context| self.stream.poll_send(context, output, &mut sent));
                Box::pin(timeout(limit, rest)).await.map_err(io::Error::from)??;
            }
        }
        if output.capacity() > KEPT_OUTPUT {
            *output = Vec::new();
        } else {
            output.clear();
        }
        Ok(())
    }

    /// Closes so that the last words arrive: a socket closed with unread input takes back what it sent.
    pub(crate) async fn linger(mut self) {
        let shutdown = timeout(LINGER, poll_fn(|context| self.stream.poll_shutdown(context)));
        if !matches!(shutdown.await, Ok(Ok(()))) {
            return;
        }
        self.stream = self.stream.strip();
        let until = Instant::now() + LINGER;
        let mut discarded = 0;
        while discarded < LINGER_OCTETS {
            self.input = BytesMut::new();
            let left = until.saturating_duration_since(Instant::now());
            match self.readable(left).await {
                Wake::TimedOut => return,
                Wake::Phase(_) => continue,
                Wake::Readable => {}
            }
            match self.receive(4096).await {
                Ok(Some(0)) | Err(_) => return,
                Ok(count) => discarded += count.unwrap_or_default(),
            }
        }
    }

    /// Closes without waiting. Under TLS the client hears that this is the end, and nobody cut it off.
    pub(crate) async fn close(mut self) {
        if self.stream.is_tls() {
            let _ = poll_fn(|context| Poll::Ready(self.stream.poll_shutdown(context))).await;
        }
    }

    /// Who sends half a command and then nothing shall not make us hold a whole buffer.
    fn shrink_input(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        } else if self.input.capacity() > 2 * self.input.len() + 256 {
            self.input = BytesMut::from(self.input.as_ref());
        }
    }
}
