//! Asking that a statement be cancelled, over a connection of its own.
//!
//! Such a connection is closed by the other side, when it has done what it was asked. tokio-postgres closes it as soon as that is sent, and who does so has
//! changed his mind for a pooler between: PgBouncer forgets the request, or dies of it if it is just passing it on (1.18 does, Debian 12's). So it is kept
//! open here until the other side closes it, as libpq does.

use futures_util::TryFutureExt;
use futures_util::future::{MapOk, join_all};
use rustls::ClientConfig;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;
use tokio_postgres::config::Host;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{CancelToken, Config, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long the other side may take. PgBouncer gives up after 10 s (`cancel_wait_timeout`), when all its connections are busy.
const TAKEN: Duration = Duration::from_secs(15);
const PORT: u16 = 5432;

/// Asks for the end of what a connection is at, and comes back when that was done. Nobody says whether there was something. Which of several servers
/// it leads to is not known: all are asked, and the others know of no such connection. Gives whether anybody took it.
pub(super) async fn cancel(token: &CancelToken, config: &Config, tls: Option<&ClientConfig>) -> bool {
    let (names, ports) = (config.get_hosts(), config.get_ports());
    let asked = names.iter().enumerate().map(|(place, host)| {
        let port = ports.get(place).or(ports.first()).copied().unwrap_or(PORT);
        let address = config.get_hostaddrs().get(place).map(ToString::to_string);
        // Whom nobody reaches is left alone.
        timeout(TAKEN, ask_host(token, host, address, port, tls))
    });
    join_all(asked)
        .await
        .iter()
        .any(|taken| matches!(taken, Ok(Ok(true))))
}

async fn ask_host(
    token: &CancelToken,
    host: &Host,
    address: Option<String>,
    port: u16,
    tls: Option<&ClientConfig>,
) -> io::Result<bool> {
    let name = match host {
        Host::Tcp(name) => name,
        Host::Unix(folder) => {
            let socket = UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await?;
            let asked = ask(token, socket, "", tls).await;
            return asked.map(|()| true).map_err(io::Error::other);
        }
    };
    let addresses = lookup_host((address.as_ref().unwrap_or(name).as_str(), port)).await?;
    let asked = join_all(addresses.map(|address| async move {
        let socket = TcpStream::connect(address).await?;
        ask(token, socket, name, tls).await.map_err(io::Error::other)
    }));
    Ok(asked.await.iter().any(Result::is_ok))
}

async fn ask<S>(token: &CancelToken, socket: S, name: &str, tls: Option<&ClientConfig>) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let socket = Kept(socket);
    match tls {
        None => token.cancel_query_raw(socket, NoTls).await,
        Some(tls) => {
            let mut connects = MakeRustlsConnect::new(tls.clone());
            let Ok(tls) = MakeTlsConnect::<Kept<S>>::make_tls_connect(&mut connects, name);
            token.cancel_query_raw(socket, KeptInTls(tls)).await
        }
    }
}

/// A stream that is shut down by the other side: whoever wants to waits for that.
struct Kept<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for Kept<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Kept<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut octets = [0; 64];
            let mut said = ReadBuf::new(&mut octets);
            let read = ready!(Pin::new(&mut self.0).poll_read(context, &mut said));
            // However it ends: in TLS it may be without a word.
            if read.is_err() || said.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: TlsStream + Unpin> TlsStream for Kept<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.0.channel_binding()
    }
}

/// Makes such a stream in TLS: without this what says the end of TLS would come first.
struct KeptInTls<T>(T);

impl<S, T: TlsConnect<S>> TlsConnect<S> for KeptInTls<T> {
    type Stream = Kept<T::Stream>;
    type Error = T::Error;
    type Future = MapOk<T::Future, fn(T::Stream) -> Kept<T::Stream>>;

    fn connect(self, stream: S) -> Self::Future {
        self.0.connect(stream).map_ok(Kept)
    }
}
