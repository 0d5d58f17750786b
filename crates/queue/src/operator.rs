//! What operators say of mail: what is not to be tried for a while, and who changed what; by which tokens they are known.

mod shape;

pub use shape::{AGES, Ages, Shape, ShapeBy};

pub(crate) use shape::Shaping;

use crate::message::MailOptions;
use jiff::Timestamp;
use smtp::Address;
use smtp_observe::Event;

/// What a suspension is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SuspensionKind {
    /// Recipients of a domain.
    Domain,
    /// Mail of a sender: an address, or `@domain` for all of a domain.
    Sender,
    /// Mail that an account sent.
    Account,
    /// Recipients whose mail goes to a next hop, by the name that it has in the list of destinations.
    Destination,
}

impl SuspensionKind {
    /// Every kind.
    pub const ALL: [SuspensionKind; 4] = [
        SuspensionKind::Domain,
        SuspensionKind::Sender,
        SuspensionKind::Account,
        SuspensionKind::Destination,
    ];

    /// Its name in the API and in the database.
    pub fn name(self) -> &'static str {
        match self {
            SuspensionKind::Domain => "domain",
            SuspensionKind::Sender => "sender",
            SuspensionKind::Account => "account",
            SuspensionKind::Destination => "destination",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<SuspensionKind> {
        SuspensionKind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Mail that an operator keeps waiting: it is taken, and not tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspension {
    /// What it is about.
    pub kind: SuspensionKind,
    /// Whose mail; lower case, but for accounts.
    pub name: String,
    /// For people.
    pub reason: String,
    /// Who said so.
    pub who: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None` until it is resumed.
    pub until: Option<Timestamp>,
}

impl Suspension {
    /// Whether it is about mail for a recipient of this domain (lower case). One of a destination never is: where mail goes is not the queue's to
    /// know.
    pub fn covers(&self, sender: Option<&Address>, options: &MailOptions, domain: &str) -> bool {
        match self.kind {
            SuspensionKind::Destination => false,
            SuspensionKind::Domain => self.name == domain,
            SuspensionKind::Account => options.account.as_deref() == Some(&self.name),
            SuspensionKind::Sender => sender.is_some_and(|sender| self.is_of(sender)),
        }
    }

    /// Whether mail that is parked waits for the suspension of this kind and name, which `all` may have. The store does not know where mail goes:
    /// for one of a destination waits what no suspension covers.
    pub(crate) fn keeps(
        (kind, name): (SuspensionKind, &str),
        all: &[Suspension],
        sender: Option<&Address>,
        options: &MailOptions,
        domain: &str,
    ) -> bool {
        if kind == SuspensionKind::Destination {
            return !all.iter().any(|one| one.covers(sender, options, domain));
        }
        let one = Suspension {
            kind,
            name: name.to_owned(),
            reason: String::new(),
            who: String::new(),
            since: Timestamp::UNIX_EPOCH,
            until: None,
        };
        one.covers(sender, options, domain)
    }

    fn is_of(&self, sender: &Address) -> bool {
        match self.name.strip_prefix('@') {
            Some(domain) => sender.domain().eq_ignore_ascii_case(domain),
            None => sender.as_str().eq_ignore_ascii_case(&self.name),
        }
    }
}

/// What operators do to messages that they choose.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// Queued and deferred recipients become due.
    Retry { now: Timestamp },
    /// Queued and deferred recipients that are meant are not tried any more.
    Hold,
    /// Held recipients that are meant become due.
    Unhold { now: Timestamp },
    /// The message goes, whoever holds it.
    Delete,
}

impl Action {
    /// What the log says of a message that it touched.
    pub(crate) fn event(self, id: &str) -> Event<'_> {
        let action = match self {
            Action::Delete => return Event::Deleted { id },
            Action::Retry { .. } => "retry",
            Action::Hold => "hold",
            Action::Unhold { .. } => "release",
        };
        Event::Operated { id, action }
    }
}

/// One change, as the audit trail has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Grows with every record; what is given to [`crate::Store::audit`] is replaced.
    pub number: i64,
    /// When, by the store's clock.
    pub at: Timestamp,
    /// Who: `admin`, or the name of a token.
    pub who: String,
    /// From where: an IP address.
    pub peer: String,
    /// What was done: `queue.retry`, `account.add`.
    pub action: String,
    /// To what.
    pub target: String,
    /// How many things it touched.
    pub touched: u64,
    /// What was there before, as JSON without secrets, where that can be said.
    pub before: Option<String>,
    /// What is there now.
    pub after: Option<String>,
}

/// A token of the admin API that was made at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Its name; no two tokens share one.
    pub name: String,
    /// SHA-256 of the token. The token itself is nowhere.
    pub hash: [u8; 32],
    /// What it may do, by a word of the API.
    pub scope: String,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Until when it is good; `None` until it is revoked.
    pub expires: Option<Timestamp>,
}

/// What became of a new token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenAdded {
    /// It is stored.
    Added,
    /// There is one of that name.
    Exists,
    /// There are 1,000 already.
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspension(kind: SuspensionKind, name: &str) -> Suspension {
        Suspension {
            kind,
            name: name.into(),
            reason: String::new(),
            who: "admin".into(),
            since: Timestamp::UNIX_EPOCH,
            until: None,
        }
    }

    #[test]
    fn each_kind_covers_its_own() {
        let sender = Address::parse("Ann@X.example").ok();
        let options = MailOptions {
            account: Some("shop".into()),
            ..MailOptions::default()
        };
        let covers = |kind, name| suspension(kind, name).covers(sender.as_ref(), &options, "y.example");
        use SuspensionKind::*;
        for (kind, name) in [
            (Domain, "y.example"),
            (Sender, "ann@x.example"),
            (Sender, "@x.example"),
            (Account, "shop"),
        ] {
            assert!(covers(kind, name), "{kind:?} {name}");
        }
        for (kind, name) in [
            (Domain, "x.example"),
            (Sender, "bob@x.example"),
            (Sender, "@example"),
            (Account, "ann"),
        ] {
            assert!(!covers(kind, name), "{kind:?} {name}");
        }
        assert!(!suspension(Sender, "@x.example").covers(None, &options, "y.example"));
    }
}
