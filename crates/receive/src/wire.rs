//! One client's socket: waits for it, reads from it and writes to it, each with a limit.
//!
//! Promises: while it waits it holds no read buffer beyond what a client sent and the session has not used
//! yet; a client that does not read cannot hold it longer than the limit.

use crate::shared::{Phase, Shared};
use bytes::BytesMut;
use socket2::SockRef;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

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

/// A socket, and what has been read from it.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
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
            stream,
            input: BytesMut::new(),
            timer: Box::pin(sleep_until(Instant::now())),
            phase_changed: Box::pin(shared.phase_changed()),
            phase: Phase::Serving,
            shared,
        }
    }

    /// Whether the client has sent something already. Does not wait.
    pub(crate) fn has_input(&self) -> bool {
        let mut octet = [MaybeUninit::uninit()];
        SockRef::from(&self.stream)
            .peek(&mut octet)
            .is_ok_and(|count| count > 0)
    }

    /// Waits for input, a change of phase, or the limit. Gives back what the read buffer does not need.
    pub(crate) async fn readable(&mut self, limit: Duration) -> Wake {
        self.shrink_input();
        let mut until = None;
        poll_fn(|context| {
            // A client that never pauses sees a change of phase too.
            if self.shared.phase() == self.phase && self.stream.poll_read_ready(context).is_ready() {
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

    fn poll_others(&mut self, context: &mut std::task::Context<'_>, until: Instant) -> Poll<Wake> {
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
        self.input.reserve(room);
        let mut read = pin!(self.stream.read_buf(&mut self.input));
        poll_fn(|context| match read.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(result.map(Some)),
            Poll::Pending => Poll::Ready(Ok(None)),
        })
        .await
    }

    /// Writes what the socket takes without asking tokio first, which does not know yet that a fresh socket is writable.
    pub(crate) fn send_first(&mut self, output: &mut Vec<u8>) {
        if let Ok(count) = SockRef::from(&self.stream).send(output) {
            output.drain(..count.min(output.len()));
        }
    }

    /// Writes all of `output` and empties it.
    pub(crate) async fn send(&mut self, output: &mut Vec<u8>, limit: Duration) -> io::Result<()> {
        let sent = match self.stream.try_write(output) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if let Some(rest) = output.get(sent..).filter(|rest| !rest.is_empty()) {
            // Boxed: seldom needed, and then the session is not at rest.
            Box::pin(timeout(limit, self.stream.write_all(rest)))
                .await
                .map_err(io::Error::from)??;
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
        if SockRef::from(&self.stream).shutdown(Shutdown::Write).is_err() {
            return;
        }
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

    /// Who sends half a command and then nothing shall not make us hold a whole buffer.
    fn shrink_input(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        } else if self.input.capacity() > 2 * self.input.len() + 256 {
            self.input = BytesMut::from(self.input.as_ref());
        }
    }
}
