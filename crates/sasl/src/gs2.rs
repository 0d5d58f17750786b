//! The header that SCRAM and OAUTHBEARER begin with (RFC 5801, section 4; RFC 5802, section 7).

use crate::Failure;
use crate::prepare::optional_name;

/// `gs2-header`, and what follows it.
#[derive(Debug)]
pub(crate) struct Gs2<'a> {
    pub(crate) flag: Flag<'a>,
    pub(crate) authorization: Option<String>,
    /// The header as it was sent, both commas included.
    pub(crate) header: &'a str,
    pub(crate) rest: &'a str,
}

/// `gs2-cbind-flag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag<'a> {
    /// `n`: the client does not bind to the channel.
    No,
    /// `y`: it could, but believes that the server can not.
    NotOffered,
    /// `p=`: it does, in the way named.
    Bound(&'a str),
}

impl<'a> Gs2<'a> {
    pub(crate) fn parse(message: &'a str) -> Result<Self, Failure> {
        let (flag, after) = message.split_once(',').ok_or(Failure::Malformed)?;
        let (authorization, rest) = after.split_once(',').ok_or(Failure::Malformed)?;
        let flag = match flag {
            "n" => Flag::No,
            "y" => Flag::NotOffered,
            _ => Flag::Bound(flag.strip_prefix("p=").ok_or(Failure::Malformed)?),
        };
        let authorization = match authorization.strip_prefix("a=") {
            Some("") => return Err(Failure::Malformed),
            Some(name) => optional_name(&unescape(name)?)?,
            None if authorization.is_empty() => None,
            None => return Err(Failure::Malformed),
        };
        let header = message.strip_suffix(rest).ok_or(Failure::Malformed)?;
        Ok(Self {
            flag,
            authorization,
            header,
            rest,
        })
    }
}

/// A name as `saslname`: `,` and `=` have codes.
pub(crate) fn escape(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

/// The name that a `saslname` stands for.
pub(crate) fn unescape(saslname: &str) -> Result<String, Failure> {
    let mut pieces = saslname.split('=');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (sign, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(Failure::Malformed),
        };
        name.push(sign);
        name.push_str(rest);
    }
    Ok(name)
}
