//! What the configuration declares, checked: it has to fit together before anything is taken of it.

use crate::credential::{Credential, CredentialError};
use crate::error::DirectoryError;
use crate::name::{account_key, address_key, alias_key, domain_key, domain_of};
use crate::objects::{Account, Alias, DkimKey, Domain};
use crate::senders::Identity;
use crate::snapshot::path_back;
use aws_lc_rs::hmac;
use jiff::Timestamp;
use smtp::Address;
use smtp_config::Config;
use smtp_dkim::SigningKey;
use smtp_sasl::{Password, Secret};
use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

/// The objects of a configuration.
#[derive(Clone, Debug)]
pub struct Declarations {
    pub(crate) domains: Vec<Domain>,
    /// Without their credentials.
    accounts: Vec<(Account, Option<Secret>)>,
    pub(crate) aliases: Vec<Alias>,
    pub(crate) keys: Vec<DkimKey>,
    pub(crate) postmaster: Option<Address>,
    pub(crate) hostname: String,
    pub(crate) separator: String,
}

impl Declarations {
    /// Reads them, and the files of DKIM keys: blocking.
    ///
    /// # Errors
    /// [`DirectoryError::Declarations`] with everything that is wrong.
    pub fn read(config: &Config) -> Result<Self, DirectoryError> {
        let mut reader = Reader {
            faults: Vec::new(),
            names: HashSet::new(),
        };
        let domains = reader.domains(config);
        let accounts = reader.accounts(config);
        let aliases = reader.aliases(config);
        reader.faults.extend(loops(&aliases));
        let keys = reader.keys(config);
        let postmaster = match &config.server.postmaster {
            Some(text) => reader.note("server.postmaster".to_owned(), Address::parse(text)),
            None => first_mailbox(&domains, &accounts),
        };
        if !reader.faults.is_empty() {
            return Err(DirectoryError::Declarations(reader.faults));
        }
        Ok(Declarations {
            domains,
            accounts,
            aliases,
            keys,
            postmaster,
            hostname: domain_key(&config.server.hostname)
                .unwrap_or_default()
                .into_owned(),
            separator: config.delivery.subaddress_separator.clone(),
        })
    }

    /// The DKIM keys.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<smtp_dkim::Identity>> {
        self.keys.iter().map(|key| &key.identity)
    }

    /// The accounts with their credentials. Each password that is not in `cache` takes tens of milliseconds.
    pub(crate) fn accounts(&self, cache: &mut Cache) -> Result<Vec<Account>, DirectoryError> {
        let mut next = HashMap::new();
        let mut accounts = Vec::with_capacity(self.accounts.len());
        let mut faults = Vec::new();
        for (account, secret) in &self.accounts {
            let mut account = account.clone();
            let found = secret
                .as_ref()
                .map(|secret| cache.credential(&account.name, secret, &mut next));
            match found.transpose() {
                Ok(credential) => account.password = credential,
                Err(reason) => {
                    let place = account.declared.as_deref().unwrap_or_default();
                    faults.push(format!("{place}.password: {reason}"));
                }
            }
            accounts.push(account);
        }
        cache.derived = next;
        match faults.is_empty() {
            true => Ok(accounts),
            false => Err(DirectoryError::Declarations(faults)),
        }
    }
}

/// The first declared account that is a mailbox of a declared domain.
fn first_mailbox(domains: &[Domain], accounts: &[(Account, Option<Secret>)]) -> Option<Address> {
    let names = accounts.iter().map(|(account, _)| &*account.name);
    let is_local = |name: &str| domains.iter().any(|domain| domain_of(name) == Some(&domain.name));
    names
        .filter(|name| is_local(name))
        .find_map(|name| Address::parse(name).ok())
}

/// Aliases that lead back to themselves by their exact names, which nothing stored can come between.
fn loops(aliases: &[Alias]) -> Vec<String> {
    let targets = |alias: &Alias| alias.targets.iter().filter_map(address_key).collect::<Vec<_>>();
    let graph: HashMap<&str, Vec<String>> = aliases
        .iter()
        .map(|alias| (&*alias.name, targets(alias)))
        .collect();
    let mut faults = Vec::new();
    for alias in aliases {
        if let Some(path) = path_back(&alias.name, |name| graph.get(name).cloned().unwrap_or_default()) {
            let place = alias.declared.as_deref().unwrap_or_default();
            faults.push(format!("{place}.to: it leads back to itself: {path}"));
        }
    }
    faults
}

/// Reads objects and notes what is wrong with them.
struct Reader {
    faults: Vec<String>,
    /// Kinds and names that were there before: the configuration does not know that two spellings are one name.
    names: HashSet<(&'static str, String)>,
}

impl Reader {
    fn note<T, E: Display>(&mut self, place: String, result: Result<T, E>) -> Option<T> {
        result
            .map_err(|error| self.faults.push(format!("{place}: {error}")))
            .ok()
    }

    /// The key of a name, if it is one and new.
    fn name(&mut self, list: &'static str, index: usize, key: Option<String>) -> Option<Box<str>> {
        let place = || format!("{list}[{index}].name");
        let key = self.note(place(), key.ok_or("it is neither a domain nor an address"))?;
        let new = self.names.insert((list, key.clone()));
        self.note(
            place(),
            new.then_some(()).ok_or("there is one with the same before"),
        )?;
        Some(key.into())
    }

    fn each<T: FromStr<Err: Display>>(&mut self, place: &str, texts: &[String]) -> Vec<T> {
        let read = texts
            .iter()
            .filter_map(|text| self.note(place.to_owned(), text.parse()));
        read.collect()
    }

    fn domains(&mut self, config: &Config) -> Vec<Domain> {
        let domain = |(index, domain): (usize, &smtp_config::Domain)| {
            let key = domain_key(&domain.name).map(|key| key.into_owned());
            Some(Domain {
                name: self.name("domains", index, key)?,
                deliver: domain.deliver.clone(),
                recipients: domain.recipients,
                declared: Some(format!("domains[{index}]").into()),
            })
        };
        config.domains.iter().enumerate().filter_map(domain).collect()
    }

    fn accounts(&mut self, config: &Config) -> Vec<(Account, Option<Secret>)> {
        let mut identities: HashMap<Identity, usize> = HashMap::new();
        let mut accounts = Vec::with_capacity(config.accounts.len());
        for (index, declared) in config.accounts.iter().enumerate() {
            let place = format!("accounts[{index}]");
            let name = self.name("accounts", index, Some(account_key(&declared.name)));
            let account = Account {
                name: name.unwrap_or_default(),
                enabled: true,
                created: None,
                senders: self.each(&format!("{place}.senders"), &declared.senders),
                identities: self.each(&format!("{place}.identities"), &declared.identities),
                quotas: declared.quota.clone(),
                password: None,
                apps: Vec::new(),
                declared: Some(place.as_str().into()),
            };
            for identity in &account.identities {
                if let Some(other) = identities
                    .insert(identity.clone(), index)
                    .filter(|other| *other != index)
                {
                    self.faults.push(format!(
                        "{place}.identities: accounts[{other}] has {identity} too"
                    ));
                }
            }
            let secret = declared.password.as_ref();
            accounts.push((account, secret.map(|secret| Secret::new(secret.expose()))));
        }
        accounts
    }

    fn aliases(&mut self, config: &Config) -> Vec<Alias> {
        let mut aliases = Vec::with_capacity(config.aliases.len());
        for (index, declared) in config.aliases.iter().enumerate() {
            let name = self.name("aliases", index, alias_key(&declared.name));
            let targets = self.each(&format!("aliases[{index}].to"), &declared.to);
            aliases.extend(name.map(|name| Alias {
                name,
                targets,
                declared: Some(format!("aliases[{index}]").into()),
            }));
        }
        aliases
    }

    fn keys(&mut self, config: &Config) -> Vec<DkimKey> {
        let mut keys = Vec::new();
        for (index, declared) in config.dkim_keys.iter().enumerate() {
            let place = format!("dkim_keys[{index}]");
            let path = &declared.key_file;
            let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
            let file = format!("{place}.key_file");
            if let Some(text) = self.note(file.clone(), text) {
                let named = |error| format!("{}: {error}", path.display());
                let key = SigningKey::from_pem(&text).map_err(named);
                let key = self.note(file, key);
                keys.extend(key.and_then(|key| self.key(&place, &declared.domain, &declared.selector, key)));
            }
        }
        let dkim = &config.dkim;
        if let (Some(text), Some(domain)) = (&dkim.private_key, &dkim.domain) {
            let key = self.note("dkim.private_key".to_owned(), SigningKey::from_pem(text.expose()));
            keys.extend(key.and_then(|key| self.key("dkim", domain, &dkim.selector, key)));
        }
        keys
    }

    fn key(&mut self, place: &str, domain: &str, selector: &str, key: SigningKey) -> Option<DkimKey> {
        let identity = smtp_dkim::Identity::new(domain, selector, Arc::new(key));
        let identity = self.note(place.to_owned(), identity)?;
        let new = self
            .names
            .insert(("dkim_keys", identity.record_name().to_ascii_lowercase()));
        self.note(
            place.to_owned(),
            new.then_some(())
                .ok_or("another key has the same domain and selector"),
        )?;
        Some(DkimKey {
            identity: Arc::new(identity),
            created: None,
            sign_from: Timestamp::UNIX_EPOCH,
            sign_until: None,
            declared: Some(place.into()),
        })
    }
}

/// Credentials of declared passwords, so that a reload derives only those that are new. It knows a password by a keyed hash.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    key: hmac::Key,
    /// What SCRAM's salts are derived from.
    scram: [u8; 32],
    derived: HashMap<Tag, Credential>,
}

type Tag = [u8; 32];

impl Cache {
    /// `scram` is the secret that stands for accounts that are not there, too.
    pub(crate) fn new(scram: [u8; 32]) -> Result<Self, CredentialError> {
        let octets: Tag = crate::credential::random()?;
        Ok(Cache {
            key: hmac::Key::new(hmac::HMAC_SHA256, &octets),
            scram,
            derived: HashMap::new(),
        })
    }

    /// The credential of an account's secret, a password or a hash of one; it goes into `next`.
    fn credential(
        &self,
        account: &str,
        secret: &Secret,
        next: &mut HashMap<Tag, Credential>,
    ) -> Result<Credential, String> {
        if let Some(hash) = Credential::read_hash(secret.expose()) {
            return hash.map_err(|error| error.to_string());
        }
        // The account's name is in it, so that two accounts with one password do not get one salt.
        let text = [account, "\0", secret.expose()].concat();
        let tag = hmac::sign(&self.key, text.as_bytes());
        let tag = Tag::try_from(tag.as_ref()).map_err(|error| error.to_string())?;
        let credential = match self.derived.get(&tag) {
            Some(known) => known.clone(),
            None => {
                let password = Password::prepare(secret.expose()).map_err(|error| error.to_string())?;
                Credential::derive_for(&self.scram, account, &password).map_err(|error| error.to_string())?
            }
        };
        next.insert(tag, credential.clone());
        Ok(credential)
    }
}
