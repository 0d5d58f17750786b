//! What a file of the drop folder holds: an envelope, and the content.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use smtp::client::Outgoing;
use smtp::{Address, MailParams, Notify, RcptParams, Ret};

/// The first line of a file.
pub(super) const MARK: &[u8] = b"smtp-server drop 1\n";

/// A message, and those who have not got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) arrived: Timestamp,
    pub(crate) sender: Option<Address>,
    pub(crate) ret: Option<Ret>,
    /// xtext.
    pub(crate) envid: Option<String>,
    pub(crate) recipients: Vec<Recipient>,
    /// Lines end in CRLF.
    pub(crate) content: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recipient {
    pub(crate) address: Address,
    pub(crate) notify: Option<Notify>,
    /// Why it waits, or was refused; empty before the first try.
    pub(crate) reason: String,
}

impl Waiting {
    /// The message for some recipients only.
    pub(crate) fn part(&self, recipients: Vec<Recipient>) -> Option<Waiting> {
        let part = Waiting {
            recipients,
            ..self.clone()
        };
        (!part.recipients.is_empty()).then_some(part)
    }

    /// As it is sent.
    pub(crate) fn outgoing(&self) -> Outgoing {
        let header = smtp_dkim::Header::new(&self.content);
        Outgoing {
            sender: self.sender.clone(),
            params: MailParams {
                ret: self.ret,
                envid: self.envid.clone(),
                ..MailParams::default()
            },
            has_8bit: !self.content.is_ascii(),
            header_8bit: !header.octets().is_ascii(),
            size: self.content.len() as u64,
            recipients: self.recipients.iter().map(Recipient::outgoing).collect(),
        }
    }

    /// The second line of a file.
    pub(super) fn envelope(&self) -> String {
        let recipients: Vec<Json> = self.recipients.iter().map(Recipient::json).collect();
        let envelope = json!({
            "arrived": self.arrived.to_string(),
            "sender": self.sender.as_ref().map(Address::as_str),
            "ret": self.ret.map(|ret| match ret { Ret::Full => "FULL", Ret::Headers => "HDRS" }),
            "envid": self.envid,
            "recipients": recipients,
            "size": self.content.len(),
        });
        format!("{envelope}\n")
    }

    /// Reads a file's octets.
    ///
    /// # Errors
    /// What it lacks.
    pub(super) fn parse(octets: &[u8]) -> Result<Waiting, &'static str> {
        let rest = octets
            .strip_prefix(MARK)
            .ok_or("it was not written by sendmail")?;
        let end = rest
            .iter()
            .position(|&octet| octet == b'\n')
            .ok_or("it is cut off")?;
        let (envelope, content) = rest.split_at_checked(end).ok_or("it is cut off")?;
        let content = content.get(1..).unwrap_or_default();
        let envelope: Json = serde_json::from_slice(envelope).map_err(|_| "its envelope is no JSON")?;
        if envelope["size"].as_u64() != Some(content.len() as u64) {
            return Err("it is not whole");
        }
        Self::of(&envelope, content).ok_or("its envelope cannot be read")
    }

    fn of(envelope: &Json, content: &[u8]) -> Option<Waiting> {
        let sender = match &envelope["sender"] {
            Json::Null => None,
            sender => Some(Address::parse(sender.as_str()?).ok()?),
        };
        let ret = match envelope["ret"].as_str() {
            Some("FULL") => Some(Ret::Full),
            Some("HDRS") => Some(Ret::Headers),
            _ => None,
        };
        let recipients: Option<Vec<Recipient>> = envelope["recipients"]
            .as_array()?
            .iter()
            .map(Recipient::of)
            .collect();
        Some(Waiting {
            arrived: envelope["arrived"].as_str()?.parse().ok()?,
            sender,
            ret,
            envid: envelope["envid"].as_str().map(str::to_owned),
            recipients: recipients.filter(|recipients| !recipients.is_empty())?,
            content: Bytes::copy_from_slice(content),
        })
    }
}

impl Recipient {
    pub(crate) fn new(address: Address, notify: Option<Notify>) -> Self {
        Recipient {
            address,
            notify,
            reason: String::new(),
        }
    }

    fn outgoing(&self) -> (Address, RcptParams) {
        let params = RcptParams {
            notify: self.notify,
            ..RcptParams::default()
        };
        (self.address.clone(), params)
    }

    fn json(&self) -> Json {
        json!({
            "address": self.address.as_str(),
            "notify": self.notify.map(Notify::bits),
            "reason": self.reason,
        })
    }

    fn of(json: &Json) -> Option<Recipient> {
        let bits = json["notify"].as_u64().and_then(|bits| u8::try_from(bits).ok());
        Some(Recipient {
            address: Address::parse(json["address"].as_str()?).ok()?,
            notify: bits.and_then(Notify::from_bits),
            reason: json["reason"].as_str()?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_written_or_not_at_all() {
        let recipient = Recipient {
            address: Address::parse("b@y.test").unwrap(),
            notify: Some(Notify::NEVER),
            reason: "451 \"later\"\n".into(),
        };
        let waiting = Waiting {
            arrived: Timestamp::from_second(7).unwrap(),
            sender: None,
            ret: Some(Ret::Headers),
            envid: Some("id".into()),
            recipients: vec![recipient],
            content: Bytes::from_static(b"A: 1\r\n\r\n\xff\n"),
        };
        let file = [MARK, waiting.envelope().as_bytes(), &waiting.content].concat();
        assert_eq!(Waiting::parse(&file).unwrap(), waiting);
        for cut in 0..file.len() {
            assert!(Waiting::parse(&file[..cut]).is_err(), "{cut}");
        }
        assert!(Waiting::parse(&[&file[..], b"x"].concat()).is_err());
        assert!(waiting.outgoing().has_8bit && !waiting.outgoing().header_8bit);
    }
}
