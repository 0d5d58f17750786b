//! The surface: a token in, an identity out.

use crate::cache::{Cache, Clock};
use crate::token::Token;
use crate::{SettingsError, SourceError, TokenError, TokenSettings};
use std::sync::Arc;
use std::time::Instant;

/// Longest name of an account in octets.
const MAX_NAME: usize = 255;

/// Who a token says its bearer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What the claim of [`TokenSettings::claim`] holds: 1 to 255 octets without control characters.
    pub name: String,
}

/// Checks tokens of one issuer.
pub struct TokenVerifier {
    settings: TokenSettings,
    keys: Arc<Cache>,
}

impl TokenVerifier {
    /// A verifier. Its source is asked with the first token, or by [`TokenVerifier::ready`].
    ///
    /// # Errors
    /// A setting that is missing or makes no sense.
    pub fn new(settings: TokenSettings) -> Result<Self, SettingsError> {
        Self::with_clock(settings, Box::new(Instant::now))
    }

    pub(crate) fn with_clock(settings: TokenSettings, clock: Clock) -> Result<Self, SettingsError> {
        settings.check()?;
        let keys = Arc::new(Cache::new(settings.source.clone(), clock));
        Ok(Self { settings, keys })
    }

    /// Checks a token: its signature by one of the issuer's keys, `iss`, `aud`, and `exp` and `nbf` with 60
    /// seconds for clocks that differ. May wait up to 10 seconds for the source; the check itself takes well
    /// under a millisecond.
    ///
    /// # Errors
    /// Why the token does not count. Only [`TokenError::KeysUnavailable`] may be otherwise the next time.
    pub async fn verify(&self, token: &str) -> Result<Identity, TokenError> {
        let token = Token::read(token)?;
        let keys = self.keys.current().await.ok_or(TokenError::KeysUnavailable)?;
        let claims = match token.check(&keys, &self.settings) {
            Err(TokenError::UnknownKey) => match self.keys.newer(&keys).await {
                Some(keys) => token.check(&keys, &self.settings)?,
                None if self.keys.error().is_some() => return Err(TokenError::KeysUnavailable),
                None => return Err(TokenError::UnknownKey),
            },
            outcome => outcome?,
        };
        let name = self.settings.claim.of(&claims).ok_or(TokenError::NoAccount)?;
        match (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control) {
            true => Ok(Identity {
                name: name.to_owned(),
            }),
            false => Err(TokenError::NoAccount),
        }
    }

    /// Whether there are keys; asks for them when there are none and the last time is a minute ago.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn ready(&self) -> Result<(), SourceError> {
        match (self.keys.current().await, self.keys.error()) {
            (None, Some(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Why the source brought no keys when it was asked last. Older keys may still be in use.
    pub fn last_error(&self) -> Option<SourceError> {
        self.keys.error()
    }
}
