//! `/api/v1/dkim`: the keys that sign, and what DNS says of them.

use super::{Done, apply, directory, done, page, shown_entry};
use crate::api::paging::{Asked, Page, PageQuery};
use crate::api::request::JsonBody;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::router::Shared;
use axum::Json;
use axum::extract::{Path, State};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use smtp_directory::{Change, DkimKey, KeyState, NewKey, Snapshot};
use smtp_dkim::{Algorithm, Publication};
use smtp_sasl::Secret;
use std::sync::Arc;
use utoipa::ToSchema;

/// Longest overlap of a rotation, in seconds: a year.
const MAX_OVERLAP: u64 = 366 * 86_400;

/// A key, and the record to publish for it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DkimKey)]
pub(crate) struct Entry {
    domain: String,
    selector: String,
    /// `rsa` or `ed25519`.
    algorithm: &'static str,
    /// `published` (its record is to be published, it does not sign yet), `active`, `retiring` or `retired`.
    state: &'static str,
    /// From when it signs.
    #[schema(value_type = String, format = DateTime)]
    sign_from: Timestamp,
    /// Until when; null without an end.
    #[schema(value_type = Option<String>, format = DateTime)]
    sign_until: Option<Timestamp>,
    /// Name of the TXT record.
    record_name: String,
    /// Its value.
    record_value: String,
    /// The same as a line of a zone file.
    zone_line: String,
    /// When it was made; null for one that the configuration declares.
    #[schema(value_type = Option<String>, format = DateTime)]
    created: Option<Timestamp>,
    /// Where the configuration declares it; null for one made at run time.
    declared: Option<String>,
    /// After a look at DNS.
    #[serde(flatten)]
    published: Option<Published>,
}

/// What DNS says of a key.
#[derive(Debug, Serialize, ToSchema)]
struct Published {
    /// Whether receivers can verify its signatures.
    verifies: bool,
    /// For people.
    verdict: String,
}

impl Entry {
    fn new(key: &DkimKey) -> Entry {
        let identity = &key.identity;
        Entry {
            domain: identity.domain().to_owned(),
            selector: identity.selector().to_owned(),
            algorithm: identity.key().algorithm().name(),
            state: match key.state(Timestamp::now()) {
                KeyState::Published => "published",
                KeyState::Active => "active",
                KeyState::Retiring => "retiring",
                KeyState::Retired => "retired",
            },
            sign_from: key.sign_from,
            sign_until: key.sign_until,
            record_name: identity.record_name(),
            record_value: identity.record_value(),
            zone_line: identity.zone_line(),
            created: key.created,
            declared: key.declared.as_deref().map(str::to_owned),
            published: None,
        }
    }
}

/// Keys that are to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewDkimKey)]
pub(crate) struct New {
    /// Whose mail they sign.
    domain: String,
    /// One that no key of the domain has, made of the date, when it is left out.
    selector: Option<String>,
    /// `rsa` or `ed25519`; both when it is left out. Not with `key`.
    algorithm: Option<String>,
    /// A private key (PEM) that was made elsewhere.
    key: Option<String>,
    /// From when it signs; at once when it is left out.
    #[schema(value_type = Option<String>, format = DateTime)]
    sign_from: Option<Timestamp>,
}

/// Whose keys are to be replaced.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotate {
    domain: String,
    /// Seconds until the new keys sign in place of the old ones: time to publish their records.
    #[schema(maximum = 31_622_400)]
    overlap: u64,
}

/// Keys that were made, with their records.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DkimKeys)]
pub(crate) struct Made {
    keys: Vec<Entry>,
}

/// List DKIM keys
///
/// With the records to publish; pages are of domains.
#[utoipa::path(get, path = "/dkim", tag = "dkim", params(PageQuery), responses((status = 200, body = Page<Entry>)))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    asked: Asked<PageQuery>,
) -> Result<Json<Page<Entry>>, ApiError> {
    let snapshot = directory(&shared)?.snapshot();
    page(
        asked,
        |after, limit| snapshot.keys(after, limit),
        |key| key.identity.domain().to_owned(),
        |key| Entry::new(&key),
    )
}

/// Compare the keys of a domain with DNS
#[utoipa::path(post, path = "/dkim/check", tag = "dkim", request_body = Domain, responses((status = 200, body = Made)))]
pub(crate) async fn check(
    State(shared): State<Shared>,
    JsonBody(Domain { domain }): JsonBody<Domain>,
) -> Result<Json<Made>, ApiError> {
    let snapshot = directory(&shared)?.snapshot();
    let mut keys = Vec::new();
    for key in keys_of(&snapshot, &domain)? {
        let mut entry = Entry::new(&key);
        entry.published = Some(published(&shared, &key).await);
        keys.push(entry);
    }
    Ok(Json(Made { keys }))
}

/// Whose keys are to be looked at.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DkimDomain)]
pub(crate) struct Domain {
    domain: String,
}

async fn published(shared: &Shared, key: &DkimKey) -> Published {
    match shared.rooms.txt_records(&key.identity.record_name()).await {
        Ok(records) => {
            let publication = Publication::of(&records, key.identity.key());
            Published {
                verifies: publication.verifies(),
                verdict: publication.to_string(),
            }
        }
        Err(reason) => Published {
            verifies: false,
            verdict: format!("not known: {reason}"),
        },
    }
}

/// Make DKIM keys
#[utoipa::path(post, path = "/dkim", tag = "dkim", request_body = New, responses((status = 200, body = Made)))]
pub(crate) async fn add(
    State(shared): State<Shared>,
    caller: Caller,
    JsonBody(new): JsonBody<New>,
) -> Result<Json<Made>, ApiError> {
    let sources = new.sources()?;
    let mut keys = Vec::new();
    for source in sources {
        let selector = match &new.selector {
            Some(selector) => selector.clone(),
            None => free_selector(&directory(&shared)?.snapshot(), &new.domain, &source),
        };
        let change = Change::AddKey {
            domain: new.domain.clone(),
            selector: selector.clone(),
            key: source,
            sign_from: new.sign_from,
        };
        apply(
            &shared,
            &caller,
            ("dkim.add", &place(&new.domain, &selector), look),
            change,
        )
        .await?;
        keys.extend(made(&shared, &new.domain, &selector)?);
    }
    Ok(Json(Made { keys }))
}

impl New {
    fn sources(&self) -> Result<Vec<NewKey>, ApiError> {
        let algorithm = |name: &str| match name {
            "rsa" => Ok(Algorithm::Rsa),
            "ed25519" => Ok(Algorithm::Ed25519),
            _ => Err(ApiError::invalid("algorithm must be rsa or ed25519")),
        };
        match (&self.key, &self.algorithm) {
            (Some(_), Some(_)) => Err(ApiError::bad_request("key and algorithm contradict each other")),
            (Some(pem), None) => Ok(vec![NewKey::Pem(Secret::new(pem.clone()))]),
            (None, Some(name)) => Ok(vec![NewKey::Generate(algorithm(name)?)]),
            (None, None) if self.selector.is_some() => {
                let message = "a selector is for one key: say algorithm too, or leave the selector out";
                Err(ApiError::bad_request(message))
            }
            (None, None) => Ok(both()),
        }
    }
}

fn both() -> Vec<NewKey> {
    vec![
        NewKey::Generate(Algorithm::Rsa),
        NewKey::Generate(Algorithm::Ed25519),
    ]
}

/// Replace the keys of a domain
///
/// New ones of both kinds take over from the old ones after the overlap.
#[utoipa::path(post, path = "/dkim/rotate", tag = "dkim", request_body = Rotate, responses((status = 200, body = Made)))]
pub(crate) async fn rotate(
    State(shared): State<Shared>,
    caller: Caller,
    JsonBody(Rotate { domain, overlap }): JsonBody<Rotate>,
) -> Result<Json<Made>, ApiError> {
    if overlap > MAX_OVERLAP {
        return Err(ApiError::invalid("overlap must be at most a year, in seconds"));
    }
    let overlap = i64::try_from(overlap).unwrap_or_default();
    let takeover = Timestamp::now() + SignedDuration::from_secs(overlap);
    let old = keys_of(&directory(&shared)?.snapshot(), &domain)?;
    if let Some(declared) = old.iter().find_map(|key| key.declared.as_deref()) {
        let message =
            format!("a key of {domain} is declared in the configuration ({declared}): change it there");
        return Err(ApiError::new(409, "declared", message));
    }
    let mut keys = Vec::new();
    for source in both() {
        let selector = free_selector(&directory(&shared)?.snapshot(), &domain, &source);
        let change = Change::AddKey {
            domain: domain.clone(),
            selector: selector.clone(),
            key: source,
            sign_from: Some(takeover),
        };
        apply(
            &shared,
            &caller,
            ("dkim.rotate", &place(&domain, &selector), look),
            change,
        )
        .await?;
        keys.extend(made(&shared, &domain, &selector)?);
    }
    for key in old
        .iter()
        .filter(|key| key.sign_until.is_none_or(|until| until > takeover))
    {
        let selector = key.identity.selector();
        let change = Change::RetireKey {
            domain: domain.clone(),
            selector: selector.to_owned(),
            until: Some(takeover),
        };
        apply(
            &shared,
            &caller,
            ("dkim.retire", &place(&domain, selector), look),
            change,
        )
        .await?;
    }
    Ok(Json(Made { keys }))
}

/// Remove a key
#[utoipa::path(
    delete,
    path = "/dkim/{domain}/{selector}",
    tag = "dkim",
    params(
        ("domain" = String, Path, description = "Its domain."),
        ("selector" = String, Path, description = "Its selector."),
    ),
    responses((status = 200, body = Done))
)]
pub(crate) async fn remove(
    State(shared): State<Shared>,
    caller: Caller,
    Path((domain, selector)): Path<(String, String)>,
) -> Result<Json<Done>, ApiError> {
    let about = ("dkim.remove", &*place(&domain, &selector), look as _);
    done(&shared, &caller, about, Change::RemoveKey { domain, selector }).await
}

/// A key's name for [`look`].
fn place(domain: &str, selector: &str) -> String {
    format!("{selector}._domainkey.{domain}")
}

fn look(snapshot: &Snapshot, name: &str) -> Value {
    let key = name
        .split_once("._domainkey.")
        .and_then(|(selector, domain)| snapshot.key(domain, selector));
    shown_entry(key.map(|key| Entry::new(key)))
}

fn keys_of(snapshot: &Snapshot, domain: &str) -> Result<Vec<Arc<DkimKey>>, ApiError> {
    let keys = snapshot.keys_of(domain);
    match keys.is_empty() {
        true => Err(ApiError::not_found(format!("{domain} has no DKIM key"))),
        false => Ok(keys),
    }
}

fn made(shared: &Shared, domain: &str, selector: &str) -> Result<Option<Entry>, ApiError> {
    let snapshot = directory(shared)?.snapshot();
    Ok(snapshot.key(domain, selector).map(|key| Entry::new(key)))
}

/// The date and a letter for the algorithm, and a number when that is taken: `20260131r`, `20260131r2`.
fn free_selector(snapshot: &Snapshot, domain: &str, key: &NewKey) -> String {
    let letter = match key {
        NewKey::Generate(Algorithm::Rsa) => 'r',
        NewKey::Generate(Algorithm::Ed25519) => 'e',
        NewKey::Pem(_) => 'k',
    };
    let date = Timestamp::now().strftime("%Y%m%d");
    let first = format!("{date}{letter}");
    let numbered = (2..).map(|number| format!("{first}{number}"));
    let mut names = std::iter::once(first.clone()).chain(numbered);
    // A domain has few keys, so this ends.
    names
        .find(|name| snapshot.key(domain, name).is_none())
        .unwrap_or(first)
}
