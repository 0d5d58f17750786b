//! Lists for people, in the order of the names, a page at a time.

use super::Snapshot;
use crate::objects::{Account, Alias, DkimKey, Domain};
use crate::shelf::Kind;
use std::sync::Arc;

impl Snapshot {
    /// At most `limit` domains, after the one named `after` (`""` for the first page).
    pub fn domains(&self, after: &str, limit: usize) -> Vec<Arc<Domain>> {
        self.domains.page(after, limit)
    }

    /// At most `limit` accounts, after the one named `after`.
    pub fn accounts(&self, after: &str, limit: usize) -> Vec<Arc<Account>> {
        self.accounts.page(after, limit)
    }

    /// At most `limit` aliases, after the one named `after`.
    pub fn aliases(&self, after: &str, limit: usize) -> Vec<Arc<Alias>> {
        self.aliases.page(after, limit)
    }

    /// The keys of at most `limit` domains, after the domain `after`, each domain's in the order in which they sign.
    pub fn keys(&self, after: &str, limit: usize) -> Vec<Arc<DkimKey>> {
        let domains = self.keys.page(after, limit);
        domains.iter().flat_map(|keys| keys.iter().cloned()).collect()
    }

    /// An alias, by its name as it is listed.
    pub fn alias(&self, name: &str) -> Option<&Arc<Alias>> {
        self.aliases.get(&crate::name::alias_key(name)?)
    }

    /// All keys of a domain, in the order in which they sign.
    pub fn keys_of(&self, domain: &str) -> Vec<Arc<DkimKey>> {
        let keys = crate::name::domain_key(domain).and_then(|key| self.keys.get(&key));
        keys.map(|keys| keys.to_vec()).unwrap_or_default()
    }

    /// A key, by its domain and selector.
    pub fn key(&self, domain: &str, selector: &str) -> Option<&Arc<DkimKey>> {
        let keys = self.keys.get(&crate::name::domain_key(domain)?)?;
        keys.iter()
            .find(|key| key.identity.selector().eq_ignore_ascii_case(selector))
    }

    /// Records of the database that cannot be read and are left out, with the reason.
    pub fn unreadable(&self) -> impl Iterator<Item = (Kind, &str, &str)> {
        self.unreadable
            .iter()
            .map(|((kind, name), reason)| (*kind, name.as_str(), reason.as_str()))
    }

    /// How many domains, accounts, aliases there are.
    pub fn counts(&self) -> [(Kind, usize); 3] {
        [
            (Kind::Domain, self.domains.len()),
            (Kind::Account, self.accounts.len()),
            (Kind::Alias, self.aliases.len()),
        ]
    }
}
