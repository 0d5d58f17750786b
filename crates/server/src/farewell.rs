//! The drain of a pod that may not come back (`[kubernetes]`, SQLite): asks, and if it leaves for good, has its mail tried once more.
//!
//! Whatever goes wrong, the drain is the ordinary one. Why attempts, and what they cost: docs/decisions/0010-leaving-for-good.md.

use crate::house::House;
use crate::pod::{self, Fate, Pod};
use smtp_config::Config;
use smtp_deliver::Delivery;
use smtp_export::Webhooks;
use smtp_observe::Event;
use smtp_queue::Queue;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::{interval, sleep, timeout, timeout_at};

/// How often it is counted what is left.
const COUNT: Duration = Duration::from_secs(1);
/// How long the store may take to say how much there is: what is said last must be said before the pod is killed.
const COUNTING: Duration = Duration::from_secs(2);
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
///
/// It takes as long as `kubernetes.handover` at most, from its beginning on, whatever hangs; with less than 7 s there, as long as the question
/// (5 s) and a count (2 s).
pub(crate) async fn take_leave(
    house: &House,
    queue: &Queue,
    delivery: &Delivery,
    received: oneshot::Receiver<()>,
) {
    let settings = house.config.load().kubernetes.clone();
    let end = Instant::now() + settings.handover;
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
        messages,
    );
    house.observer.emit(Event::PodLeaves {
        pod: &pod,
        why: &why,
        messages,
        handover: settings.handover,
    });
    if !settings.handover.is_zero() {
        tokio::select! {
            // At its end the ordinary drain takes over.
            _ = timeout_at(end.into(), hand_over(house, delivery, received)) => {}
            () = keep_count(house, queue) => {}
        }
    }
    house.handed_over();
}

/// Has everything tried once more, and waits until that is done.
async fn hand_over(house: &House, delivery: &Delivery, received: oneshot::Receiver<()>) {
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
}

/// How many messages there are; `None` when the store does not say so within [`COUNTING`].
pub(crate) async fn count(queue: &Queue) -> Option<u64> {
    let stats = timeout(COUNTING, queue.store().stats()).await;
    Some(stats.ok()?.ok()?.messages)
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

/// The last word of a pod that leaves: what stays in its claim, with so many messages in its queue as were counted. Gives their number; `None`
/// when it is not known, and when the pod is none that leaves.
pub(crate) async fn last_word(house: &House, messages: Option<u64>) -> Option<u64> {
    let leaver = house.leaver()?;
    let calls = match house.webhooks() {
        Some(webhooks) => count_calls(webhooks).await,
        None => Some(0),
    };
    house.observer.emit(left(leaver, messages, calls));
    messages
}

/// How many calls of webhooks wait; `None` when the store does not say so within [`COUNTING`].
async fn count_calls(webhooks: &Webhooks) -> Option<u64> {
    let waiting = timeout(COUNTING, webhooks.waiting()).await.ok()?.ok()?;
    Some(waiting.iter().map(|one| one.calls).sum())
}

/// A claim is deleted on the word that nothing is left: what could not be counted is not nothing, nor is it a number.
fn left(leaver: &Leaver, messages: Option<u64>, webhook_calls: Option<u64>) -> Event<'_> {
    let (pod, claim) = (&*leaver.pod, leaver.claim.as_deref());
    match (messages, webhook_calls) {
        (Some(0), Some(0)) => Event::NothingLeftBehind { pod, claim },
        (messages, webhook_calls) => Event::LeftBehind {
            pod,
            messages,
            webhook_calls,
            claim,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn what_could_not_be_counted_is_neither_nothing_nor_a_number() {
        let leaver = Leaver {
            pod: "smtp-server-1".into(),
            claim: Some("data-smtp-server-1".into()),
        };
        assert!(matches!(
            left(&leaver, Some(0), Some(0)),
            Event::NothingLeftBehind { claim: Some(_), .. }
        ));
        for counted in [
            (None, Some(0)),
            (Some(0), None),
            (None, None),
            (Some(3), Some(0)),
            (Some(0), Some(2)),
        ] {
            match left(&leaver, counted.0, counted.1) {
                Event::LeftBehind {
                    messages,
                    webhook_calls,
                    ..
                } => assert_eq!((messages, webhook_calls), counted),
                other => panic!("{counted:?}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn what_nobody_answers_is_asked_again() {
        let asked = AtomicU32::new(0);
        let third = || async { asked.fetch_add(1, Ordering::Relaxed) == 2 };
        repeat_until(third, Duration::from_millis(1)).await;
        assert_eq!(asked.into_inner(), 3);
    }
}
