//! A key with the names under which it is published.

use crate::key::SigningKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smtp::address::is_domain;
use std::sync::Arc;

/// Most octets of one string of a TXT record (RFC 1035 3.3).
const TXT_STRING: usize = 255;

/// Who signs: a domain (`d=`), a selector (`s=`), and the key whose record is at `SELECTOR._domainkey.DOMAIN`.
#[derive(Clone, Debug)]
pub struct Identity {
    domain: String,
    selector: String,
    key: Arc<SigningKey>,
}

/// Why a signature could not carry such names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a domain name in ASCII.
    #[error(
        "`{0}` is not a domain that can sign: a name in ASCII is needed, an international one in its `xn--` form"
    )]
    Domain(String),
    /// Not one or several labels.
    #[error("`{0}` is not a selector: it is a name in ASCII, such as `mail` or `2026a`")]
    Selector(String),
    /// The record's name is longer than DNS allows.
    #[error("selector and domain are too long together: the name of the record has more than 253 octets")]
    TooLong,
}

impl Identity {
    /// Checks the names. The domain is kept in lower case.
    ///
    /// # Errors
    /// Names that are no domain names (RFC 6376 3.5), or longer than DNS allows.
    pub fn new(domain: &str, selector: &str, key: Arc<SigningKey>) -> Result<Self, IdentityError> {
        if !domain.is_ascii() || !is_domain(domain) {
            return Err(IdentityError::Domain(domain.to_owned()));
        }
        if !selector.is_ascii() || !is_domain(selector) {
            return Err(IdentityError::Selector(selector.to_owned()));
        }
        let identity = Identity {
            domain: domain.to_ascii_lowercase(),
            selector: selector.to_owned(),
            key,
        };
        if identity.record_name().len() > 253 {
            return Err(IdentityError::TooLong);
        }
        Ok(identity)
    }

    /// The domain that signs, in lower case.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The selector.
    pub fn selector(&self) -> &str {
        &self.selector
    }

    /// The key.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Name of the record to publish, without a dot at its end.
    pub fn record_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }

    /// Value of the record to publish (RFC 6376 3.6.1, RFC 8463 4), as one text.
    pub fn record_value(&self) -> String {
        format!(
            "v=DKIM1; k={}; p={}",
            self.key.algorithm(),
            STANDARD.encode(self.key.public_key())
        )
    }

    /// The record as a line of a zone file, its value in strings of at most 255 octets.
    pub fn zone_line(&self) -> String {
        let mut line = format!("{}. IN TXT", self.record_name());
        let value = self.record_value();
        let mut rest = value.as_str();
        while !rest.is_empty() {
            let (string, after) = rest.split_at(rest.len().min(TXT_STRING));
            line.push_str(" \"");
            line.push_str(string);
            line.push('"');
            rest = after;
        }
        line
    }
}

#[cfg(test)]
mod tests;
