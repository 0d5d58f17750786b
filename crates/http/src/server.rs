//! Listeners of HTTP: bound first, served until the process ends.

use crate::rooms::Rooms;
use smtp_observe::Observer;
use std::net::SocketAddr;
use std::sync::Arc;

/// Where to listen.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Addresses of health and API; port 0 takes any free one.
    pub listen: Vec<SocketAddr>,
    /// Metrics, unless they are off.
    pub metrics: Option<MetricsSettings>,
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
    pub source: std::io::Error,
}

/// Bound listeners. Connections wait in the kernel until [`Server::serve`].
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    metrics_addresses: Vec<SocketAddr>,
}

/// Binds every address of `settings`. `[::]` is left out, with a warning, where the host has no IPv6.
pub async fn bind(settings: Settings, observer: Observer) -> Result<Server, BindError> {
    let _ = (settings, observer);
    todo!()
}

impl Server {
    /// Bound addresses of health and API.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
    /// Bound addresses of the metrics' own listener; empty when they have none.
    pub fn metrics_addresses(&self) -> &[SocketAddr] {
        &self.metrics_addresses
    }
    /// Serves until `stop` is done, then waits at most 5 seconds for requests in progress.
    pub async fn serve(self, rooms: Arc<dyn Rooms>, stop: impl Future<Output = ()> + Send) {
        let _ = (rooms, stop.await);
        todo!()
    }
}
