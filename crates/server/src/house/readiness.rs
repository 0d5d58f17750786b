//! Whether the server is ready: what each check looks at, and what it says when it fails.

use super::House;
use smtp_http::Check;
use std::time::Duration;

/// How long the store may take to answer before the server calls itself not ready.
pub(super) const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// How long the database may be away before the server calls itself not ready.
const AWAY: Duration = Duration::from_secs(60);

impl House {
    /// Whether the listeners are open.
    pub(super) fn check_listeners(&self) -> Check {
        let result = match self.reception() {
            None => Err("not open yet: they open when the store is recovered".to_owned()),
            Some(reception) => reception.alive(),
        };
        Check {
            name: "listeners",
            ok: result.is_ok(),
            detail: result.err().unwrap_or_default(),
        }
    }

    /// Whether the store answers, and has room for a message.
    pub(super) async fn check_storage(&self) -> Check {
        let check = |ok, detail| Check {
            name: "storage",
            ok,
            detail,
        };
        let failed = |detail: String| check(false, detail);
        let Some(queue) = self.queue.get() else {
            if let Some(reason) = self.waits.reason() {
                return failed(reason);
            }
            return failed(format!(
                "the store is being opened and recovered, for {} s now; a long queue takes a while",
                self.started.elapsed().as_secs()
            ));
        };
        if !queue.spool().has_room(0) {
            return failed(self.nearly_full(queue.spool().free_bytes()));
        }
        let store = queue.store();
        let write = self.written.ask(|| store.away().is_some(), || store.writable());
        let written = tokio::time::timeout(STORE_PATIENCE, write).await;
        if let Some(away) = store.away() {
            // All servers lose the same database at once: were none ready, nobody would even tell clients to come again.
            return check(
                away < AWAY,
                format!(
                    "the database is away for {} s: MAIL gets 451; not ready from {} s on",
                    away.as_secs(),
                    AWAY.as_secs()
                ),
            );
        }
        match written {
            Err(_) => failed(format!(
                "the store does not answer within {} s: is its disk slow or stuck?",
                STORE_PATIENCE.as_secs()
            )),
            Ok(Err(error)) => failed(error.to_string()),
            Ok(Ok(())) => check(true, String::new()),
        }
    }

    fn nearly_full(&self, free: u64) -> String {
        let storage = &self.config.load().storage;
        format!(
            "the disk of {} is nearly full: {free} octets are free, storage.min_free is {}; MAIL gets 452, delivery goes on",
            storage.path.display(),
            storage.min_free
        )
    }

    /// Whether the server goes on.
    pub(super) fn check_draining(&self) -> Check {
        let draining = self.stop.is_near();
        let detail = if draining { "the server is stopping" } else { "" };
        Check {
            name: "draining",
            ok: !draining,
            detail: detail.into(),
        }
    }
}
