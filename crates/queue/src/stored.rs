//! How words of the language are kept, as numbers and texts: the same in every store, so that one can be moved to the other. What means nothing
//! gives a text that says so.

use smtp::{Address, BodyType, Notify, Orcpt, Ret};

pub(crate) fn body_type_number(body_type: BodyType) -> u8 {
    match body_type {
        BodyType::SevenBit => 0,
        BodyType::EightBitMime => 1,
        BodyType::BinaryMime => 2,
    }
}

pub(crate) fn body_type(number: i64) -> Result<BodyType, String> {
    match number {
        0 => Ok(BodyType::SevenBit),
        1 => Ok(BodyType::EightBitMime),
        2 => Ok(BodyType::BinaryMime),
        _ => Err(format!("body type {number}")),
    }
}

pub(crate) fn ret_number(ret: Ret) -> u8 {
    match ret {
        Ret::Full => 0,
        Ret::Headers => 1,
    }
}

pub(crate) fn ret(number: i64) -> Result<Ret, String> {
    match number {
        0 => Ok(Ret::Full),
        1 => Ok(Ret::Headers),
        _ => Err(format!("RET {number}")),
    }
}

pub(crate) fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|error| format!("address {text:?}: {error:?}"))
}

pub(crate) fn notify(bits: i64) -> Result<Notify, String> {
    let known = u8::try_from(bits).ok().and_then(Notify::from_bits);
    known.ok_or_else(|| format!("NOTIFY {bits}"))
}

pub(crate) fn orcpt(text: &str) -> Result<Orcpt, String> {
    Orcpt::parse(text).ok_or_else(|| format!("ORCPT {text:?}"))
}
