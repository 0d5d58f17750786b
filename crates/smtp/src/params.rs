//! ESMTP parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152, 3030),
//! SMTPUTF8 (RFC 6531), RET, ENVID, NOTIFY and ORCPT (RFC 3461).

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
    /// Parses the value of an ORCPT parameter.
    pub fn parse(value: &str) -> Option<Self> {
        let _ = value;
        todo!()
    }
    /// The value as sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The address type before the `;` (`rfc822`, `utf-8`).
    pub fn address_type(&self) -> &str {
        todo!()
    }
    /// The address, decoded from xtext.
    pub fn address(&self) -> String {
        todo!()
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

/// Decodes xtext (RFC 3461 4). `None` when it is malformed.
pub fn xtext_decode(text: &str) -> Option<String> {
    let _ = text;
    todo!()
}

/// Encodes as xtext (RFC 3461 4).
pub fn xtext_encode(text: &str) -> String {
    let _ = text;
    todo!()
}
