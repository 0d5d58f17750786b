//! What a verifier is told.

use crate::SettingsError;
use serde_json::Value;
use smtp_https::reqwest::Url;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Whose tokens count, and for whom they must be meant.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// `iss` of every token, to the letter.
    pub issuer: String,
    /// One of these must be in the token's `aud`.
    pub audience: Vec<String>,
    /// Where the issuer's keys are.
    pub source: KeySource,
    /// The claim that names the account.
    pub claim: Claim,
}

impl TokenSettings {
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        if self.issuer.is_empty() {
            return Err(SettingsError::NoIssuer);
        }
        if self.audience.is_empty() || self.audience.iter().any(String::is_empty) {
            return Err(SettingsError::NoAudience);
        }
        match &self.source {
            KeySource::Url { url, .. } if !is_safe(url) => Err(SettingsError::Url(url.clone())),
            _ => Ok(()),
        }
    }
}

/// Where an issuer's keys (a JWKS) are.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A file, read again when it changes.
    File(PathBuf),
    /// A URL, asked once an hour and when a token names an unknown key.
    Url {
        /// `https://…`; `http://` for loopback only. Redirects are not followed, proxies not used.
        url: String,
        /// PEM file of the CA to trust instead of the built-in ones, read for each request.
        ca_file: Option<PathBuf>,
        /// File with a bearer token to show, read for each request. Kubernetes' `/openid/v1/jwks` wants one.
        bearer_token_file: Option<PathBuf>,
    },
}

fn is_safe(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else {
        return false;
    };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    let secret = !url.username().is_empty() || url.password().is_some();
    !secret && (url.scheme() == "https" || url.scheme() == "http" && loopback)
}

/// Where in a token the account's name is: the name of a claim (`sub`, `email`), or, beginning with `/`, a
/// JSON Pointer (RFC 6901) to a nested one, whose keys may have dots: `/kubernetes.io/serviceaccount/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim(String);

impl Claim {
    /// The text that the claim has in these claims, if it is there and is a text.
    pub(crate) fn of<'a>(&self, claims: &'a Value) -> Option<&'a str> {
        let value = match self.0.starts_with('/') {
            true => claims.pointer(&self.0),
            false => claims.get(&self.0),
        };
        value.and_then(Value::as_str)
    }
}

impl Default for Claim {
    fn default() -> Self {
        Self("sub".to_owned())
    }
}

impl FromStr for Claim {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        // In a pointer `~` is only there as `~0` or `~1`.
        let escapes = || text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        match text.is_empty() || text == "/" || text.starts_with('/') && !escapes() {
            true => Err(SettingsError::Claim(text.to_owned())),
            false => Ok(Self(text.to_owned())),
        }
    }
}
