//! What names are compared by. Every spelling of one name gives one key, and different names give different keys.
//!
//! A domain's key is its A-label form (RFC 5890) in lower case. A local part's is its text in lower case
//! and composed (NFC), much as UsernameCaseMapped of RFC 8265 does it; [`Address`] has seen to its quotes. Case is not told apart
//! although RFC 5321 2.4 would allow it: nobody has both `Ann@` and `ann@`. The key of an address is an address again.

use smtp::Address;
use std::borrow::Cow;
use unicode_normalization::UnicodeNormalization;

/// The key of a domain; `None` for what is no domain name (an address literal).
pub fn domain_key(domain: &str) -> Option<Cow<'_, str>> {
    if !domain.is_ascii() {
        let key = idna::domain_to_ascii(domain).ok()?;
        return smtp::address::is_domain(&key).then_some(Cow::Owned(key));
    }
    if !smtp::address::is_domain(domain) {
        return None;
    }
    match domain.bytes().any(|octet| octet.is_ascii_uppercase()) {
        true => Some(Cow::Owned(domain.to_ascii_lowercase())),
        false => Some(Cow::Borrowed(domain)),
    }
}

/// The key of an address; `None` when its domain has none.
pub(crate) fn address_key(address: &Address) -> Option<String> {
    let domain = domain_key(address.domain())?;
    Some(joined(&fold(address.local()), &domain))
}

/// `local@domain`, of two keys.
pub(crate) fn joined(local: &str, domain: &str) -> String {
    let mut key = String::with_capacity(local.len() + 1 + domain.len());
    key.push_str(local);
    key.push('@');
    key.push_str(domain);
    key
}

/// The domain in an address's key.
pub(crate) fn domain_of(key: &str) -> Option<&str> {
    key.rsplit_once('@').map(|(_, domain)| domain)
}

/// The key of an account's name: that of the address, when it is one.
pub(crate) fn account_key(name: &str) -> String {
    let address = Address::parse(name).ok();
    address
        .as_ref()
        .and_then(address_key)
        .unwrap_or_else(|| fold(name))
}

/// The key of an alias's name: of an address, or of `@domain`; `None` for what is neither.
pub(crate) fn alias_key(name: &str) -> Option<String> {
    match name.strip_prefix('@') {
        Some(domain) => domain_key(domain).map(|domain| joined("", &domain)),
        None => address_key(&Address::parse(name).ok()?),
    }
}

/// The mailbox that a local part's key names without its subaddress. One that begins with the separator has none.
pub(crate) fn without_subaddress<'a>(local: &'a str, separator: &str) -> Option<Cow<'a, str>> {
    if separator.is_empty() {
        return None;
    }
    let (mailbox, _) = local.split_once(separator)?;
    match mailbox.strip_prefix('"') {
        None if mailbox.is_empty() => None,
        Some("") => None,
        None => Some(Cow::Borrowed(mailbox)),
        Some(_) => {
            let address = Address::parse(&format!("{mailbox}\"@x")).ok()?;
            Some(Cow::Owned(address.local().to_owned()))
        }
    }
}

/// The key of a local part, or of a name that is no address: lower case and composed.
pub(crate) fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.to_lowercase().nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> String {
        address_key(&Address::parse(text).unwrap()).unwrap()
    }

    #[test]
    fn spellings_of_one_address_have_one_key() {
        assert_eq!(key("Ann.Smith@Example.COM"), "ann.smith@example.com");
        assert_eq!(key("\"ann\"@example.com"), "ann@example.com");
        assert_eq!(key("ann@B\u{fc}cher.example"), "ann@xn--bcher-kva.example");
        assert_eq!(key("ann@xn--BCHER-kva.example"), "ann@xn--bcher-kva.example");
        assert_eq!(key("\u{dc}nal@x.example"), key("u\u{308}nal@x.example"));
        assert_eq!(key("\"A\\ b\"@x.example"), "\"a b\"@x.example");
    }

    #[test]
    fn an_address_literal_has_none() {
        assert_eq!(domain_key("[192.0.2.1]"), None);
        assert_eq!(address_key(&Address::parse("a@[192.0.2.1]").unwrap()), None);
    }

    #[test]
    fn accounts_are_found_in_any_case() {
        assert_eq!(account_key("Billing"), "billing");
        assert_eq!(
            account_key("ANN@B\u{fc}cher.Example"),
            "ann@xn--bcher-kva.example"
        );
    }

    #[test]
    fn a_subaddress_begins_at_the_first_separator() {
        let mailbox =
            |local: &'static str, separator| without_subaddress(local, separator).map(Cow::into_owned);
        assert_eq!(mailbox("ann+a+b", "+").as_deref(), Some("ann"));
        assert_eq!(mailbox("\"a b+c\"", "+").as_deref(), Some("\"a b\""));
        assert_eq!(mailbox("\"a+b c\"", "+").as_deref(), Some("a"));
        assert_eq!(mailbox("\"+a b\"", "+"), None);
        assert_eq!(mailbox("+ann", "+"), None);
        assert_eq!(mailbox("ann", "+"), None);
        assert_eq!(mailbox("ann+a", ""), None);
    }
}
