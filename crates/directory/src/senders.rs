//! Whom an account may send as, and the names by which tokens and certificates mean it.

use crate::name::{account_key, address_key, domain_key};
use serde::{Deserialize, Serialize};
use smtp::Address;
use std::fmt;
use std::str::FromStr;

/// Longest name of an identity, in octets.
const IDENTITY_LENGTH: usize = 512;

/// A pattern of sender addresses. Case and spelling of domains are not told apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SenderPattern {
    /// `*`: every address.
    Any,
    /// `billing@example.com`: this one; its key.
    Exact(Box<str>),
    /// `*@example.com`: all of this domain, not of its subdomains.
    Domain(Box<str>),
    /// `*@*.example.com`: all of its subdomains, not of itself.
    Subdomains(Box<str>),
}

impl SenderPattern {
    /// Whether an address, given by its key and the key of its domain, is meant.
    pub(crate) fn matches(&self, key: &str, domain: &str) -> bool {
        match self {
            SenderPattern::Any => true,
            SenderPattern::Exact(exact) => **exact == *key,
            SenderPattern::Domain(name) => **name == *domain,
            SenderPattern::Subdomains(name) => domain
                .strip_suffix(&**name)
                .is_some_and(|before| before.len() > 1 && before.ends_with('.')),
        }
    }
}

impl FromStr for SenderPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pattern = match text.strip_prefix("*@") {
            _ if text == "*" => Some(SenderPattern::Any),
            Some(domains) => match domains.strip_prefix("*.") {
                Some(domain) => domain_key(domain).map(|key| SenderPattern::Subdomains((*key).into())),
                None => domain_key(domains).map(|key| SenderPattern::Domain((*key).into())),
            },
            None => Address::parse(text)
                .ok()
                .filter(|address| !address.local().contains('*'))
                .and_then(|address| address_key(&address))
                .map(|key| SenderPattern::Exact(key.into())),
        };
        pattern.ok_or_else(|| {
            format!(
                "{text:?} is no pattern of senders: write a@example.com, *@example.com, *@*.example.com or *"
            )
        })
    }
}

impl fmt::Display for SenderPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SenderPattern::Any => f.write_str("*"),
            SenderPattern::Exact(address) => f.write_str(address),
            SenderPattern::Domain(domain) => write!(f, "*@{domain}"),
            SenderPattern::Subdomains(domain) => write!(f, "*@*.{domain}"),
        }
    }
}

/// A name by which somebody else knows an account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Identity {
    /// `oauth:SUBJECT`: the subject of a token, as the token has it.
    OAuth(Box<str>),
    /// `cert:NAME`: a name in a client's certificate, in lower case.
    Certificate(Box<str>),
}

impl Identity {
    /// The name itself.
    pub fn name(&self) -> &str {
        match self {
            Identity::OAuth(name) | Identity::Certificate(name) => name,
        }
    }
}

impl FromStr for Identity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |name: &str| {
            !name.is_empty() && name.len() <= IDENTITY_LENGTH && !name.chars().any(char::is_control)
        };
        match text.split_once(':') {
            Some(("oauth", name)) if plain(name) => Ok(Identity::OAuth(name.into())),
            Some(("cert", name)) if plain(name) => Ok(Identity::Certificate(account_key(name).into())),
            _ => Err(format!(
                "{text:?} is no identity: write oauth:SUBJECT or cert:NAME, with a name of at most {IDENTITY_LENGTH} octets"
            )),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::OAuth(name) => write!(f, "oauth:{name}"),
            Identity::Certificate(name) => write!(f, "cert:{name}"),
        }
    }
}

/// Both are kept as their text.
macro_rules! as_text {
    ($($type:ty),+) => { $(
        impl TryFrom<String> for $type {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
    )+ };
}
as_text!(SenderPattern, Identity);

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, address: &str) -> bool {
        let address = Address::parse(address).unwrap();
        let domain = domain_key(address.domain()).unwrap();
        let pattern: SenderPattern = pattern.parse().unwrap();
        pattern.matches(&address_key(&address).unwrap(), &domain)
    }

    #[test]
    fn patterns_mean_what_they_say() {
        for (pattern, yes, no) in [
            (
                "billing@example.com",
                "Billing@EXAMPLE.com",
                "billing2@example.com",
            ),
            ("*@example.com", "anybody@Example.com", "anybody@sub.example.com"),
            ("*@*.example.com", "a@deep.sub.example.com", "a@example.com"),
            ("*@*.example.com", "a@sub.example.com", "a@badexample.com"),
            (
                "*@b\u{fc}cher.example",
                "a@xn--bcher-kva.example",
                "a@bcher.example",
            ),
        ] {
            assert!(matches(pattern, yes), "{pattern} {yes}");
            assert!(!matches(pattern, no), "{pattern} {no}");
        }
        assert!(matches("*", "a@anything.example"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "",
            "example.com",
            "a*@example.com",
            "*@",
            "*@*.",
            "@example.com",
            "*@*",
            "**",
        ] {
            assert!(text.parse::<SenderPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn texts_come_back() {
        for text in [
            "*",
            "a@x.example",
            "\"a b\"@x.example",
            "*@x.example",
            "*@*.x.example",
        ] {
            assert_eq!(text.parse::<SenderPattern>().unwrap().to_string(), text);
        }
        for text in ["oauth:Subject|1:2", "cert:mail.x.example"] {
            assert_eq!(text.parse::<Identity>().unwrap().to_string(), text);
        }
        assert!("oauth:".parse::<Identity>().is_err() && "ldap:x".parse::<Identity>().is_err());
    }
}
