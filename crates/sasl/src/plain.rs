//! PLAIN (RFC 4616): `[authzid] NUL authcid NUL passwd`.

use crate::prepare::{optional_name, prepare_name, same_identity};
use crate::{Failure, Password};
use zeroize::Zeroizing;

/// The name and password of a client's message.
pub(crate) fn parse(message: &str) -> Result<(String, Password), Failure> {
    let mut parts = message.splitn(3, '\0');
    let (Some(authorization), Some(name), Some(password)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Failure::Malformed);
    };
    if password.contains('\0') {
        return Err(Failure::Malformed);
    }
    let authorization = optional_name(authorization)?;
    let name = prepare_name(name)?;
    same_identity(&name, authorization.as_deref())?;
    Ok((name, Password::prepare(password)?))
}

/// The client's message.
pub(crate) fn message(name: &str, password: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(["\0", name, "\0", password].concat().into_bytes())
}
