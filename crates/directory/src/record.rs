//! Between objects and the records that a shelf keeps: JSON, read with the same care as anything that comes from outside.

use crate::credential::{AppPassword, Credential};
use crate::name::{account_key, alias_key, domain_key};
use crate::objects::{Account, Alias, DkimKey, Domain};
use crate::senders::{Identity, SenderPattern};
use crate::shelf::{Edit, Kind, Record};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use smtp::Address;
use smtp_config::{LocalDelivery, Quota, Recipients};
use smtp_dkim::SigningKey;
use std::sync::Arc;

/// One object of any kind.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    Domain(Domain),
    Account(Account),
    Alias(Alias),
    DkimKey(DkimKey),
}

/// A change of one object.
#[derive(Clone, Debug)]
pub(crate) enum ObjectEdit {
    Put(Box<Object>),
    Delete(Kind, String),
}

#[derive(Serialize, Deserialize)]
struct DomainValue {
    deliver: String,
    recipients: String,
}

#[derive(Serialize, Deserialize)]
struct AccountValue {
    enabled: bool,
    created: Option<Timestamp>,
    senders: Vec<SenderPattern>,
    identities: Vec<Identity>,
    #[serde(with = "quotas")]
    quotas: Vec<Quota>,
    password: Option<Credential>,
    apps: Vec<AppValue>,
}

#[derive(Serialize, Deserialize)]
struct AppValue {
    id: Box<str>,
    label: Box<str>,
    created: Timestamp,
    credential: Credential,
}

#[derive(Serialize, Deserialize)]
struct AliasValue {
    #[serde(with = "addresses")]
    targets: Vec<Address>,
}

#[derive(Serialize, Deserialize)]
struct KeyValue {
    domain: String,
    selector: String,
    private_key: String,
    created: Option<Timestamp>,
    sign_from: Timestamp,
    sign_until: Option<Timestamp>,
}

impl ObjectEdit {
    /// The name of its record.
    pub(crate) fn name(&self) -> String {
        match self {
            ObjectEdit::Put(object) => object.name(),
            ObjectEdit::Delete(_, name) => name.clone(),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            ObjectEdit::Put(object) => object.kind(),
            ObjectEdit::Delete(kind, _) => *kind,
        }
    }

    /// As the shelf is told.
    pub(crate) fn to_edit(&self) -> Result<Edit, String> {
        match self {
            ObjectEdit::Put(object) => object.write().map(Edit::Put),
            ObjectEdit::Delete(kind, name) => Ok(Edit::Delete(*kind, name.clone())),
        }
    }
}

impl Object {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Object::Domain(_) => Kind::Domain,
            Object::Account(_) => Kind::Account,
            Object::Alias(_) => Kind::Alias,
            Object::DkimKey(_) => Kind::DkimKey,
        }
    }

    /// The name of its record.
    pub(crate) fn name(&self) -> String {
        match self {
            Object::Domain(domain) => domain.name.to_string(),
            Object::Account(account) => account.name.to_string(),
            Object::Alias(alias) => alias.name.to_string(),
            Object::DkimKey(key) => key_name(key.identity.domain(), key.identity.selector()),
        }
    }

    /// Reads a record.
    pub(crate) fn read(record: Record) -> Result<Self, String> {
        let object = match record.kind {
            Kind::Domain => Object::Domain(read_domain(&record)?),
            Kind::Account => Object::Account(read_account(&record)?),
            Kind::Alias => Object::Alias(Alias {
                name: alias_key(&record.name).ok_or("its name is no address")?.into(),
                targets: parse::<AliasValue>(&record.value)?.targets,
                declared: None,
            }),
            Kind::DkimKey => Object::DkimKey(read_key(&record)?),
        };
        match object.name() == record.name {
            true => Ok(object),
            false => Err(format!("its name would be {}", object.name())),
        }
    }

    fn write(&self) -> Result<Record, String> {
        let value = match self {
            Object::Domain(domain) => serde_json::to_string(&DomainValue {
                deliver: domain.deliver.to_string(),
                recipients: domain.recipients.name().to_owned(),
            }),
            Object::Account(account) => serde_json::to_string(&account_value(account)),
            Object::Alias(alias) => serde_json::to_string(&AliasValue {
                targets: alias.targets.clone(),
            }),
            Object::DkimKey(key) => serde_json::to_string(&key_value(key)?),
        };
        Ok(Record {
            kind: self.kind(),
            name: self.name(),
            value: value.map_err(|error| error.to_string())?,
        })
    }
}

/// The name of a key's record, as that of its DNS record; selectors in lower case, as DNS compares them.
pub(crate) fn key_name(domain: &str, selector: &str) -> String {
    format!("{}._domainkey.{domain}", selector.to_ascii_lowercase())
}

/// A fault is named by its place, never by the text around it, which may be a secret.
fn parse<T: DeserializeOwned>(value: &str) -> Result<T, String> {
    serde_json::from_str(value).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            format!("its JSON does not describe one, column {}", error.column())
        }
        _ => format!("it is no JSON, column {}", error.column()),
    })
}

fn read_domain(record: &Record) -> Result<Domain, String> {
    let value: DomainValue = parse(&record.value)?;
    Ok(Domain {
        name: (*domain_key(&record.name).ok_or("its name is no domain")?).into(),
        deliver: LocalDelivery::parse(&value.deliver)?,
        recipients: Recipients::parse(&value.recipients)?,
        declared: None,
    })
}

fn read_account(record: &Record) -> Result<Account, String> {
    let value: AccountValue = parse(&record.value)?;
    let app = |app: AppValue| AppPassword {
        id: app.id,
        label: app.label,
        created: app.created,
        credential: app.credential,
    };
    Ok(Account {
        name: account_key(&record.name).into(),
        enabled: value.enabled,
        created: value.created,
        senders: value.senders,
        identities: value.identities,
        quotas: value.quotas,
        password: value.password,
        apps: value.apps.into_iter().map(app).collect(),
        declared: None,
    })
}

fn account_value(account: &Account) -> AccountValue {
    let app = |app: &AppPassword| AppValue {
        id: app.id.clone(),
        label: app.label.clone(),
        created: app.created,
        credential: app.credential.clone(),
    };
    AccountValue {
        enabled: account.enabled,
        created: account.created,
        senders: account.senders.clone(),
        identities: account.identities.clone(),
        quotas: account.quotas.clone(),
        password: account.password.clone(),
        apps: account.apps.iter().map(app).collect(),
    }
}

fn read_key(record: &Record) -> Result<DkimKey, String> {
    let value: KeyValue = parse(&record.value)?;
    let key = SigningKey::from_pem(&value.private_key).map_err(|error| error.to_string())?;
    let identity = smtp_dkim::Identity::new(&value.domain, &value.selector, Arc::new(key))
        .map_err(|error| error.to_string())?;
    Ok(DkimKey {
        identity: Arc::new(identity),
        created: value.created,
        sign_from: value.sign_from,
        sign_until: value.sign_until,
        declared: None,
    })
}

fn key_value(key: &DkimKey) -> Result<KeyValue, String> {
    let private_key = key.identity.key().to_pem().map_err(|error| error.to_string())?;
    Ok(KeyValue {
        domain: key.identity.domain().to_owned(),
        selector: key.identity.selector().to_owned(),
        private_key: private_key.to_string(),
        created: key.created,
        sign_from: key.sign_from,
        sign_until: key.sign_until,
    })
}

/// A list of what is kept by its text.
macro_rules! texts {
    ($name:ident: $type:ty, $parse:expr) => {
        pub(crate) mod $name {
            use serde::de::Error;
            use serde::{Deserialize, Deserializer, Serializer};

            pub(crate) fn serialize<S: Serializer>(values: &[$type], to: S) -> Result<S::Ok, S::Error> {
                to.collect_seq(values.iter().map(ToString::to_string))
            }
            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<$type>, D::Error> {
                let texts: Vec<String> = Deserialize::deserialize(from)?;
                texts
                    .iter()
                    .map(|text| $parse(text).map_err(Error::custom))
                    .collect()
            }
        }
    };
}
texts!(quotas: smtp_config::Quota, smtp_config::Quota::parse);
texts!(addresses: smtp::Address, smtp::Address::parse);

/// What is kept by its text, if it is there.
pub(crate) mod text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::fmt::Display;
    use std::str::FromStr;

    pub(crate) fn serialize<T: Display, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(ToString::to_string).serialize(to)
    }
    pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text: Option<String> = Deserialize::deserialize(from)?;
        text.map(|text| text.parse().map_err(Error::custom)).transpose()
    }
}
