//! Whose mail an address is: from a recipient to the addresses that mail for it is queued for.
//!
//! One address is looked up in this order, and the first that fits decides:
//!
//! 1. an alias, then an account of that name;
//! 2. the same without its subaddress (`ann+lists@` is Ann's, and keeps its detail on the way to her mailbox);
//! 3. `postmaster@` and `abuse@` of a local domain: `server.postmaster` if it is set;
//! 4. the domain's catch-all alias;
//! 5. `postmaster@` and `abuse@` again, as a mailbox of their own: they are never refused (RFC 5321 4.5.1, RFC 2142);
//! 6. what the domain says of addresses that nobody knows.
//!
//! Each alias is expanded at most once. So a loop ends, and an alias that names itself, or is named by one of its targets,
//! means the mailbox beside it. A target that does not exist is left out as long as another does.

use super::Snapshot;
use crate::name::{account_key, domain_key, fold, joined, without_subaddress};
use smtp::Address;
use smtp_config::Recipients;
use std::collections::HashSet;
use std::slice;

/// Most addresses that one recipient is expanded to, those in between counted too.
pub(crate) const MAX_ADDRESSES: usize = 1000;
/// Most aliases behind one another.
pub(crate) const MAX_DEPTH: usize = 10;
/// Role addresses that every local domain has.
pub(super) const ROLES: [&str; 2] = ["postmaster", "abuse"];

/// Whose mail an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Not ours: relaying decides.
    NotLocal,
    /// Mail for it is queued for these, at least one, each once. Some may not be local.
    Local(Vec<Address>),
    /// The domain's next hop knows whether it exists.
    Verify(Address),
    /// It does not exist: 550 5.1.1.
    Unknown,
    /// It may exist, but cannot be resolved before an operator mends something: 451 4.3.5.
    Trouble(Trouble),
}

/// What an operator has to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its aliases lead to more than 1,000 addresses, or are more than 10 behind one another.
    TooLarge,
    /// A record in the database that cannot be read stands on the way.
    Unreadable,
}

/// What one address is.
pub(super) enum Step<'a> {
    NotLocal,
    Mailbox,
    /// By an alias of this name, or by a role.
    Forward(&'a str, &'a [Address]),
    Verify,
    Unknown,
    Unreadable,
}

impl Snapshot {
    /// Whose mail an address is. Bounded: at most 1,000 addresses are looked at.
    pub fn recipient(&self, address: &Address) -> Resolution {
        match self.step(address, &HashSet::new()) {
            Step::NotLocal => Resolution::NotLocal,
            Step::Mailbox => Resolution::Local(vec![address.clone()]),
            Step::Verify => Resolution::Verify(address.clone()),
            Step::Unknown => Resolution::Unknown,
            Step::Unreadable => Resolution::Trouble(Trouble::Unreadable),
            Step::Forward(name, targets) => match self.expand(name, targets) {
                Err(trouble) => Resolution::Trouble(trouble),
                // A postmaster that does not exist is no reason to refuse mail for one.
                Ok(found)
                    if found.is_empty() && name == ROLES[0] && self.domain(address.domain()).is_some() =>
                {
                    Resolution::Local(vec![address.clone()])
                }
                Ok(found) if found.is_empty() => Resolution::Unknown,
                Ok(found) => Resolution::Local(found),
            },
        }
    }

    /// Breadth first, so that the addresses come in the order in which they are written.
    pub(super) fn expand<'a>(
        &'a self,
        name: &'a str,
        targets: &'a [Address],
    ) -> Result<Vec<Address>, Trouble> {
        let mut expanded = HashSet::from([name]);
        let mut waiting: Vec<&'a Address> = targets.iter().collect();
        let (mut looked_at, mut found, mut seen) = (0, Vec::new(), HashSet::new());
        for _ in 0..MAX_DEPTH {
            looked_at += waiting.len();
            if looked_at > MAX_ADDRESSES {
                return Err(Trouble::TooLarge);
            }
            for address in std::mem::take(&mut waiting) {
                match self.step(address, &expanded) {
                    Step::Unknown => {}
                    Step::Unreadable => return Err(Trouble::Unreadable),
                    Step::NotLocal | Step::Mailbox | Step::Verify => {
                        if seen.insert(account_key(address.as_str())) {
                            found.push(address.clone());
                        }
                    }
                    Step::Forward(name, targets) => {
                        expanded.insert(name);
                        waiting.extend(targets);
                    }
                }
            }
            if waiting.is_empty() {
                return Ok(found);
            }
        }
        Err(Trouble::TooLarge)
    }

    /// Looks up one address; aliases in `expanded` are as if they were not there.
    pub(super) fn step<'a>(&'a self, address: &Address, expanded: &HashSet<&'a str>) -> Step<'a> {
        let Some(domain) = domain_key(address.domain()) else {
            return Step::NotLocal;
        };
        let local = fold(address.local());
        let Some(settings) = self.domains.get(&domain) else {
            return self.elsewhere(&local, &domain);
        };
        let mailbox = without_subaddress(&local, &self.separator);
        for name in [Some(&*local), mailbox.as_deref()].into_iter().flatten() {
            let key = joined(name, &domain);
            if let Some(step) = self.named(&key, expanded) {
                return step;
            }
        }
        let is_role = ROLES.contains(&mailbox.as_deref().unwrap_or(&local));
        if let Some(postmaster) = self.postmaster.as_ref().filter(|_| is_role)
            && !expanded.contains(ROLES[0])
        {
            return Step::Forward(ROLES[0], slice::from_ref(postmaster));
        }
        if let Some(step) = self.named(&joined("", &domain), expanded) {
            return step;
        }
        match settings.recipients {
            _ if is_role => Step::Mailbox,
            Recipients::Any => Step::Mailbox,
            Recipients::Verify => Step::Verify,
            Recipients::Known => Step::Unknown,
        }
    }

    /// An alias or an account of exactly this name.
    fn named<'a>(&'a self, key: &str, expanded: &HashSet<&'a str>) -> Option<Step<'a>> {
        if self.is_unreadable(key) {
            return Some(Step::Unreadable);
        }
        let alias = self
            .aliases
            .get(key)
            .filter(|alias| !expanded.contains(&*alias.name));
        if let Some(alias) = alias {
            return Some(Step::Forward(&alias.name, &alias.targets));
        }
        self.accounts.contains(key).then_some(Step::Mailbox)
    }

    /// A domain that is not local. Mail for postmaster of our own name is ours all the same.
    fn elsewhere(&self, local: &str, domain: &str) -> Step<'_> {
        if self.is_unreadable(domain) {
            return Step::Unreadable;
        }
        match &self.host_postmaster {
            Some(postmaster) if local == ROLES[0] && *domain == *self.hostname => {
                Step::Forward(ROLES[0], slice::from_ref(postmaster))
            }
            _ => Step::NotLocal,
        }
    }
}
