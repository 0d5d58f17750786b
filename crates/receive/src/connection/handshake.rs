//! A connection's way into TLS: before the greeting on `smtps`, by STARTTLS on the others.
//!
//! Promises: nothing that was said before the handshake, by either side, is known after it.

use super::{Connection, Cut};
use crate::listener::stopping;
use crate::sessions::Doing;
use crate::shared::Phase;
use crate::transaction::Transaction;
use smtp::session::Session;
use smtp_observe::TlsFailure;

impl Connection {
    /// STARTTLS was accepted (RFC 3207): its reply goes out, and a new session begins behind the handshake.
    pub(super) async fn start_tls(&mut self) -> Result<(), Cut> {
        self.flush().await?;
        self.pace = None;
        self.awaited = None;
        self.handshake().await?;
        let policy = self.visit.shared.policy();
        let settings = policy.settings(self.visit.listener, &self.visit.channel());
        self.begin(Session::secured(settings));
        Ok(())
    }

    /// Begins the session that follows a handshake.
    pub(super) fn begin(&mut self, session: Session<Box<Transaction>>) {
        self.session = session;
        self.exchange = None;
        // A drain that began meanwhile was not for the session that follows to hear.
        if self.wire.phase() != Phase::Serving {
            self.session.shutdown(stopping());
        }
    }

    /// The handshake, within `tls.handshake_timeout`.
    pub(super) async fn handshake(&mut self) -> Result<(), Cut> {
        let tls = self.visit.shared.tls.as_ref();
        let Some(config) = tls.and_then(|tls| tls.config(self.visit.listener)) else {
            // Nobody offered it.
            return Err(super::GONE);
        };
        self.visit.card.does(Doing::Handshake);
        let limit = self.visit.policy.config.tls.handshake_timeout;
        match self.wire.secure(config, limit).await {
            Ok(secured) => self.visit.secured(secured),
            Err(failure) => {
                self.visit.unsecured(&failure);
                return Err(Cut {
                    lost: Some(match failure.reason {
                        TlsFailure::Timeout => "timeout: TLS handshake",
                        _ => "TLS handshake failed",
                    }),
                    last_word: failure.alerted,
                });
            }
        }
        Ok(())
    }
}
