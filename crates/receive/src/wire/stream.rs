//! A client's connection, in clear or under TLS, as one type.
//!
//! Promises: whether there is input is learnt without a buffer of ours; what was sent before TLS is never read under it.

use bytes::BytesMut;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncBufRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A connection in one of its states.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    /// Boxed: connections in clear need not hold its place.
    Tls(Box<TlsStream<TcpStream>>),
    /// Lost in a handshake.
    Closed,
}

impl Stream {
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// Ready when there is input, or the end of it, or an error: what [`Stream::receive`] finds. Under TLS that may be
    /// waiting on our side already.
    pub(super) fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Stream::Plain(socket) => socket.poll_read_ready(context).map(drop),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_fill_buf(context).map(drop),
            Stream::Closed => Poll::Ready(()),
        }
    }

    /// Reads what is there, at most about `room` octets. `None` when nothing is, 0 when the client closed.
    pub(super) async fn receive(&mut self, input: &mut BytesMut, room: usize) -> io::Result<Option<usize>> {
        match self {
            Stream::Plain(socket) => {
                input.reserve(room);
                let mut read = pin!(socket.read_buf(input));
                poll_fn(|context| match read.as_mut().poll(context) {
                    Poll::Ready(result) => Poll::Ready(result.map(Some)),
                    Poll::Pending => Poll::Ready(Ok(None)),
                })
                .await
            }
            Stream::Tls(stream) => {
                poll_fn(|context| Poll::Ready(take(stream.as_mut(), context, input, room))).await
            }
            Stream::Closed => Ok(Some(0)),
        }
    }

    /// Writes `output` from `sent` on, and moves that.
    pub(super) fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        output: &[u8],
        sent: &mut usize,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = output.get(*sent..).filter(|rest| !rest.is_empty()) {
            let written = match self {
                Stream::Plain(socket) => Pin::new(socket).poll_write(context, rest),
                Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, rest),
                Stream::Closed => Poll::Ready(Ok(0)),
            };
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => *sent += count,
            }
        }
        match self {
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
            Stream::Plain(_) | Stream::Closed => Poll::Ready(Ok(())),
        }
    }

    /// Says that nothing more is sent: under TLS by close_notify, then by the socket.
    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
            Stream::Closed => Poll::Ready(Ok(())),
        }
    }

    /// Leaves TLS, when it has been shut down: what still comes is of no interest.
    pub(super) fn strip(self) -> Stream {
        match self {
            Stream::Tls(stream) => Stream::Plain(stream.into_inner().0),
            other => other,
        }
    }
}

/// Takes decrypted octets as long as there are some, up to `room`.
fn take(
    stream: &mut TlsStream<TcpStream>,
    context: &mut Context<'_>,
    input: &mut BytesMut,
    room: usize,
) -> io::Result<Option<usize>> {
    let mut taken = 0;
    while taken < room {
        let found = match Pin::new(&mut *stream).poll_fill_buf(context) {
            Poll::Ready(Ok(found)) if !found.is_empty() => found,
            // An end behind something is seen again when it is asked for alone.
            Poll::Ready(_) | Poll::Pending if taken > 0 => break,
            Poll::Ready(Ok(_)) => return Ok(Some(0)),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => return Ok(None),
        };
        let count = found.len().min(room - taken);
        input.extend_from_slice(found.get(..count).unwrap_or(found));
        Pin::new(&mut *stream).consume(count);
        taken += count;
    }
    Ok(Some(taken))
}
