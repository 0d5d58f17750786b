//! ESMTP parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152, 3030),
//! SMTPUTF8 (RFC 6531), AUTH (RFC 4954), RET, ENVID, NOTIFY and ORCPT (RFC 3461).
//!
//! Values that come back in reports (ENVID, ORCPT) are kept as sent, and are taken only when
//! they decode to text without control characters: nobody can write header fields through them.

mod xtext;

use crate::address::{self, Address};
use crate::limits;
use std::fmt;
use xtext::unitext_decode;
pub use xtext::{xtext_decode, xtext_encode};

/// What kind of octets a body holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyType {
    /// Lines of ASCII, or nothing was said.
    #[default]
    SevenBit,
    /// Lines that may hold octets above 127.
    EightBitMime,
    /// Any octets; only BDAT carries it.
    BinaryMime,
}

/// How much of the message a failure report returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header only.
    Headers,
}

/// The parameters of one MAIL command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParams {
    /// Declared size in octets.
    pub size: Option<u64>,
    /// Declared body type.
    pub body: BodyType,
    /// Whether the transaction needs SMTPUTF8.
    pub smtputf8: bool,
    /// How much a report returns.
    pub ret: Option<Ret>,
    /// Envelope identifier, still xtext, as sent.
    pub envid: Option<String>,
}

/// Which reports a recipient's sender asked for: NEVER, or a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify(u8);

impl Notify {
    /// No report whatever happens.
    pub const NEVER: Notify = Notify(0);
    /// Report a delivery.
    pub const SUCCESS: Notify = Notify(1);
    /// Report a failure.
    pub const FAILURE: Notify = Notify(2);
    /// Report a delay.
    pub const DELAY: Notify = Notify(4);

    /// Both sets together.
    #[must_use]
    pub fn with(self, other: Notify) -> Notify {
        Notify(self.0 | other.0)
    }

    /// Whether all of `other` was asked for. `NEVER` is in no set.
    pub fn contains(self, other: Notify) -> bool {
        other.0 != 0 && self.0 & other.0 == other.0
    }

    /// Parses the value of a NOTIFY parameter (RFC 3461 4.1); `None` when it is malformed, or NEVER is not alone.
    pub fn parse(value: &str) -> Option<Notify> {
        if value.eq_ignore_ascii_case("NEVER") {
            return Some(Notify::NEVER);
        }
        let sets = [
            ("SUCCESS", Notify::SUCCESS),
            ("FAILURE", Notify::FAILURE),
            ("DELAY", Notify::DELAY),
        ];
        value.split(',').try_fold(Notify::NEVER, |sum, word| {
            let set = sets.iter().find(|(name, _)| name.eq_ignore_ascii_case(word))?;
            Some(sum.with(set.1))
        })
    }

    /// The set as bits 0 to 7, for storing.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The set of some stored bits; `None` for bits that mean nothing.
    pub fn from_bits(bits: u8) -> Option<Notify> {
        (bits <= 7).then_some(Notify(bits))
    }
}

/// The original recipient: an address type, `;`, and xtext, as sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orcpt(String);

impl Orcpt {
    /// Parses the value of an ORCPT parameter (RFC 3461 4.2, RFC 6533 3); `None` when it is malformed, longer than
    /// [`limits::ORCPT`], or hides control characters.
    pub fn parse(value: &str) -> Option<Self> {
        let (kind, address) = value.split_once(';')?;
        if kind.is_empty() || !kind.is_ascii() || !address::is_atom(kind) {
            return None;
        }
        if address.is_empty() || value.len() > limits::ORCPT {
            return None;
        }
        orcpt_decode(kind, address)?;
        Some(Orcpt(value.to_owned()))
    }

    /// The value as sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address type before the `;` (`rfc822`, `utf-8`).
    pub fn address_type(&self) -> &str {
        self.0.split_once(';').map_or("", |(kind, _)| kind)
    }

    /// The address, decoded from xtext.
    pub fn address(&self) -> String {
        self.0
            .split_once(';')
            .and_then(|(kind, address)| orcpt_decode(kind, address))
            .unwrap_or_default()
    }
}

/// The address of an ORCPT: xtext, or for `utf-8` the form of RFC 6533 3.
fn orcpt_decode(kind: &str, address: &str) -> Option<String> {
    if kind.eq_ignore_ascii_case("utf-8") {
        unitext_decode(address)
    } else {
        xtext_decode(address)
    }
}

/// The parameters of one RCPT command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcptParams {
    /// Reports asked for; `None` when nothing was said.
    pub notify: Option<Notify>,
    /// Original recipient.
    pub orcpt: Option<Orcpt>,
}

/// Why the parameters of a command are refused; each names the keyword, shortened and printable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParamError {
    /// The keyword is not one we know: 555.
    Unknown(String),
    /// The keyword came twice: 501.
    Duplicate(String),
    /// The value is missing, too long or not of the keyword's form: 501.
    Malformed(String),
}

impl fmt::Display for ParamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParamError::Unknown(keyword) => write!(f, "Parameter {keyword} is not supported"),
            ParamError::Duplicate(keyword) => write!(f, "Parameter {keyword} was given twice"),
            ParamError::Malformed(keyword) => write!(f, "Parameter {keyword} is malformed"),
        }
    }
}

impl std::error::Error for ParamError {}

impl MailParams {
    /// Parses what follows the path of MAIL (RFC 5321 4.1.2).
    ///
    /// AUTH (RFC 4954 5) is known only with `auth`, where it is advertised. Its value is checked and dropped:
    /// who a client says the author is proves nothing.
    ///
    /// # Errors
    /// The first parameter that is unknown, comes twice or is malformed.
    pub fn parse(text: &str, auth: bool) -> Result<Self, ParamError> {
        const KNOWN: [&str; 6] = ["AUTH", "SIZE", "BODY", "SMTPUTF8", "RET", "ENVID"];
        let mut params = MailParams::default();
        each(
            text,
            if auth { &KNOWN } else { &KNOWN[1..] },
            |keyword, value| match (keyword, value) {
                ("SIZE", Some(value)) => put(&mut params.size, size(value)),
                ("BODY", Some(value)) => body_type(value).map(|body| params.body = body),
                ("SMTPUTF8", None) => {
                    params.smtputf8 = true;
                    Some(())
                }
                ("RET", Some(value)) => put(&mut params.ret, ret(value)),
                ("ENVID", Some(value)) => put(&mut params.envid, envid(value)),
                ("AUTH", Some(value)) => author(value),
                _ => None,
            },
        )?;
        Ok(params)
    }
}

impl RcptParams {
    /// Parses what follows the path of RCPT; errors as of [`MailParams::parse`].
    pub fn parse(text: &str) -> Result<Self, ParamError> {
        let mut params = RcptParams::default();
        each(text, &["NOTIFY", "ORCPT"], |keyword, value| {
            match (keyword, value) {
                ("NOTIFY", Some(value)) => put(&mut params.notify, Notify::parse(value)),
                ("ORCPT", Some(value)) => put(&mut params.orcpt, Orcpt::parse(value)),
                _ => None,
            }
        })?;
        Ok(params)
    }
}

/// Calls `take` for each parameter of `text` with its keyword as `known` writes it; `take` gives
/// `None` for a value that is not of the keyword's form.
fn each(
    text: &str,
    known: &[&'static str],
    mut take: impl FnMut(&'static str, Option<&str>) -> Option<()>,
) -> Result<(), ParamError> {
    let mut seen = 0_u32;
    for param in text.split([' ', '\t']).filter(|param| !param.is_empty()) {
        let (keyword, value) = match param.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (param, None),
        };
        let Some(index) = known.iter().position(|name| name.eq_ignore_ascii_case(keyword)) else {
            let error = if is_keyword(keyword) {
                ParamError::Unknown
            } else {
                ParamError::Malformed
            };
            return Err(error(shown(keyword)));
        };
        if seen & (1 << index) != 0 {
            return Err(ParamError::Duplicate(shown(keyword)));
        }
        seen |= 1 << index;
        if value.is_some_and(|value| !is_value(value)) {
            return Err(ParamError::Malformed(shown(keyword)));
        }
        take(known[index], value).ok_or_else(|| ParamError::Malformed(shown(keyword)))?;
    }
    Ok(())
}

fn put<V>(slot: &mut Option<V>, value: Option<V>) -> Option<()> {
    *slot = value;
    slot.is_some().then_some(())
}

/// esmtp-keyword (RFC 5321 4.1.2).
fn is_keyword(text: &str) -> bool {
    !text.starts_with('-') && !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
}

/// esmtp-value (RFC 5321 4.1.2, RFC 6531 3.3).
fn is_value(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| (c.is_ascii_graphic() && c != '=') || (!c.is_ascii() && !c.is_control()))
}

/// A keyword fit for a reply.
fn shown(keyword: &str) -> String {
    keyword.chars().filter(char::is_ascii_graphic).take(40).collect()
}

/// 1*20DIGIT (RFC 1870 6). What does not fit 64 bits is as large as can be.
fn size(value: &str) -> Option<u64> {
    let digits = value.len() <= 20 && value.bytes().all(|c| c.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(u64::MAX))
}

fn body_type(value: &str) -> Option<BodyType> {
    let kinds = [
        ("7BIT", BodyType::SevenBit),
        ("8BITMIME", BodyType::EightBitMime),
        ("BINARYMIME", BodyType::BinaryMime),
    ];
    kinds
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(value))
        .map(|(_, kind)| kind)
}

fn ret(value: &str) -> Option<Ret> {
    if value.eq_ignore_ascii_case("FULL") {
        Some(Ret::Full)
    } else {
        value.eq_ignore_ascii_case("HDRS").then_some(Ret::Headers)
    }
}

fn envid(value: &str) -> Option<String> {
    let good = value.len() <= limits::ENVID && xtext_decode(value).is_some_and(|text| text.is_ascii());
    good.then(|| value.to_owned())
}

/// A mailbox as xtext, or `<>` (RFC 4954 5).
fn author(value: &str) -> Option<()> {
    if value == "<>" {
        return Some(());
    }
    Address::parse(&xtext_decode(value)?).ok().map(drop)
}

#[cfg(test)]
mod tests;
