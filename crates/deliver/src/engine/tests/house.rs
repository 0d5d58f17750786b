//! A store in a temporary folder with delivery running on it.

use crate::Delivery;
use crate::testing::{address, config, directory, hop};
use arc_swap::ArcSwap;
use bytes::Bytes;
use jiff::Timestamp;
use smtp_config::{Config, Route, TlsPolicy};
use smtp_observe::Observer;
use smtp_queue::Store;
use smtp_queue::sqlite::{SqliteSettings, SqliteStore};
use smtp_queue::{
    Body, MailOptions, MessageDetail, NewMessage, NewRecipient, Queue, QueueId, Recipient, State,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// Long enough for a machine that does other things; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct House {
    pub(super) queue: Queue,
    pub(super) delivery: Arc<Delivery>,
    pub(super) folder: TempDir,
}

/// Settings that send everything to one server.
pub(super) fn smarthost(server: SocketAddr) -> Config {
    let mut config = config();
    config.relay.smarthost = Some(hop("127.0.0.1", server.port()));
    config.delivery.capture = false;
    config
}

/// The same, but for one domain.
pub(super) fn route(config: &mut Config, domain: &str, server: SocketAddr) {
    let to = hop(&server.ip().to_string(), server.port());
    config.routes.push(Route {
        pattern: domain.into(),
        to,
        tls: TlsPolicy::Opportunistic,
    });
}

impl House {
    pub(super) fn open(config: Config) -> House {
        House::open_with(config, |store| store)
    }

    /// With something between delivery and its store.
    pub(super) fn open_with(config: Config, wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> House {
        let folder = tempfile::tempdir().unwrap();
        let settings = SqliteSettings {
            path: folder.path().join("smtp.db"),
            min_free: 0,
            memory_budget: 32 << 20,
        };
        let (store, spool) = SqliteStore::open(settings, Observer::silent()).unwrap();
        let queue = Queue::new(wrap(store), spool);
        let directory = directory(&config);
        let config = Arc::new(ArcSwap::from_pointee(config));
        let delivery = Delivery::start(config, directory, queue.clone(), Observer::silent()).unwrap();
        House {
            queue,
            delivery,
            folder,
        }
    }

    pub(super) async fn submit(&self, to: &[&str]) -> QueueId {
        let content = "Subject: x\r\n\r\n.dot\r\n..\r\nend\r\n";
        let id = QueueId::generate();
        self.submit_body(id, to, Body::Memory(Bytes::from_static(content.as_bytes())))
            .await;
        id
    }

    pub(super) async fn submit_body(&self, id: QueueId, to: &[&str], body: Body) {
        let recipients = to
            .iter()
            .map(|to| NewRecipient {
                address: address(to),
                notify: None,
                orcpt: None,
            })
            .collect();
        self.submit_whole(id, Some("sender@from.test"), recipients, body)
            .await;
    }

    pub(super) async fn submit_whole(
        &self,
        id: QueueId,
        sender: Option<&str>,
        recipients: Vec<NewRecipient>,
        body: Body,
    ) {
        let message = NewMessage {
            id,
            received_at: Timestamp::now(),
            sender: sender.map(address),
            options: MailOptions::default(),
            recipients,
            body,
        };
        self.queue.submit(message).await.unwrap();
    }

    async fn show(&self, id: QueueId) -> Option<MessageDetail> {
        self.queue.store().show(id).await.unwrap()
    }

    /// The recipients of all that is in the store, a hundred messages at most.
    pub(super) async fn recipients(&self) -> Vec<Recipient> {
        let all = self.queue.store().list(Default::default(), None, 100).await;
        all.unwrap().into_iter().flat_map(|it| it.recipients).collect()
    }

    /// Waits until every recipient was tried; gives them. None are left of a message that is done.
    pub(super) async fn tried(&self, id: QueueId) -> Vec<Recipient> {
        let tried = async {
            loop {
                let recipients = self
                    .show(id)
                    .await
                    .map(|detail| detail.recipients)
                    .unwrap_or_default();
                if recipients
                    .iter()
                    .all(|it| !matches!(it.state, State::Leased | State::Queued))
                {
                    return recipients;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, tried).await.expect("still not tried")
    }

    /// Waits until the message has left the queue.
    pub(super) async fn gone(&self, id: QueueId) {
        self.until(async || self.show(id).await.is_none()).await;
    }

    /// Waits until something is so.
    pub(super) async fn until(&self, mut so: impl AsyncFnMut() -> bool) {
        let waiting = async {
            while !so().await {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, waiting).await.expect("it never came");
    }
}
