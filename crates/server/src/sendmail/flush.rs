//! Sends on what waits in a drop folder. The server does it every few seconds, `sendmail` after its own message and with `-q`.
//!
//! Promises: a file that cannot be read, or a message that is refused, holds up no other; a server that is away ends the round. A
//! process that is killed between the server's 250 and the end of the file sends that message twice.

use super::drop::{DropFolder, Held};
use super::waiting::{Recipient, Waiting};
use smtp::Reply;
use smtp_deliver::NamedServer;
use std::collections::HashMap;
use std::fmt::Display;
use std::path::Path;
use std::time::{Duration, Instant};

/// The wait after the first 4yz; it doubles.
const PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Who hears what goes wrong.
pub(crate) trait Tell {
    /// A recipient was refused for good.
    fn refused(&self, file: &str, waiting: &Waiting, to: &Recipient);
    /// Something in the folder is left alone.
    fn ignored(&self, path: &Path, reason: &dyn Display);
}

/// Messages that have to wait before their next try.
#[derive(Debug, Default)]
pub(crate) struct Pauses(HashMap<String, (Instant, Duration)>);

impl Pauses {
    fn is_due(&self, name: &str) -> bool {
        self.0.get(name).is_none_or(|(due, _)| *due <= Instant::now())
    }

    pub(crate) fn put_off(&mut self, name: &str) {
        let now = Instant::now();
        let pause = self.0.entry(name.to_owned()).or_insert((now, PAUSE));
        pause.0 = now + pause.1;
        pause.1 = (pause.1 * 2).min(LONGEST_PAUSE);
    }
}

/// What a round left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// Messages that wait on.
    pub(crate) waiting: usize,
    /// Why the server was not reached.
    pub(crate) away: Option<Reply>,
}

/// One round through a folder, of `most` messages at most.
///
/// # Errors
/// The folder cannot be listed.
pub(crate) async fn flush(
    folder: &DropFolder,
    server: &NamedServer<'_>,
    most: usize,
    pauses: &mut Pauses,
    tell: &dyn Tell,
) -> std::io::Result<Round> {
    let (names, foreign) = folder.list()?;
    for path in foreign {
        tell.ignored(&path, &"no mail of sendmail's");
    }
    // The names are sorted.
    pauses.0.retain(|name, _| names.binary_search(name).is_ok());
    let mut round = Round::default();
    for (index, name) in names.iter().enumerate().take(most) {
        if !pauses.is_due(name) {
            round.waiting += 1;
            continue;
        }
        let path = folder.path.join(name);
        let held = match folder.take(name) {
            Ok(Some(held)) => held,
            Ok(None) => continue,
            Err(error) => {
                tell.ignored(&path, &error);
                continue;
            }
        };
        match send(held, name, server, tell).await {
            Ok(0) => {}
            Ok(_) => {
                round.waiting += 1;
                pauses.put_off(name);
            }
            Err(Trouble::Away(reply)) => {
                round.waiting += names.len() - index;
                round.away = Some(reply);
                break;
            }
            Err(Trouble::Folder(error)) => {
                tell.ignored(&path, &error);
                round.waiting += 1;
                pauses.put_off(name);
            }
        }
    }
    Ok(round)
}

enum Trouble {
    Away(Reply),
    Folder(std::io::Error),
}

/// Sends one message; gives how many recipients still wait.
async fn send(held: Held, name: &str, server: &NamedServer<'_>, tell: &dyn Tell) -> Result<usize, Trouble> {
    let waiting = &held.waiting;
    let answers = server.send(waiting.outgoing(), waiting.content.clone()).await;
    let answers = answers.map_err(Trouble::Away)?;
    let (mut left, mut refused) = (Vec::new(), Vec::new());
    for (recipient, (_, reply)) in waiting.recipients.iter().zip(answers) {
        let answered = Recipient {
            reason: reply.to_string(),
            ..recipient.clone()
        };
        match reply {
            reply if reply.is_positive() => {}
            reply if reply.is_permanent() => refused.push(answered),
            _ => left.push(answered),
        }
    }
    for recipient in &refused {
        tell.refused(name, waiting, recipient);
    }
    let count = left.len();
    held.settle(left, refused).map_err(Trouble::Folder)?;
    Ok(count)
}
