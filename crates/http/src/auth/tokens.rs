//! Bearer tokens: those made at run time, which the store keeps as hashes, and those that the configuration declares.
//!
//! Promises: a token is compared by its hash with every token there is, in constant time each; the store is asked once, and again
//! after a change, so that tokens go on working while it is busy; a store that others share is asked again when somebody comes with a token
//! and that was a second ago, so that what another server made or revoked is heard of; a declared token hides a stored one of its name.

use crate::rooms::{DeclaredToken, Rooms};
use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use smtp_config::Scope;
use smtp_queue::{ApiToken, Store, StoreError, TokenAdded};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;
use tokio::time::timeout;

/// What every token begins with, so that scanners of secrets find one that leaked.
const PREFIX: &str = "smtp_";
/// Octets of a token that was made at run time: the prefix, and 256 bits as base64.
const LENGTH: usize = 48;

/// After that time others may have made or revoked tokens.
const FRESH: Duration = Duration::from_secs(1);
/// A store that takes longer to say so is busy: what was known goes on being good.
const PATIENCE: Duration = Duration::from_secs(1);

/// The tokens that were made at run time, as the store had them last.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    known: RwLock<Option<Known>>,
    /// Held over a change and the look after it.
    changing: tokio::sync::Mutex<()>,
}

/// What the store had, and when.
#[derive(Clone, Debug)]
struct Known {
    tokens: Arc<[ApiToken]>,
    at: Instant,
}

/// What a token turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Good, for this much.
    Good(String, Scope),
    /// It was good until then.
    Expired(String, Timestamp),
    /// None that is known.
    Unknown,
}

impl Tokens {
    /// What `secret` is.
    ///
    /// # Errors
    /// The store's, when it has to be asked and does not answer; `None` while it is not open yet. Of what no stored token looks like it is never
    /// asked.
    pub(super) async fn find(&self, rooms: &dyn Rooms, secret: &[u8]) -> Result<Found, Option<StoreError>> {
        let hash = hash(secret);
        let declared = rooms.declared_tokens();
        let same = |other: &[u8; 32]| bool::from(other.ct_eq(&hash));
        // Everything is compared, whichever it is.
        let matching = declared
            .iter()
            .fold(None, |found, token| match same(&token.hash) {
                true => Some(token),
                false => found,
            });
        if let Some(token) = matching {
            return Ok(Found::Good(token.name.clone(), token.scope));
        }
        // A guess at the password is known for one without the store, also while that is away, and is counted.
        if !is_shaped(secret) {
            return Ok(Found::Unknown);
        }
        let stored = self.stored(rooms).await?;
        let matching = stored.iter().fold(None, |found, token| match same(&token.hash) {
            true => Some(token),
            false => found,
        });
        Ok(match matching {
            Some(token) if !is_hidden(token, &declared) => {
                // By the clock that its end was reckoned by, wherever it was made.
                let now = rooms.store().map_or_else(Timestamp::now, |store| store.now());
                judge(token, now)
            }
            _ => Found::Unknown,
        })
    }

    /// Every stored token, by name.
    pub(crate) async fn stored(&self, rooms: &dyn Rooms) -> Result<Arc<[ApiToken]>, Option<StoreError>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known {
            return Ok(self.still(known, rooms).await);
        }
        let store = rooms.store().ok_or(None)?;
        let _alone = self.changing.lock().await;
        self.look(&*store).await.map_err(Some)
    }

    /// What is known, or what has become of it at the hands of others.
    async fn still(&self, known: Known, rooms: &dyn Rooms) -> Arc<[ApiToken]> {
        let store = rooms.store().filter(|store| store.shared().is_some());
        let Some(store) = store.filter(|_| known.at.elapsed() >= FRESH) else {
            return known.tokens;
        };
        // One asks, and the others go by what it finds.
        let Ok(_alone) = self.changing.try_lock() else {
            return known.tokens;
        };
        if let Ok(Ok(tokens)) = timeout(PATIENCE, self.look(&*store)).await {
            return tokens;
        }
        self.know(known.tokens.clone());
        known.tokens
    }

    /// Stores a token.
    pub(crate) async fn add(&self, store: &dyn Store, token: ApiToken) -> Result<TokenAdded, StoreError> {
        let _alone = self.changing.lock().await;
        let mut tokens = self.look(store).await?.to_vec();
        let added = store.add_token(token.clone()).await?;
        if added == TokenAdded::Added {
            tokens.push(token);
            self.know(tokens.into());
        }
        Ok(added)
    }

    /// Forgets a token; gives it, if there was one.
    pub(crate) async fn remove(&self, store: &dyn Store, name: &str) -> Result<Option<ApiToken>, StoreError> {
        let _alone = self.changing.lock().await;
        let mut tokens = self.look(store).await?.to_vec();
        store.remove_token(name.to_owned()).await?;
        let place = tokens.iter().position(|token| token.name == name);
        let token = place.map(|place| tokens.remove(place));
        self.know(tokens.into());
        Ok(token)
    }

    async fn look(&self, store: &dyn Store) -> Result<Arc<[ApiToken]>, StoreError> {
        let tokens: Arc<[ApiToken]> = store.tokens().await?.into();
        self.know(tokens.clone());
        Ok(tokens)
    }

    fn know(&self, tokens: Arc<[ApiToken]>) {
        let at = Instant::now();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Known { tokens, at });
    }
}

/// Whether a declared token has its name.
pub(crate) fn is_hidden(token: &ApiToken, declared: &[DeclaredToken]) -> bool {
    declared.iter().any(|other| other.name == token.name)
}

fn judge(token: &ApiToken, now: Timestamp) -> Found {
    match (token.expires, Scope::parse(&token.scope)) {
        (Some(expires), _) if expires <= now => Found::Expired(token.name.clone(), expires),
        (_, Some(scope)) => Found::Good(token.name.clone(), scope),
        // Of a version that knew more scopes.
        (_, None) => Found::Unknown,
    }
}

/// What is kept of a token. It is random and long, so a plain hash cannot be searched for it.
pub(crate) fn hash(secret: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.iter_mut()
        .zip(digest::digest(&digest::SHA256, secret).as_ref())
        .for_each(|(to, from)| *to = *from);
    hash
}

/// Whether it may be a token of [`generate`]: all that are stored are.
fn is_shaped(secret: &[u8]) -> bool {
    secret.len() == LENGTH && secret.starts_with(PREFIX.as_bytes())
}

/// A new token: 256 random bits. `None` when the system has no randomness.
pub(crate) fn generate() -> Option<String> {
    let mut bits = [0; 32];
    rand::fill(&mut bits).ok()?;
    Some(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_it_expires() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let token = |scope: &str| ApiToken {
            name: "ci".into(),
            hash: [0; 32],
            scope: scope.into(),
            created: at(0),
            created_by: "admin".into(),
            expires: Some(at(10)),
        };
        assert_eq!(
            judge(&token("read"), at(9)),
            Found::Good("ci".into(), Scope::Read)
        );
        assert_eq!(judge(&token("read"), at(10)), Found::Expired("ci".into(), at(10)));
        assert_eq!(judge(&token("everything"), at(9)), Found::Unknown);
    }

    #[test]
    fn tokens_differ_and_their_hash_is_sha_256() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one, other);
        assert!(
            is_shaped(one.as_bytes()) && !is_shaped(&one.as_bytes()[1..]),
            "{one}"
        );
        assert!(!is_shaped(&[b'x'; LENGTH]));
        assert_eq!(hash(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }
}
