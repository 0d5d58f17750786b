//! The running server looks through its drop folder, and hands what it finds to its own `smtp` listener, as any client of this machine.

use super::DropFolder;
use super::flush::{Pauses, Tell, flush};
use super::waiting::{Recipient, Waiting};
use crate::house::House;
use smtp_config::{HopProtocol, NextHop, TlsPolicy};
use smtp_deliver::{Announce, NamedServer};
use smtp_observe::{Event, Listener, Observer};
use smtp_receive::Reception;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Between two rounds.
const PERIOD: Duration = Duration::from_secs(3);

/// Looks until it is aborted. Nothing is done while `sendmail.drop_path` is not there.
pub(crate) async fn look(house: Arc<House>) {
    let mut looker = Looker::default();
    loop {
        let (house, runtime) = (house.clone(), Handle::current());
        // On a blocking thread, because files are read and synced.
        let round = tokio::task::spawn_blocking(move || {
            runtime.block_on(looker.round(&house));
            looker
        });
        looker = round.await.unwrap_or_default();
        tokio::time::sleep(PERIOD).await;
    }
}

/// What is known from one round to the next.
#[derive(Debug, Default)]
struct Looker {
    pauses: Pauses,
    /// What was left alone in the last round, and is so still: said once.
    ignored: HashSet<PathBuf>,
}

impl Looker {
    async fn round(&mut self, house: &House) {
        let (Some(hop), Some(reception)) = (own_listener(house), house.reception()) else {
            return;
        };
        let own = Own(reception.clone());
        let config = house.config.load_full();
        let folder = DropFolder {
            path: config.sendmail.drop_path.clone(),
        };
        let server = NamedServer {
            hop: &hop,
            tls: TlsPolicy::None,
            ca_file: None,
            hostname: &config.server.hostname,
            announce: Some(&own),
        };
        let log = Log {
            observer: &house.observer,
            before: &self.ignored,
            now: RefCell::default(),
        };
        // Where the listener is away the server is stopping.
        if let Err(error) = flush(&folder, &server, usize::MAX, &mut self.pauses, &log).await {
            log.ignored(&folder.path, &error);
        }
        reception.expect_own(None);
        self.ignored = log.now.into_inner();
    }
}

/// Tells the listener that a connection is ours, so that it wants no proxy's header.
#[derive(Debug)]
struct Own(Arc<Reception>);

impl Announce for Own {
    fn announce(&self, from: SocketAddr) {
        self.0.expect_own(Some(from));
    }
}

/// Where the `smtp` listener is reached from this machine.
fn own_listener(house: &House) -> Option<NextHop> {
    let address = house.smtp_addresses(Listener::Smtp).into_iter().next()?;
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Some(NextHop {
        protocol: HopProtocol::Smtp,
        host: host.to_string(),
        port: address.port(),
        login: None,
    })
}

/// Tells the log.
struct Log<'a> {
    observer: &'a Observer,
    before: &'a HashSet<PathBuf>,
    now: RefCell<HashSet<PathBuf>>,
}

impl Tell for Log<'_> {
    fn refused(&self, file: &str, waiting: &Waiting, to: &Recipient) {
        self.observer.emit(Event::DropRefused {
            file,
            from: waiting.sender.as_ref().map_or("", |sender| sender.as_str()),
            to: to.address.as_str(),
            text: &to.reason,
        });
    }

    fn ignored(&self, path: &Path, reason: &dyn Display) {
        if self.now.borrow_mut().insert(path.to_owned()) && !self.before.contains(path) {
            self.observer.emit(Event::DropIgnored {
                path: &path.to_string_lossy(),
                reason: &reason.to_string(),
            });
        }
    }
}
