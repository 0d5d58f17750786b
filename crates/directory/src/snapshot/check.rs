//! Whether aliases lead somewhere: asked when they are declared or changed. Resolution is safe from loops all the same.

use super::Snapshot;
use super::resolve::{MAX_ADDRESSES, MAX_DEPTH, Resolution, Step, Trouble};
use crate::declared::Declarations;
use crate::name::domain_of;
use std::borrow::Borrow;
use std::collections::{HashMap, HashSet, VecDeque};

impl Snapshot {
    /// What is wrong with an alias.
    pub(crate) fn check_alias(&self, name: &str) -> Result<(), String> {
        let Some(alias) = self.aliases.get(name) else {
            return Ok(());
        };
        let itself = HashSet::from([name]);
        for target in &alias.targets {
            let returns =
                matches!(self.step(target, &HashSet::new()), Step::Forward(next, _) if next == name);
            let exists = matches!(self.step(target, &itself), Step::Mailbox | Step::Verify);
            if returns && !exists {
                return Err(format!(
                    "alias {name} leads back to itself: there is no mailbox {target}; add that account first, or name another address"
                ));
            }
        }
        let next = |name: &str| -> Vec<&str> {
            let targets = self
                .aliases
                .get(name)
                .into_iter()
                .flat_map(|alias| &alias.targets);
            let named = targets.filter_map(|target| match self.step(target, &HashSet::new()) {
                Step::Forward(next, _) => Some(next),
                _ => None,
            });
            named.collect()
        };
        if let Some(path) = path_back(name, next) {
            return Err(format!("alias {name} leads back to itself: {path}"));
        }
        match self.expand(name, &alias.targets) {
            Err(Trouble::TooLarge) => Err(format!(
                "alias {name} leads to more than {MAX_ADDRESSES} addresses, or over more than {MAX_DEPTH} aliases"
            )),
            _ => Ok(()),
        }
    }

    /// What is doubtful about what is declared, now that it is seen with what is stored.
    pub(crate) fn doubts(&self, declarations: &Declarations) -> Vec<String> {
        let mut doubts = Vec::new();
        for alias in &declarations.aliases {
            let place = alias.declared.as_deref().unwrap_or_default();
            let domain = domain_of(&alias.name).unwrap_or_default();
            if !self.domains.contains(domain) {
                doubts.push(format!(
                    "{place}.name: {domain} is not a local domain, so it gets no mail"
                ));
            } else if let Err(reason) = self.check_alias(&alias.name) {
                doubts.push(format!("{place}.to: {reason}"));
            }
        }
        if let Some(postmaster) = &self.postmaster
            && self.recipient(postmaster) == Resolution::Unknown
        {
            doubts.push(format!("server.postmaster: {postmaster} does not exist; mail for postmaster goes to mailboxes of that name"));
        }
        doubts
    }
}

/// The way from `start` over others back to it, if there is one, in words. `next` says where each leads; naming itself is no way.
pub(crate) fn path_back<'a, T: Borrow<str> + 'a>(
    start: &'a str,
    next: impl Fn(&str) -> Vec<T>,
) -> Option<String> {
    let mut from: HashMap<String, String> = HashMap::new();
    let mut waiting = VecDeque::from([start.to_owned()]);
    while let Some(name) = waiting.pop_front() {
        for target in next(&name) {
            let target = target.borrow();
            if target == start && name != start {
                return Some(words(start, name, &from));
            }
            if target != start && !from.contains_key(target) && from.len() < MAX_ADDRESSES {
                from.insert(target.to_owned(), name.clone());
                waiting.push_back(target.to_owned());
            }
        }
    }
    None
}

fn words(start: &str, last: String, from: &HashMap<String, String>) -> String {
    let way = std::iter::successors(Some(&last), |name| from.get(*name));
    let mut names: Vec<&str> = way.map(String::as_str).collect();
    names.reverse();
    names.push(start);
    names.join(" → ")
}
