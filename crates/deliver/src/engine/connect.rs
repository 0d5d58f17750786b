//! Opening a connection as its next hop wants it, and telling an operator what is wrong with it.

use super::Engine;
use crate::connection::{Connection, ContentLimits, Failure, Settings};
use crate::resolve::Endpoint;
use crate::route::Hop;
use parking_lot::Mutex;
use smtp::{Enhanced, Reply};
use smtp_config::TlsPolicy;
use smtp_observe::Event;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// Lanes that open connections at the same time are refused together: that is said once.
const TOGETHER: Duration = Duration::from_secs(10);

/// When each next hop last refused our login.
#[derive(Debug, Default)]
pub(super) struct RefusedLogins(Mutex<HashMap<Hop, Instant>>);

impl RefusedLogins {
    /// Whether a refusal that came now is another one than the last.
    fn is_news(&self, hop: &Hop) -> bool {
        let (mut last, now) = (self.0.lock(), Instant::now());
        last.retain(|_, when| now.duration_since(*when) < TOGETHER);
        last.insert(hop.clone(), now).is_none()
    }
}

impl Engine {
    /// Connects to a server of `hop`; in clear if TLS is offered, fails, and need not be. `moves` counts what moves on it.
    pub(super) async fn connect(
        &self,
        hop: &Hop,
        endpoint: &Endpoint,
        moves: &Arc<AtomicU64>,
    ) -> Result<Connection, Reply> {
        let parts = self.parts.load_full();
        let settings = Settings {
            hostname: &parts.own.hostname,
            protocol: hop.protocol(),
            login: hop.login(),
            policy: hop.tls,
            tls: &parts.tls,
            connect_timeout: parts.config.delivery.connect_timeout,
            final_timeout: parts.config.delivery.final_timeout,
            content: ContentLimits {
                block_timeout: parts.config.delivery.block_timeout,
                min_rate: parts.config.delivery.min_data_rate,
            },
            moves,
            announce: None,
        };
        let mut opened = Connection::open(endpoint, &settings).await;
        if hop.may_fall_back()
            && let Err(Failure::Tls(reply)) = &opened
        {
            self.observer.emit(Event::TlsFallback {
                destination: &hop.to_string(),
                reason: &reply.text,
            });
            let in_clear = Settings {
                policy: TlsPolicy::None,
                ..settings
            };
            opened = Connection::open(endpoint, &in_clear).await;
        }
        opened.map_err(|failure| match failure {
            Failure::Connection(reply) | Failure::Tls(reply) => reply,
            Failure::Login(reply) => {
                if self.refused_logins.is_news(hop) {
                    self.observer.emit(Event::NextHopLoginRefused {
                        destination: &hop.to_string(),
                        user: hop.login().map_or("", |login| &login.user),
                        setting: &hop.setting(&parts.config),
                        reason: &reply.text,
                    });
                }
                reply
            }
            Failure::AfterDot(_) | Failure::Gate | Failure::Content(_) => {
                Reply::new(451, Enhanced(4, 3, 0), "connection failed")
            }
        })
    }
}
