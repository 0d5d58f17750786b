//! Connections of HTTP: counted, and ended when they make no progress.
//!
//! A connection must have been written to within [`QUIET`]: a client that dribbles its request,
//! waits between requests or does not read its answer is cut off then. So handlers answer
//! in less time, and no connection holds its slot without being served.

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep};

/// Most connections, over all listeners of HTTP.
const MAX_CONNECTIONS: usize = 512;
/// Most connections of one client, so that it cannot keep probes out.
const MAX_PER_CLIENT: usize = 64;
/// Longest time without an octet written.
const QUIET: Duration = Duration::from_secs(30);
/// Before another try when the system has no descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// The client's address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl Connected<IncomingStream<'_, TimedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TimedListener>) -> Self {
        Peer(stream.remote_addr().ip().to_canonical())
    }
}

/// Counts the open connections. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Slots {
    /// A place for one more connection of `client`, if there is one.
    fn take(&self, client: IpAddr) -> Option<Slot> {
        let mut open = self.lock();
        let total: usize = open.values().sum();
        let own = open.get(&client).copied().unwrap_or_default();
        if total >= MAX_CONNECTIONS || own >= MAX_PER_CLIENT {
            return None;
        }
        open.insert(client, own + 1);
        Some(Slot {
            slots: self.clone(),
            client,
        })
    }

    /// A panic elsewhere leaves a count that is still right.
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One counted connection.
#[derive(Debug)]
struct Slot {
    slots: Slots,
    client: IpAddr,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.lock();
        match open.get_mut(&self.client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                open.remove(&self.client);
            }
        }
    }
}

/// Accepts connections that there is a slot for; closes others at once.
#[derive(Debug)]
pub(crate) struct TimedListener {
    listener: TcpListener,
    slots: Slots,
    quiet: Duration,
}

impl TimedListener {
    pub(crate) fn new(listener: TcpListener, slots: Slots) -> Self {
        TimedListener {
            listener,
            slots,
            quiet: QUIET,
        }
    }
}

impl Listener for TimedListener {
    type Io = TimedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TimedStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    if let Some(slot) = self.slots.take(peer.ip().to_canonical()) {
                        // Without it an answer only waits longer.
                        let _ = stream.set_nodelay(true);
                        return (TimedStream::new(stream, slot, self.quiet), peer);
                    }
                }
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(_) => sleep(ACCEPT_RETRY).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails once nothing was written for [`QUIET`].
#[derive(Debug)]
pub(crate) struct TimedStream {
    stream: TcpStream,
    quiet: Duration,
    end: Pin<Box<Sleep>>,
    _slot: Slot,
}

impl TimedStream {
    fn new(stream: TcpStream, slot: Slot, quiet: Duration) -> Self {
        TimedStream {
            stream,
            quiet,
            end: Box::pin(sleep(quiet)),
            _slot: slot,
        }
    }

    fn poll_quiet(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(cx) {
            Poll::Ready(()) => Err(ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    fn progress(&mut self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(result, Poll::Ready(Ok(_))) {
            let end = Instant::now() + self.quiet;
            self.end.as_mut().reset(end);
        }
        result
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_quiet(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_quiet(cx)?;
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.progress(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_quiet(cx)?;
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.progress(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn one_client_cannot_take_every_slot() {
        let slots = Slots::default();
        let client = |n: u8| IpAddr::V4(Ipv4Addr::new(192, 0, 2, n));
        let own: Vec<Slot> = (0..MAX_PER_CLIENT)
            .filter_map(|_| slots.take(client(1)))
            .collect();
        assert_eq!(own.len(), MAX_PER_CLIENT);
        assert!(slots.take(client(1)).is_none());
        let others: Vec<Slot> = (2..=255)
            .flat_map(|n| [slots.take(client(n)), slots.take(client(n))])
            .flatten()
            .collect();
        assert_eq!(own.len() + others.len(), MAX_CONNECTIONS);
        drop(own);
        assert!(slots.take(client(1)).is_some());
        drop(others);
        assert!(slots.lock().is_empty());
    }

    #[tokio::test]
    async fn a_client_that_dribbles_is_cut_off() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let slots = Slots::default();
        let mut listener = TimedListener {
            listener: socket,
            slots: slots.clone(),
            quiet: Duration::from_millis(50),
        };
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut stream, _) = listener.accept().await;
        let dribble = tokio::spawn(async move { while client.write_all(b"x").await.is_ok() {} });
        let error = loop {
            if let Err(error) = stream.read(&mut [0; 16]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(stream);
        assert!(slots.lock().is_empty());
        dribble.await.unwrap();
    }
}
