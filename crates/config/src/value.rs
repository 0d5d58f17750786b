//! Values as they come from a source, and how each type reads and shows them.

use ipnet::IpNet;
use serde_json::{Value as Json, json};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A value as a source gave it.
#[derive(Clone, Debug)]
pub(crate) enum Raw {
    /// From the environment or a flag: its type is the setting's.
    Text(String),
    /// From the file.
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    List(Vec<Raw>),
    /// Nothing that a setting takes; what it is, in words.
    Other(&'static str),
}

impl Raw {
    /// The text of a string from the file, or of a variable.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Raw::Text(text) | Raw::String(text) => Some(text),
            _ => None,
        }
    }
    fn words(&self) -> String {
        match self {
            Raw::Text(text) | Raw::String(text) => format!("{text:?}"),
            Raw::Integer(number) => number.to_string(),
            Raw::Float(number) => number.to_string(),
            Raw::Boolean(value) => value.to_string(),
            Raw::List(_) => "a list".into(),
            Raw::Other(words) => (*words).into(),
        }
    }
}

/// The message for a value of the wrong kind.
pub(crate) fn expected(kind: &str, raw: &Raw) -> String {
    format!("expected {kind}, found {}", raw.words())
}

/// A type that a setting can have.
pub(crate) trait Value: Sized {
    /// What it is, in words.
    const KIND: &'static str;
    /// What the members of a list are; empty when it is none.
    const MEMBERS: &'static str = "";
    fn read(raw: &Raw) -> Result<Self, String>;
    /// As in the file; secrets masked.
    fn show(&self) -> Json;
    fn schema() -> Json;
}

macro_rules! integers {
    ($($type:ty),+) => { $(
        impl Value for $type {
            const KIND: &'static str = "integer";
            fn read(raw: &Raw) -> Result<Self, String> {
                let number = match raw {
                    Raw::Integer(number) => <$type>::try_from(*number).ok(),
                    Raw::Text(text) => text.trim().parse().ok(),
                    _ => None,
                };
                number.ok_or_else(|| expected(&format!("an integer from 0 to {}", <$type>::MAX), raw))
            }
            fn show(&self) -> Json {
                Json::from(*self)
            }
            fn schema() -> Json {
                json!({"type": "integer", "minimum": 0})
            }
        }
    )+ };
}
integers!(u16, u32, u64, usize);

impl Value for Duration {
    const KIND: &'static str = "seconds";
    fn read(raw: &Raw) -> Result<Self, String> {
        u64::read(raw)
            .map(Duration::from_secs)
            .map_err(|_| expected("a whole number of seconds", raw))
    }
    fn show(&self) -> Json {
        Json::from(self.as_secs())
    }
    fn schema() -> Json {
        u64::schema()
    }
}

impl Value for bool {
    const KIND: &'static str = "true or false";
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Boolean(value) => Ok(*value),
            Raw::Text(text) => text.trim().parse().map_err(|_| expected(Self::KIND, raw)),
            _ => Err(expected(Self::KIND, raw)),
        }
    }
    fn show(&self) -> Json {
        Json::from(*self)
    }
    fn schema() -> Json {
        json!({"type": "boolean"})
    }
}

impl Value for String {
    const KIND: &'static str = "text";
    fn read(raw: &Raw) -> Result<Self, String> {
        raw.text()
            .map(str::to_owned)
            .ok_or_else(|| expected(Self::KIND, raw))
    }
    fn show(&self) -> Json {
        Json::from(self.as_str())
    }
    fn schema() -> Json {
        json!({"type": "string"})
    }
}

impl Value for PathBuf {
    const KIND: &'static str = "path";
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw.text() {
            Some("") | None => Err(expected("a path", raw)),
            Some(text) => Ok(text.into()),
        }
    }
    fn show(&self) -> Json {
        Json::from(self.to_string_lossy())
    }
    fn schema() -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

macro_rules! addresses {
    ($($type:ty, $kind:literal, $parse:expr;)+) => { $(
        impl Value for $type {
            const KIND: &'static str = $kind;
            fn read(raw: &Raw) -> Result<Self, String> {
                let parse: fn(&str) -> Option<$type> = $parse;
                raw.text().and_then(|text| parse(text.trim())).ok_or_else(|| expected($kind, raw))
            }
            fn show(&self) -> Json {
                Json::from(self.to_string())
            }
            fn schema() -> Json {
                json!({"type": "string"})
            }
        }
    )+ };
}
addresses! {
    IpAddr, "IP address", |text| text.parse().ok();
    SocketAddr, "IP address with port", |text| {
        text.parse().ok().or_else(|| text.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, 53)))
    };
    IpNet, "network (CIDR)", |text| {
        let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        network.map(|network| network.trunc())
    };
}

/// A list: in the file a list, in a variable its members with commas between.
impl<T: Value> Value for Vec<T> {
    const KIND: &'static str = "list";
    const MEMBERS: &'static str = T::KIND;
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::List(members) => members.iter().map(T::read).collect(),
            Raw::Text(text) | Raw::String(text) => {
                let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
                members.map(|member| T::read(&Raw::Text(member.into()))).collect()
            }
            _ => Err(expected(&format!("a list ({} each)", T::KIND), raw)),
        }
    }
    fn show(&self) -> Json {
        self.iter().map(T::show).collect()
    }
    fn schema() -> Json {
        json!({"type": "array", "items": T::schema()})
    }
}

/// A value that may be missing: in a variable, the empty text.
impl<T: Value> Value for Option<T> {
    const KIND: &'static str = T::KIND;
    const MEMBERS: &'static str = T::MEMBERS;
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Text(text) if text.is_empty() => Ok(None),
            _ => T::read(raw).map(Some),
        }
    }
    fn show(&self) -> Json {
        self.as_ref().map_or(Json::Null, T::show)
    }
    fn schema() -> Json {
        T::schema()
    }
}

/// Gives an enum its words: `name()` and [`Value`].
macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ }) => {
        impl $type {
            /// The word for it in files, variables and flags.
            pub fn name(self) -> &'static str {
                match self { $( $type::$variant => $word, )+ }
            }
        }
        impl Value for $type {
            const KIND: &'static str = $crate::value::alternatives!($($word),+);
            fn read(raw: &Raw) -> Result<Self, String> {
                match raw.text() {
                    $( Some($word) => Ok($type::$variant), )+
                    _ => Err($crate::value::expected(&format!("one of {}", [$($word),+].join(", ")), raw)),
                }
            }
            fn show(&self) -> Json {
                Json::from(self.name())
            }
            fn schema() -> Json {
                json!({"enum": [$($word),+]})
            }
        }
    };
}
macro_rules! alternatives {
    ($first:literal $(, $word:literal)*) => { concat!("`", $first, "`" $(, ", `", $word, "`")*) };
}
pub(crate) use {alternatives, words};
