//! What settings say of other programs that are called by HTTP.

use crate::value::{Raw, Value, expected};
use serde_json::{Value as Json, json};

/// An `http://` or `https://` URL without user, blanks or a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl(String);

impl HttpUrl {
    /// The URL as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names a host only, and no path.
    pub fn is_bare(&self) -> bool {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        rest.trim_end_matches('/').find(['/', '?']).is_none()
    }
}

impl Value for HttpUrl {
    const KIND: &'static str = "`http://` or `https://` URL";
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw.text().ok_or_else(|| expected(Self::KIND, raw))?;
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let host = rest.and_then(|rest| rest.split(['/', '?']).next()).unwrap_or("");
        if host.is_empty() || host.starts_with(':') || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(expected("an http:// or https:// URL", raw));
        }
        // Not repeated in the error: what stands before an @ may be a password.
        if host.contains('@') || text.contains('#') {
            return Err("the URL must have neither a user nor a fragment".into());
        }
        Ok(HttpUrl(text.to_owned()))
    }
    fn show(&self) -> Json {
        Json::from(self.0.as_str())
    }
    fn schema() -> Json {
        json!({"type": "string", "pattern": "^https?://"})
    }
}

/// A part of all, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fraction(f64);

impl Fraction {
    /// All.
    pub const ALL: Fraction = Fraction(1.0);

    /// From 0 to 1.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Value for Fraction {
    const KIND: &'static str = "number from 0 to 1";
    fn read(raw: &Raw) -> Result<Self, String> {
        let number = match raw {
            Raw::Float(number) => Some(*number),
            Raw::Integer(0) => Some(0.0),
            Raw::Integer(1) => Some(1.0),
            Raw::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        number
            .filter(|number| (0.0..=1.0).contains(number))
            .map(Fraction)
            .ok_or_else(|| expected("a number from 0 to 1", raw))
    }
    fn show(&self) -> Json {
        Json::from(self.0)
    }
    fn schema() -> Json {
        json!({"type": "number", "minimum": 0, "maximum": 1})
    }
}

/// The pairs of `name=value,name=value`, as OpenTelemetry writes header fields.
///
/// # Errors
/// What is wrong, without a value in it.
pub fn header_pairs(text: &str) -> Result<Vec<(&str, &str)>, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or_default();
            let (name, value) = (name.trim(), value.trim());
            let token = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            let plain = |b: u8| b.is_ascii_graphic() || b == b' ';
            match !name.is_empty() && name.bytes().all(token) && value.bytes().all(plain) {
                true => Ok((name, value)),
                false => Err("it must be name=value, several with commas between".to_owned()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_http_and_hold_no_secret() {
        let read = |text: &str| HttpUrl::read(&Raw::String(text.into()));
        for good in ["http://[::1]:4318", "https://x.example/hook?team=a", "http://a/"] {
            assert_eq!(read(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "x",
            "ftp://x",
            "http://",
            "http:///x",
            "http://:80",
            "https://a b",
            "https://a\n",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(!read("https://u:secret@x").unwrap_err().contains("secret"));
        assert!(read("http://a:1/").unwrap().is_bare() && !read("http://a/v1").unwrap().is_bare());
    }

    #[test]
    fn fractions() {
        let read = |raw: Raw| Fraction::read(&raw).map(Fraction::get).ok();
        assert_eq!(read(Raw::Float(0.25)), Some(0.25));
        assert_eq!(read(Raw::Integer(1)), Some(1.0));
        assert_eq!(read(Raw::Text("0.5".into())), Some(0.5));
        for bad in [
            Raw::Float(1.1),
            Raw::Float(f64::NAN),
            Raw::Integer(2),
            Raw::Text("-0.1".into()),
        ] {
            assert_eq!(read(bad), None);
        }
    }

    #[test]
    fn header_fields() {
        let pairs = header_pairs("Authorization=Bearer a=b, x-team = mail,").unwrap();
        assert_eq!(pairs, [("Authorization", "Bearer a=b"), ("x-team", "mail")]);
        for bad in ["secret", "=secret", "a b=secret", "a=secret\u{7f}"] {
            assert!(!header_pairs(bad).unwrap_err().contains("secret"), "{bad}");
        }
    }
}
