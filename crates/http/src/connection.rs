//! Connections of HTTP: counted, and ended when they make no progress.
//!
//! A connection must have been written to within [`QUIET`]: a client that dribbles its request,
//! waits between requests or does not read its answer is cut off then. So handlers answer
//! in less time, and no connection holds its slot without being served.
//!
//! A newcomer is always let in. When there are too many, the oldest connection of the client that has most of
//! them is closed for it: whoever holds connections cannot keep a probe out, which is over in a moment,
//! not even one from the same address.

use crate::auth::counted_as;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep};

/// Most connections, over all listeners of HTTP.
const MAX_CONNECTIONS: usize = 512;
/// Most connections of one client.
const MAX_PER_CLIENT: usize = 64;
/// Longest time without an octet written.
const QUIET: Duration = Duration::from_secs(30);
/// Before another try when the system has no descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// The client's address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The open connections. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    open: Arc<Mutex<Open>>,
}

/// From the oldest to the newest.
#[derive(Debug, Default)]
struct Open {
    connections: Vec<Counted>,
    next: u64,
}

/// Dropping it ends the connection.
#[derive(Debug)]
struct Counted {
    number: u64,
    client: IpAddr,
    _end: oneshot::Sender<()>,
}

impl Open {
    /// The client that has most connections.
    fn greediest(&self) -> Option<IpAddr> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for one in &self.connections {
            *counts.entry(one.client).or_default() += 1;
        }
        counts
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map(|(client, _)| client)
    }

    fn close_oldest_of(&mut self, client: IpAddr) {
        if let Some(place) = self.connections.iter().position(|one| one.client == client) {
            self.connections.remove(place);
        }
    }
}

impl Slots {
    /// A place for one more connection of `client`.
    fn take(&self, client: IpAddr) -> Slot {
        let client = counted_as(client);
        let (end, ended) = oneshot::channel();
        let mut open = self.lock();
        let own = open.connections.iter().filter(|one| one.client == client).count();
        if own >= MAX_PER_CLIENT {
            open.close_oldest_of(client);
        } else if open.connections.len() >= MAX_CONNECTIONS
            && let Some(greediest) = open.greediest()
        {
            open.close_oldest_of(greediest);
        }
        let number = open.next;
        open.next += 1;
        open.connections.push(Counted {
            number,
            client,
            _end: end,
        });
        Slot {
            slots: self.clone(),
            number,
            ended,
        }
    }

    /// A panic elsewhere leaves a list that is still right.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One counted connection.
#[derive(Debug)]
struct Slot {
    slots: Slots,
    number: u64,
    /// Ready when the connection has to make room.
    ended: oneshot::Receiver<()>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.lock();
        open.connections.retain(|one| one.number != self.number);
    }
}

/// Accepts connections.
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

    /// The next connection, and whose it is.
    pub(crate) async fn accept(&mut self) -> (TimedStream, Peer) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let peer = peer.ip().to_canonical();
                    let slot = self.slots.take(peer);
                    // Without it an answer only waits longer.
                    let _ = stream.set_nodelay(true);
                    return (TimedStream::new(stream, slot, self.quiet), Peer(peer));
                }
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(_) => sleep(ACCEPT_RETRY).await,
            }
        }
    }
}

/// A connection that fails once nothing was written for [`QUIET`], or once it has to make room.
#[derive(Debug)]
pub(crate) struct TimedStream {
    stream: TcpStream,
    quiet: Duration,
    end: Pin<Box<Sleep>>,
    slot: Slot,
}

impl TimedStream {
    fn new(stream: TcpStream, slot: Slot, quiet: Duration) -> Self {
        TimedStream {
            stream,
            quiet,
            end: Box::pin(sleep(quiet)),
            slot,
        }
    }

    fn poll_quiet(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.slot.ended.is_terminated() || Pin::new(&mut self.slot.ended).poll(cx).is_ready() {
            return Err(ErrorKind::ConnectionAborted.into());
        }
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
    use std::net::{Ipv4Addr, Ipv6Addr};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn client(n: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, n))
    }

    fn is_ended(slot: &mut Slot) -> bool {
        slot.ended.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn a_client_over_its_share_loses_its_oldest() {
        let slots = Slots::default();
        let mut other = slots.take(client(2));
        let mut own: Vec<Slot> = (0..=MAX_PER_CLIENT).map(|_| slots.take(client(1))).collect();
        assert!(is_ended(&mut own[0]));
        assert!(!is_ended(&mut own[1]) && !is_ended(&mut other));
        assert_eq!(slots.lock().connections.len(), 1 + MAX_PER_CLIENT);
        drop((own, other));
        assert!(slots.lock().connections.is_empty());
    }

    #[test]
    fn the_greediest_client_makes_room_for_others() {
        let slots = Slots::default();
        let mut first = slots.take(client(1));
        let mut greedy: Vec<Slot> = (0..MAX_PER_CLIENT).map(|_| slots.take(client(2))).collect();
        let mut others: Vec<Slot> = (1 + MAX_PER_CLIENT..MAX_CONNECTIONS)
            .map(|n| slots.take(client(10 + (n % 200) as u8)))
            .collect();
        assert!(!is_ended(&mut greedy[0]));
        let mut probe = slots.take(client(1));
        assert!(is_ended(&mut greedy[0]) && !is_ended(&mut greedy[1]));
        assert!(!is_ended(&mut probe) && !is_ended(&mut first));
        assert!(!others.iter_mut().any(is_ended));
        assert_eq!(slots.lock().connections.len(), MAX_CONNECTIONS);
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let slots = Slots::default();
        let held: Vec<Slot> = (0..2 * MAX_PER_CLIENT)
            .map(|n| slots.take(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n as u16).into()))
            .collect();
        assert_eq!(slots.lock().connections.len(), MAX_PER_CLIENT);
        drop(held);
    }

    #[tokio::test]
    async fn a_connection_that_makes_room_ends_at_once() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let slots = Slots::default();
        let mut listener = TimedListener::new(socket, slots.clone());
        let _client = TcpStream::connect(address).await.unwrap();
        let (mut stream, _) = listener.accept().await;
        let reading = tokio::spawn(async move { stream.read(&mut [0; 16]).await });
        tokio::task::yield_now().await;
        slots.lock().close_oldest_of(address.ip());
        let read = tokio::time::timeout(Duration::from_secs(10), reading).await;
        let error = read.unwrap().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
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
        assert!(slots.lock().connections.is_empty());
        dribble.await.unwrap();
    }
}
