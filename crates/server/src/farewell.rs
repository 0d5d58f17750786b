//! The drain of a pod that may not come back (`[kubernetes]`, SQLite): asks, and if it leaves for good, has its mail tried once more.
//!
//! Whatever goes wrong, the drain is the ordinary one. Why attempts, and what they cost: docs/decisions/0010-leaving-for-good.md.

use crate::house::House;
use crate::pod::{self, Fate, Pod};
use smtp_config::Config;
use smtp_deliver::Delivery;
use smtp_observe::Event;
use smtp_queue::Queue;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::{interval, sleep, timeout_at};

/// How often it is counted what is left.
const COUNT: Duration = Duration::from_secs(1);
/// Pause between questions after the start that nobody answers. `SMTPPodFateUnknown` looks back twice as long.
const AGAIN: Duration = Duration::from_secs(300);

/// A pod that does not come back.
#[derive(Clone, Debug)]
pub(crate) struct Leaver {
    pod: String,
    claim: Option<String>,
}

/// Whether it is to be asked at all. Of a queue that is shared, others take over what is left.
pub(crate) fn is_wanted(config: &Config, queue: &Queue) -> bool {
    config.kubernetes.statefulset.is_some() && queue.store().shared().is_none()
}

/// What is wrong with `[kubernetes]` in this place, for `check` and the first lines of the log.
pub(crate) fn warnings(config: &Config) -> Vec<String> {
    let settings = &config.kubernetes;
    if settings.statefulset.is_none() {
        return Vec::new();
    }
    if config.storage.url.is_some() {
        return vec![
            "kubernetes.statefulset: it does nothing with storage.url: other servers go on with the queue at once"
                .into(),
        ];
    }
    let wrong = match Pod::find(settings) {
        Ok(Some(pod)) => pod.check().err(),
        Ok(None) => None,
        Err(reason) => Some(reason),
    };
    let wrong =
        wrong.map(|reason| format!("{reason}; a pod that is scaled away leaves its mail without a last try"));
    wrong.into_iter().collect()
}

/// Asks after the start, until there is an answer: what is missing is known before it is needed, and that it was mended, too.
pub(crate) async fn rehearse(house: Arc<House>, queue: Queue) {
    let is_settled = || async {
        let wanted = is_wanted(&house.config.load(), &queue);
        !wanted || ask(&house).await.is_some()
    };
    repeat_until(is_settled, AGAIN).await;
}

/// Tries until it gives `true`, with pauses.
async fn repeat_until<F: Future<Output = bool>>(attempt: impl Fn() -> F, pause: Duration) {
    while !attempt().await {
        sleep(pause).await;
    }
}

/// This pod's fate, if it is known; says so if not.
async fn ask(house: &House) -> Option<Fate> {
    let settings = house.config.load().kubernetes.clone();
    let fate = match Pod::find(&settings) {
        Ok(None) => return None,
        Ok(Some(pod)) => pod.fate().await,
        Err(reason) => Err(reason),
    };
    match fate {
        Ok(fate) => Some(fate),
        Err(error) => {
            let (pod, error) = (&pod::name(&settings), &error);
            house.observer.emit(Event::PodFateUnknown { pod, error });
            None
        }
    }
}

/// The first part of a drain: ends when delivery is to stop. `received` is told when no more mail comes in.
pub(crate) async fn take_leave(
    house: &House,
    queue: &Queue,
    delivery: &Delivery,
    received: oneshot::Receiver<()>,
) {
    let began = Instant::now();
    let settings = house.config.load().kubernetes.clone();
    delivery.pause();
    let pod = pod::name(&settings);
    let (why, claim) = match ask(house).await {
        None => return,
        Some(Fate::ComesBack { why }) => {
            let (pod, why) = (&pod, &why);
            return house.observer.emit(Event::PodComesBack { pod, why });
        }
        Some(Fate::Leaves { why, claim }) => (why, claim),
    };
    let messages = count(queue).await;
    house.leaving(
        Leaver {
            pod: pod.clone(),
            claim,
        },
        messages.unwrap_or(0),
    );
    house.observer.emit(Event::PodLeaves {
        pod: &pod,
        why: &why,
        messages: messages.unwrap_or(0),
        handover: settings.handover,
    });
    let hand_over = async {
        if settings.handover.is_zero() {
            return;
        }
        if let Err(error) = delivery.try_all().await {
            let error = &error.to_string();
            house.observer.emit(Event::StoreFailed {
                operation: "retry",
                error,
            });
        }
        // Who does not tell is gone, and brings nothing.
        let _ = received.await;
        delivery.nothing_left().await;
    };
    tokio::select! {
        // At its end the ordinary drain takes over.
        _ = timeout_at((began + settings.handover).into(), hand_over) => {}
        () = keep_count(house, queue) => {}
    }
    house.handed_over();
}

async fn count(queue: &Queue) -> Option<u64> {
    queue.store().stats().await.ok().map(|stats| stats.messages)
}

/// Tells what is left as long as it is asked to. Never ends.
async fn keep_count(house: &House, queue: &Queue) {
    let mut tick = interval(COUNT);
    loop {
        tick.tick().await;
        if let Some(messages) = count(queue).await {
            house.stop.left(messages);
        }
    }
}

/// The last word of a pod that leaves: what stays in its claim. Gives how many messages; `None` when it is none that leaves.
pub(crate) async fn last_word(house: &House, queue: &Queue) -> Option<u64> {
    let leaver = house.leaver()?;
    let counted = count(queue).await;
    let messages = counted.or(house.stop.last_left()).unwrap_or(0);
    let calls = match house.webhooks() {
        Some(webhooks) => webhooks.waiting().await.ok(),
        None => Some(Vec::new()),
    };
    // A claim is deleted on the word that nothing is left: what could not be counted is not nothing.
    let certain = counted.is_some() && calls.is_some();
    let (pod, claim) = (&*leaver.pod, leaver.claim.as_deref());
    let webhook_calls = calls.iter().flatten().map(|one| one.calls).sum();
    house.observer.emit(match messages + webhook_calls {
        0 if certain => Event::NothingLeftBehind { pod, claim },
        _ => Event::LeftBehind {
            pod,
            messages,
            webhook_calls,
            claim,
        },
    });
    Some(messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn what_nobody_answers_is_asked_again() {
        let asked = AtomicU32::new(0);
        let third = || async { asked.fetch_add(1, Ordering::Relaxed) == 2 };
        repeat_until(third, Duration::from_millis(1)).await;
        assert_eq!(asked.into_inner(), 3);
    }
}
