//! What operators say of mail: what is not to be tried for a while, and who changed what; by which tokens they are known, and how
//! they look at all of it.

use crate::limits;
use crate::message::MailOptions;
use jiff::Timestamp;
use smtp::Address;
use smtp_observe::Event;
use std::cmp::Reverse;
use std::collections::HashMap;

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
    /// When.
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

/// By what the mail in a [`Shape`] is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShapeBy {
    /// Domains of recipients.
    Recipient,
    /// Domains of senders; the null sender's is empty.
    Sender,
}

/// Recipients in the queue by domain and by age.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// All of them.
    pub total: Ages,
    /// Those of each domain, most first. At most 10,000 domains are told apart.
    pub domains: Vec<(String, Ages)>,
}

/// A shape that is being counted.
#[derive(Default)]
pub(crate) struct Shaping {
    total: Ages,
    domains: HashMap<String, Ages>,
}

impl Shaping {
    /// So many recipients more, at a place among [`Ages`]. Those of a domain that cannot be read are in the total only.
    pub(crate) fn count(&mut self, domain: Option<&str>, place: usize, recipients: u64) {
        add(&mut self.total, place, recipients);
        let Some(domain) = domain else { return };
        if let Some(ages) = self.domains.get_mut(domain) {
            add(ages, place, recipients);
        } else if self.domains.len() < limits::SHAPED {
            add(
                self.domains.entry(domain.to_owned()).or_default(),
                place,
                recipients,
            );
        }
    }

    /// The shape.
    pub(crate) fn done(self) -> Shape {
        let mut domains: Vec<_> = self.domains.into_iter().collect();
        domains.sort_by_cached_key(|(name, ages)| (Reverse(ages.iter().sum::<u64>()), name.clone()));
        Shape {
            total: self.total,
            domains,
        }
    }
}

fn add(ages: &mut Ages, place: usize, recipients: u64) {
    if let Some(ages) = ages.get_mut(place) {
        *ages += recipients;
    }
}

/// Counts by age: the place of one is that of the first of [`AGES`] that it is younger than, and behind all of them the oldest.
pub type Ages = [u64; AGES.len() + 1];

/// Bounds of ages, in minutes.
pub const AGES: [u32; 9] = [5, 10, 20, 40, 80, 160, 320, 640, 1280];

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
    fn a_shape_tells_so_many_domains_apart() {
        let mut shaping = Shaping::default();
        for number in 0..=limits::SHAPED {
            shaping.count(Some(&format!("d{number:05}.example")), 0, 1);
        }
        shaping.count(Some("d00007.example"), 2, 5);
        shaping.count(None, 1, 3);
        shaping.count(None, AGES.len() + 1, 1);
        let shape = shaping.done();
        assert_eq!(shape.total[..3], [10_001, 3, 5]);
        assert_eq!(shape.domains.len(), 10_000, "one more is in the total only");
        let names = shape.domains.iter().map(|(name, _)| name.as_str());
        let first: Vec<&str> = names.take(2).collect();
        assert_eq!(first, ["d00007.example", "d00000.example"]);
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
