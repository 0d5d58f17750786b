//! From what is declared and what is stored to one picture, and from one picture to the next.

use super::resolve::ROLES;
use super::{Secrets, Snapshot};
use crate::declared::Declarations;
use crate::map::Map;
use crate::name::joined;
use crate::objects::{Account, DkimKey};
use crate::record::{Object, ObjectEdit};
use crate::shelf::{Contents, Kind};
use smtp::Address;
use std::collections::HashMap;
use std::sync::Arc;

impl Snapshot {
    /// A picture of what is declared alone.
    pub(crate) fn of(declarations: &Declarations, accounts: Vec<Account>, secrets: Arc<Secrets>) -> Self {
        let mut snapshot = Snapshot {
            revision: 0,
            domains: Map::default(),
            accounts: Map::default(),
            identities: Map::default(),
            aliases: Map::default(),
            keys: Map::default(),
            unreadable: Arc::default(),
            separator: declarations.separator.as_str().into(),
            hostname: declarations.hostname.as_str().into(),
            postmaster: declarations.postmaster.clone(),
            host_postmaster: None,
            first_domain: declarations.domains.first().map(|domain| domain.name.clone()),
            secrets,
        };
        let objects = declarations.domains.iter().cloned().map(Object::Domain);
        let objects = objects
            .chain(accounts.into_iter().map(Object::Account))
            .chain(declarations.aliases.iter().cloned().map(Object::Alias))
            .chain(declarations.keys.iter().cloned().map(Object::DkimKey));
        objects.for_each(|object| snapshot.put(object));
        snapshot.find_postmaster();
        snapshot
    }

    /// The same with what is stored. Gives what could not be taken, and why.
    pub(crate) fn with(mut self, contents: Contents) -> (Self, Vec<String>) {
        let mut warnings = Vec::new();
        let mut unreadable = HashMap::new();
        for record in contents.records {
            let (kind, name) = (record.kind, record.name.clone());
            match Object::read(record) {
                Ok(object) => match self.declared(kind, &name) {
                    None => warnings.extend(self.put_stored(object)),
                    Some(place) => warnings.push(format!(
                        "{} {name} in the database is not used: {place} declares one of that name",
                        kind.name()
                    )),
                },
                Err(reason) => {
                    warnings.push(format!(
                        "{} {name} in the database is left out: {reason}",
                        kind.name()
                    ));
                    unreadable.insert((kind, name), reason);
                }
            }
        }
        self.unreadable = Arc::new(unreadable);
        self.revision = contents.revision;
        self.find_postmaster();
        (self, warnings)
    }

    /// The next picture, after edits that were checked against this one.
    pub(crate) fn after(&self, edits: Vec<ObjectEdit>, revision: u64) -> Self {
        let mut next = self.clone();
        let domains = edits.iter().any(|edit| edit.kind() == Kind::Domain);
        for edit in edits {
            match edit {
                ObjectEdit::Put(object) => next.put(*object),
                ObjectEdit::Delete(kind, name) => next.remove(kind, &name),
            }
        }
        next.revision = revision;
        if domains {
            next.find_postmaster();
        }
        next
    }

    /// Where the object of that name is declared.
    pub(crate) fn declared(&self, kind: Kind, name: &str) -> Option<&str> {
        let declared = match kind {
            Kind::Domain => self.domains.get(name).map(|domain| &domain.declared),
            Kind::Account => self.accounts.get(name).map(|account| &account.declared),
            Kind::Alias => self.aliases.get(name).map(|alias| &alias.declared),
            Kind::DkimKey => self.key_named(name).map(|key| &key.declared),
        };
        declared?.as_deref()
    }

    /// Whether a record that cannot be read has this name, the key of an address or a domain.
    pub(crate) fn is_unreadable(&self, name: &str) -> bool {
        !self.unreadable.is_empty()
            && [Kind::Domain, Kind::Account, Kind::Alias]
                .into_iter()
                .any(|kind| self.unreadable.contains_key(&(kind, name.to_owned())))
    }

    /// The key whose record has this name.
    pub(crate) fn key_named(&self, name: &str) -> Option<&Arc<DkimKey>> {
        let (selector, domain) = name.split_once("._domainkey.")?;
        self.key(domain, selector)
    }

    /// Takes a stored account without the identities that others have already.
    fn put_stored(&mut self, object: Object) -> Vec<String> {
        let Object::Account(mut account) = object else {
            self.put(object);
            return Vec::new();
        };
        let mut warnings = Vec::new();
        account
            .identities
            .retain(|identity| match self.identities.get(&identity.to_string()) {
                None => true,
                Some(owner) => {
                    warnings.push(format!(
                        "account {} does not have the identity {identity}: {owner} has it",
                        account.name
                    ));
                    false
                }
            });
        self.put(Object::Account(account));
        warnings
    }

    /// Adds an object, in place of the one of its name.
    fn put(&mut self, object: Object) {
        match object {
            Object::Domain(domain) => self.domains.insert(&domain.name.clone(), Arc::new(domain)),
            Object::Alias(alias) => self.aliases.insert(&alias.name.clone(), Arc::new(alias)),
            Object::Account(account) => {
                self.forget_identities(&account.name);
                let name = account.name.clone();
                for identity in &account.identities {
                    self.identities
                        .insert(&identity.to_string(), Arc::new(name.clone()));
                }
                self.accounts.insert(&name, Arc::new(account));
            }
            Object::DkimKey(key) => {
                let domain = key.identity.domain().to_owned();
                let mut keys = self.other_keys(&domain, key.identity.selector());
                keys.push(Arc::new(key));
                keys.sort_by_key(|key| key.sign_from);
                self.keys.insert(&domain, Arc::new(keys));
            }
        }
    }

    fn remove(&mut self, kind: Kind, name: &str) {
        if self.unreadable.contains_key(&(kind, name.to_owned())) {
            Arc::make_mut(&mut self.unreadable).remove(&(kind, name.to_owned()));
        }
        match kind {
            Kind::Domain => self.domains.remove(name),
            Kind::Alias => self.aliases.remove(name),
            Kind::Account => {
                self.forget_identities(name);
                self.accounts.remove(name);
            }
            Kind::DkimKey => {
                let Some(key) = self.key_named(name).cloned() else {
                    return;
                };
                let domain = key.identity.domain();
                match self.other_keys(domain, key.identity.selector()) {
                    none if none.is_empty() => self.keys.remove(domain),
                    others => self.keys.insert(domain, Arc::new(others)),
                }
            }
        }
    }

    fn forget_identities(&mut self, account: &str) {
        let old = self.accounts.get(account).cloned();
        for identity in old.iter().flat_map(|account| &account.identities) {
            self.identities.remove(&identity.to_string());
        }
    }

    /// A domain's keys but the one of this selector.
    fn other_keys(&self, domain: &str, selector: &str) -> Vec<Arc<DkimKey>> {
        let keys = self.keys.get(domain).into_iter().flat_map(|keys| keys.iter());
        keys.filter(|key| !key.identity.selector().eq_ignore_ascii_case(selector))
            .cloned()
            .collect()
    }

    /// Who has the mail for postmaster of our own name when nobody is set: postmaster of the first domain.
    fn find_postmaster(&mut self) {
        let first = match &self.first_domain {
            Some(declared) => Some(declared.clone()),
            None => self.domains.page("", 1).pop().map(|domain| domain.name.clone()),
        };
        let of_first = first.and_then(|domain| Address::parse(&joined(ROLES[0], &domain)).ok());
        self.host_postmaster = self.postmaster.clone().or(of_first);
    }
}
