//! A history that is kept elsewhere: in a database that many servers share.

use crate::Limits;
use crate::news::News;
use crate::terms::{Field, first_id, hash};
use jiff::Timestamp;
use std::fmt::{Debug, Write};

/// Octets of steps after which a message's further attempts are only counted.
pub(crate) const MAX_STEPS: usize = 128 << 10;
/// A message whose end was never seen is forgotten so long after others of its age, in milliseconds: 30 days.
pub(crate) const NEVER_ENDED: i64 = 30 * 86_400_000;

/// Keeps histories of messages. Every call blocks, and is made off the reactor.
pub trait Archive: Debug + Send + Sync {
    /// What its clock shows. By it messages end and are old: of many servers one may have a wrong one, and none is to forget what others keep. Does
    /// not block.
    fn now(&self) -> Timestamp;

    /// Adds what is new of messages, all or nothing.
    ///
    /// # Errors
    /// The database's.
    fn add(&self, additions: &[Addition]) -> Result<(), String>;

    /// Forgets some of what is old, and the oldest when there is too much. Gives how many messages.
    ///
    /// # Errors
    /// The database's.
    fn forget(&self, old: &Old) -> Result<u64, String>;

    /// One message.
    ///
    /// # Errors
    /// The database's.
    fn by_id(&self, id: &str) -> Result<Option<Record>, String>;

    /// Messages with ids from `from` up to the one before `to`, newest first; with `term` those that have it.
    ///
    /// # Errors
    /// The database's.
    fn newest(&self, term: Option<i64>, from: &str, to: &str, limit: usize) -> Result<Vec<Record>, String>;
}

/// What is new of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addition {
    /// Its queue id.
    pub id: String,
    /// When it left the queue, by the archive's clock, in milliseconds since 1970.
    pub ended: Option<i64>,
    /// Empty for the null sender; `None` while only later steps are known.
    pub sender: Option<String>,
    /// Who sent it.
    pub account: Option<String>,
    /// As it stands in the header.
    pub message_id: Option<String>,
    /// Lines of JSON.
    pub steps: String,
    /// Those of them that are kept in any case.
    pub last_steps: String,
    /// How many the others are.
    pub omissible: i64,
    /// What it is found by.
    pub terms: Vec<i64>,
}

/// What is old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Old {
    /// Messages that ended before that, in milliseconds since 1970.
    pub ended_before: i64,
    /// Messages that came before that and whose end was not seen.
    pub lost_before: i64,
    /// Most octets that are kept.
    pub max_size: u64,
}

impl Old {
    pub(crate) fn now(limits: &Limits, now: Timestamp) -> Old {
        let retention = i64::try_from(limits.retention.as_millis()).unwrap_or(i64::MAX);
        let ended_before = now.as_millisecond().saturating_sub(retention);
        Old {
            ended_before,
            lost_before: ended_before.saturating_sub(NEVER_ENDED),
            max_size: limits.max_size,
        }
    }

    /// Ids of what came before that.
    pub fn came_before(&self) -> String {
        first_id(self.ended_before)
    }

    /// Ids of what is lost.
    pub fn lost(&self) -> String {
        first_id(self.lost_before)
    }
}

/// What is kept of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Its queue id.
    pub id: String,
    /// When it left the queue, in milliseconds since 1970.
    pub ended: Option<i64>,
    /// As in [`Addition`].
    pub sender: Option<String>,
    /// As in [`Addition`].
    pub account: Option<String>,
    /// As in [`Addition`].
    pub message_id: Option<String>,
    /// Lines of JSON.
    pub steps: String,
    /// Steps that had no room.
    pub omitted: i64,
}

/// Octets of steps that a message may have before those that can be omitted are.
pub const MOST_STEPS: i64 = MAX_STEPS as i64;

pub(crate) fn addition(id: &str, news: &News<'_>, now: Timestamp) -> Addition {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let mut addition = Addition {
        id: id.to_owned(),
        ended: news.ended.then(|| now.as_millisecond()),
        sender: owned(news.sender),
        account: owned(news.account),
        message_id: owned(news.message_id),
        ..Addition::default()
    };
    for (step, last) in &news.steps {
        // Writing to a String does not fail.
        let _ = writeln!(addition.steps, "{step}");
        match last {
            true => drop(writeln!(addition.last_steps, "{step}")),
            false => addition.omissible += 1,
        }
    }
    let recipients = news.recipients.iter().map(|one| hash(Field::Recipient, one));
    addition.terms = news.terms().chain(recipients).collect();
    addition.terms.sort_unstable();
    addition.terms.dedup();
    addition
}
