//! Signals, and the drain.
//!
//! SIGHUP reloads. SIGTERM, SIGINT and the API start the drain; a second one skips to its end.

use crate::exit::{Exit, Failure};
use crate::farewell;
use crate::house::House;
use smtp_queue::Queue;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// How long transactions in progress, and replies after a final dot, are waited for.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);

/// The signals that the server listens to.
#[derive(Debug)]
pub(crate) struct Signals {
    /// One that comes while nobody listens is heard later.
    hangup: Signal,
    ends: Ends,
}

/// Those that ask for its end.
#[derive(Debug)]
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn install() -> Result<Signals, Failure> {
        let install = |kind| {
            signal(kind)
                .map_err(|e| Failure::new(Exit::Temporary, format_args!("cannot listen to signals: {e}")))
        };
        Ok(Signals {
            hangup: install(SignalKind::hangup())?,
            ends: Ends {
                terminate: install(SignalKind::terminate())?,
                interrupt: install(SignalKind::interrupt())?,
            },
        })
    }
}

impl Ends {
    /// The next one's name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Waits until somebody asks for the server's end, and says who.
    async fn asked(&mut self, house: &House) -> String {
        tokio::select! {
            name = self.next() => name.to_owned(),
            reason = house.stop.asked() => reason,
        }
    }
}

/// Waits until somebody asks for the server's end, and says who.
pub(crate) async fn stop_asked(house: &House, signals: &mut Signals) -> String {
    signals.ends.asked(house).await
}

/// The same, and serves reloads meanwhile. One that waits for its database keeps nobody from ending the server.
pub(crate) async fn serve_until_asked(house: &Arc<House>, signals: &mut Signals) -> String {
    let Signals { hangup, ends } = signals;
    tokio::select! {
        reason = ends.asked(house) => reason,
        never = follow_hangups(house, hangup) => match never {},
    }
}

/// Reloads with each SIGHUP; those that come during a reload lead to one more. Never ends.
async fn follow_hangups(house: &Arc<House>, hangup: &mut Signal) -> Infallible {
    while hangup.recv().await.is_some() {
        // The outcome is in the log; a signal has nobody to answer to.
        let _ = house.reload_configuration().await;
    }
    pending().await
}

/// Ends reception and delivery in good order: not ready, 421 for new connections, transactions may finish; mail
/// before its final dot is given back, after it the reply is awaited. A pod that is known not to come back tries its mail once more before.
/// Returns when it is done, at their limits, or when somebody asks a second time.
pub(crate) async fn drain(house: &House, queue: &Queue, signals: &mut Signals, reason: &str) {
    house.draining(reason);
    // From here on what is received waits in the store for the next start.
    queue.disconnect();
    let (tell_received, received) = oneshot::channel();
    let all = async {
        tokio::join!(
            async {
                // Who does not hear of it sees a server that takes nothing any more.
                let _ = queue.store().draining().await;
            },
            async {
                if let Some(reception) = house.reception() {
                    reception.drain(DRAIN_LIMIT).await;
                }
                // Only a pod that leaves listens.
                let _ = tell_received.send(());
            },
            async {
                if let Some(delivery) = house.delivery() {
                    if farewell::is_wanted(&house.config.load(), queue) {
                        farewell::take_leave(house, queue, delivery, received).await;
                    }
                    delivery.drain(DRAIN_LIMIT).await;
                }
            }
        )
    };
    tokio::select! {
        _ = all => {}
        _ = signals.ends.next() => stop_at_once(house).await,
        () = house.stop.now() => stop_at_once(house).await,
    }
    house.closing();
}

/// Delivery that still begins attempts has to be told before the store closes.
async fn stop_at_once(house: &House) {
    if let Some(delivery) = house.delivery()
        && !delivery.is_draining()
    {
        delivery.drain(Duration::ZERO).await;
    }
}
