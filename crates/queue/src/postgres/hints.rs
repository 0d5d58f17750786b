//! Hints: a server says that it changed something, and the others look at once what it was, rather than within a second.
//!
//! They are `NOTIFY` and `LISTEN`, on a connection of their own. Nothing rests on them: whoever hears none looks once a second
//! ([`super::pulse`]), and looks when the connection is there again. So they are sent with what operators do, and with mail that is given back, and
//! never with a message or a result: until version 19 all transactions with a NOTIFY commit one after the other.

use super::client::{Client, run};
use super::connect::Connector;
use super::error::Error;
use super::pause::Pauses;
use parking_lot::Mutex;
use smtp_observe::{Event, Observer};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// Pauses between attempts to listen.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How often it is seen whether the connection still stands, and how long the answer may take.
const ALIVE: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(5);

/// What a server did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// It gave mail back, or made some due.
    Due,
    /// It changed the directory.
    Directory,
    /// It suspended mail, or let it go on.
    Suspensions,
    /// It was asked to have all read their configurations again.
    Reload,
    /// It came, goes, or found another one dead.
    Servers,
}

impl Hint {
    const ALL: [Hint; 5] = [
        Hint::Due,
        Hint::Directory,
        Hint::Suspensions,
        Hint::Reload,
        Hint::Servers,
    ];

    fn word(self) -> &'static str {
        match self {
            Hint::Due => "due",
            Hint::Directory => "directory",
            Hint::Suspensions => "suspensions",
            Hint::Reload => "reload",
            Hint::Servers => "servers",
        }
    }
}

/// Tells the other servers of something that is committed. If it cannot be said, they find it.
pub(super) async fn say(db: &Client, from: Uuid, hint: Hint) {
    let text = format!("{} {from}", hint.word());
    let _ = run(db, "SELECT pg_notify('smtp_queue', $1)", &[&text]).await;
}

/// What is said, and by whom; `None` of what no server says.
fn understood(text: &str) -> Option<(Hint, Uuid)> {
    let (word, from) = text.split_once(' ')?;
    let hint = Hint::ALL.into_iter().find(|hint| hint.word() == word)?;
    Some((hint, Uuid::parse_str(from).ok()?))
}

/// What was heard. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    something: Notify,
    due: AtomicU64,
    /// Of each kind who said it last, since somebody looked.
    said: Mutex<[Option<Uuid>; Hint::ALL.len()]>,
}

impl Heard {
    /// Waits until something is heard that nobody waited for yet.
    pub(super) async fn something(&self) {
        self.0.something.notified().await;
    }

    /// How often others said that something is due.
    pub(super) fn due(&self) -> u64 {
        self.0.due.load(Ordering::Acquire)
    }

    /// What others said since this was asked last goes to the log: one line of a kind, however often it was said.
    pub(super) fn tell(&self, observer: &Observer) {
        let said = std::mem::take(&mut *self.0.said.lock());
        for (hint, from) in Hint::ALL.into_iter().zip(said) {
            if let Some(from) = from {
                observer.emit(Event::Hint {
                    what: hint.word(),
                    from: &from.to_string(),
                });
            }
        }
    }

    /// Takes what was said on the channel: by our servers, or by whoever else is let into the database. What no server says is passed over.
    fn take(&self, text: &str, own: Uuid) {
        let Some((hint, from)) = understood(text) else {
            return;
        };
        if from == own {
            return;
        }
        if hint == Hint::Due {
            self.0.due.fetch_add(1, Ordering::AcqRel);
        }
        if let Some(last) = self.0.said.lock().get_mut(hint as usize) {
            *last = Some(from);
        }
        self.0.something.notify_one();
    }
}

/// The task that listens.
pub(super) struct Listener {
    pub(super) connector: Connector,
    pub(super) server: Uuid,
    pub(super) heard: Heard,
    pub(super) observer: Observer,
}

/// Ends a task with whoever holds it.
struct Ended<T>(JoinHandle<T>);

impl<T> Drop for Ended<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Listener {
    /// Never ends.
    pub(super) async fn run(self) {
        let (mut pauses, mut told) = (Pauses::new(PAUSES), false);
        loop {
            let Err(error) = self.listen(&mut pauses, &mut told).await;
            if !std::mem::replace(&mut told, true) {
                self.observer.emit(Event::HintsLost {
                    error: &crate::store::StoreError::from(error).to_string(),
                });
            }
            sleep(pauses.next()).await;
        }
    }

    /// Listens as long as the connection stands.
    async fn listen(&self, pauses: &mut Pauses, told: &mut bool) -> Result<Infallible, Error> {
        let (heard, own) = (self.heard.clone(), self.server);
        let listening = self.connector.listen(move |text| heard.take(text, own));
        let (client, connection) = in_time(listening).await?;
        let mut connection = Ended(connection);
        in_time(client.batch_execute("LISTEN smtp_queue")).await?;
        pauses.reset();
        *told = false;
        self.observer.emit(Event::HintsHeard {
            channel: "smtp_queue",
        });
        // What was said before is looked for.
        self.heard.0.something.notify_one();
        loop {
            tokio::select! {
                ended = &mut connection.0 => {
                    let closed = || Error::Away("the database closed the connection".to_owned());
                    return Err(ended.ok().and_then(Result::err).map_or_else(closed, Error::from));
                }
                () = sleep(ALIVE) => in_time(client.batch_execute("")).await?,
            }
        }
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Error> {
    match timeout(PATIENCE, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::Away("the database does not answer".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_servers_say_is_heard_and_nothing_else() {
        let (own, other) = (Uuid::new_v4(), Uuid::new_v4());
        let heard = Heard::default();
        for text in [
            &*format!("due {own}"),
            "due",
            "due ",
            "due \u{0}' OR 1",
            "",
            "something else",
            &*format!("something {other}"),
            &*format!("{other}"),
        ] {
            heard.take(text, own);
            let something = timeout(Duration::ZERO, heard.something()).await;
            assert!(something.is_err(), "{text:?} was heard");
        }
        assert_eq!(heard.due(), 0);
        for hint in Hint::ALL {
            heard.take(&format!("{} {other}", hint.word()), own);
            let something = timeout(Duration::ZERO, heard.something()).await;
            assert!(something.is_ok(), "{hint:?} was not heard");
            assert_eq!(heard.0.said.lock()[hint as usize], Some(other));
        }
        assert_eq!(heard.due(), 1);
        // Told once.
        heard.tell(&Observer::silent());
        assert!(heard.0.said.lock().iter().all(Option::is_none));
    }
}
