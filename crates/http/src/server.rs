//! Listeners of HTTP: bound first, served until the process ends.

use crate::connection::{Peer, Slots, TimedListener, TimedStream};
use crate::rates::Rates;
use crate::rooms::Rooms;
use crate::router;
use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use smtp_observe::{Event, Observer};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long requests in progress may take once the server stops.
const STOP: Duration = Duration::from_secs(5);
/// Octets that are read of a connection before somebody takes them, and that are written before somebody reads them: the longest head of a request.
/// Nobody has proved who he is by then, and there may be hundreds of them.
const MAX_BUFFER: usize = 32 << 10;

/// Where to listen.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Addresses of health and API; port 0 takes any free one.
    pub listen: Vec<SocketAddr>,
    /// Addresses of API and console, when they are not to be on [`Settings::listen`]; empty when they are.
    pub admin: Vec<SocketAddr>,
    /// Metrics, unless they are off.
    pub metrics: Option<MetricsSettings>,
    /// Whether there are pages for people.
    pub console: bool,
}

/// Where metrics are.
#[derive(Clone, Debug)]
pub struct MetricsSettings {
    /// Their path, `/metrics`.
    pub path: String,
    /// Addresses of their own; empty for [`Settings::listen`].
    pub listen: Vec<SocketAddr>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (http): {source}")]
pub struct BindError {
    /// Which.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// Bound listeners. Connections wait in the kernel until [`Server::serve`].
#[derive(Debug)]
pub struct Server {
    http: Vec<TcpListener>,
    admin: Vec<TcpListener>,
    metrics: Vec<TcpListener>,
    metrics_path: Option<String>,
    console: bool,
    observer: Observer,
}

/// Binds every address of `settings`, inside a tokio runtime. What becomes of `[::]` on a host without IPv6 is
/// the caller's choice.
pub async fn bind(settings: Settings, observer: Observer) -> Result<Server, BindError> {
    let (path, own) = match settings.metrics {
        Some(metrics) => (Some(metrics.path), metrics.listen),
        None => (None, Vec::new()),
    };
    let http = bind_all(&settings.listen, "http", &observer)?;
    let admin = bind_all(&settings.admin, "admin", &observer)?;
    let metrics = bind_all(&own, "metrics", &observer)?;
    Ok(Server {
        http,
        admin,
        metrics,
        metrics_path: path,
        console: settings.console,
        observer,
    })
}

impl Server {
    /// Bound addresses of health; of the API too, unless it has a listener of its own.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        bound(&self.http)
    }

    /// Bound addresses of the API's own listener; empty when it has none.
    pub fn admin_addresses(&self) -> Vec<SocketAddr> {
        bound(&self.admin)
    }

    /// Bound addresses of the metrics' own listener; empty when they have none.
    pub fn metrics_addresses(&self) -> Vec<SocketAddr> {
        bound(&self.metrics)
    }

    /// Serves until `stop` is done, then waits at most 5 seconds for requests in progress.
    pub async fn serve(self, rooms: Arc<dyn Rooms>, stop: impl Future<Output = ()> + Send) {
        let shared_path = if self.metrics.is_empty() {
            self.metrics_path.clone()
        } else {
            None
        };
        let rates = Arc::new(Rates::default());
        let shared = |path| router::shared(rooms.clone(), self.observer.clone(), rates.clone(), path);
        let (main, admin) = match self.admin.is_empty() {
            true => (router::main(shared(shared_path), self.console), Router::new()),
            false => (
                router::without_admin(shared(shared_path)),
                router::main(shared(None), self.console),
            ),
        };
        let own = router::metrics_only(shared(self.metrics_path));
        let slots = Slots::default();
        let (stopping, stopped) = watch::channel(());
        let looking = tokio::spawn(rates.look(self.observer));
        let mut tasks = JoinSet::new();
        for listener in self.http {
            tasks.spawn(serve_one(listener, slots.clone(), main.clone(), stopped.clone()));
        }
        // Whoever may come to probes and metrics takes no place from operators.
        let operators = Slots::default();
        for listener in self.admin {
            tasks.spawn(serve_one(
                listener,
                operators.clone(),
                admin.clone(),
                stopped.clone(),
            ));
        }
        for listener in self.metrics {
            tasks.spawn(serve_one(listener, slots.clone(), own.clone(), stopped.clone()));
        }
        drop(stopped);
        stop.await;
        looking.abort();
        drop(stopping);
        let all = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP, all).await;
    }
}

/// One listener, until the other end of `stopped` is gone.
async fn serve_one(listener: TcpListener, slots: Slots, router: Router, mut stopped: watch::Receiver<()>) {
    let mut listener = TimedListener::new(listener, slots);
    let router = TowerToHyperService::new(router);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (stream, peer) = listener.accept() => {
                let served = serve_connection(stream, peer, router.clone(), stopped.clone());
                connections.spawn(served);
            }
            // What goes wrong costs its connection only.
            Some(_) = connections.join_next() => {}
            () = until_gone(&mut stopped) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// A connection; of the requests on it the one in progress is answered when the server stops, and no other.
async fn serve_connection(
    stream: TimedStream,
    Peer(peer): Peer,
    router: TowerToHyperService<Router>,
    mut stopped: watch::Receiver<()>,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(Peer(peer)));
        router.call(request)
    });
    let mut http = http1::Builder::new();
    http.max_buf_size(MAX_BUFFER).max_header_size(MAX_BUFFER);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = until_gone(&mut stopped) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn until_gone(stopped: &mut watch::Receiver<()>) {
    while stopped.changed().await.is_ok() {}
}

fn bound(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    let addresses = listeners.iter().map(TcpListener::local_addr);
    addresses.filter_map(Result::ok).collect()
}

fn bind_all(
    addresses: &[SocketAddr],
    name: &'static str,
    observer: &Observer,
) -> Result<Vec<TcpListener>, BindError> {
    let mut bound = Vec::new();
    // Where IPv4 has a socket of its own, the IPv6 one must leave it alone.
    let only_v6 = addresses.iter().any(SocketAddr::is_ipv4);
    for &address in addresses {
        let listener = bind_one(address, only_v6).map_err(|source| BindError { address, source })?;
        let address = listener.local_addr().unwrap_or(address);
        observer.emit(Event::Listening {
            listener: name,
            address,
        });
        bound.push(listener);
    }
    Ok(bound)
}

fn bind_one(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}
