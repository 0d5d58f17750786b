//! Mail that is kept waiting: by recipients' domain, by sender, by account.
//!
//! A suspension: `kind` (`domain`, `sender`, `account`), `name`, `reason`, `who`, `since`, `until` (null: until it is resumed).

use super::audit;
use super::queue::store;
use super::request::JsonBody;
use crate::connection::Peer;
use crate::error::ApiError;
use crate::router::Shared;
use axum::Json;
use axum::extract::{ConnectInfo, Path, State};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use smtp_queue::{Suspension, SuspensionKind};

/// Most octets of a name or a reason.
const MOST_TEXT: usize = 500;
/// Longest suspension that ends by itself, in seconds: a year.
const LONGEST: u64 = 365 * 86_400;

/// One suspension as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    kind: &'static str,
    name: String,
    reason: String,
    who: String,
    since: Timestamp,
    until: Option<Timestamp>,
}

impl From<Suspension> for Entry {
    fn from(one: Suspension) -> Entry {
        Entry {
            kind: one.kind.name(),
            name: one.name,
            reason: one.reason,
            who: one.who,
            since: one.since,
            until: one.until,
        }
    }
}

/// All of them.
#[derive(Debug, Serialize)]
pub(crate) struct Entries {
    entries: Vec<Entry>,
}

/// What is to be kept waiting.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suspend {
    kind: String,
    name: String,
    #[serde(default)]
    reason: String,
    /// Seconds; without it, until it is resumed.
    expires_in: Option<u64>,
}

/// What ended.
#[derive(Debug, Serialize)]
pub(crate) struct Resumed {
    /// Recipients that are due now.
    touched: u64,
}

/// `GET /api/v1/suspensions`.
pub(crate) async fn list(State(shared): State<Shared>) -> Result<Json<Entries>, ApiError> {
    let all = store(&shared)?.suspensions().await?;
    let entries = all.into_iter().map(Entry::from).collect();
    Ok(Json(Entries { entries }))
}

/// `POST /api/v1/suspensions`: keeps mail waiting from now on.
pub(crate) async fn suspend(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    JsonBody(asked): JsonBody<Suspend>,
) -> Result<Json<Entry>, ApiError> {
    let suspension = asked.parse()?;
    let store = store(&shared)?;
    if !store.suspend(suspension.clone()).await? {
        let message = "there are 1,000 suspensions already: resume some";
        return Err(ApiError::new(409, "too_many", message));
    }
    shared.rooms.suspensions_changed().await?;
    let target = format!("{}={}", suspension.kind.name(), suspension.name);
    let entry = Entry::from(suspension);
    let after = serde_json::to_string(&entry).ok();
    audit(&shared, peer, "queue.suspend", &target, 1, after).await;
    Ok(Json(entry))
}

/// `DELETE /api/v1/suspensions/{kind}/{name}`: what waited is due now.
pub(crate) async fn resume(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    Path((kind, name)): Path<(String, String)>,
) -> Result<Json<Resumed>, ApiError> {
    let kind = parse_kind(&kind)?;
    let name = normalised(kind, &name);
    let ended = store(&shared)?
        .resume(kind, name.clone(), Timestamp::now())
        .await?;
    let Some(touched) = ended else {
        let message = format!("the {} {name} is not suspended", kind.name());
        return Err(ApiError::not_found(message));
    };
    shared.rooms.suspensions_changed().await?;
    shared.rooms.retry_now();
    let target = format!("{}={name}", kind.name());
    audit(&shared, peer, "queue.resume", &target, touched, None).await;
    Ok(Json(Resumed { touched }))
}

impl Suspend {
    fn parse(self) -> Result<Suspension, ApiError> {
        let kind = parse_kind(&self.kind)?;
        let name = normalised(kind, &self.name);
        if name.is_empty() || name.len() > MOST_TEXT || self.reason.len() > MOST_TEXT {
            return Err(ApiError::bad_request(
                "name and reason have at most 500 octets, and name is not empty",
            ));
        }
        let ends = self.expires_in.map(|seconds| match seconds {
            1..=LONGEST => Ok(Timestamp::now() + SignedDuration::from_secs(seconds as i64)),
            _ => Err(ApiError::bad_request(
                "expires_in is from 1 second to a year (31536000)",
            )),
        });
        Ok(Suspension {
            kind,
            name,
            reason: self.reason,
            who: "admin".into(),
            since: Timestamp::now(),
            until: ends.transpose()?,
        })
    }
}

fn parse_kind(text: &str) -> Result<SuspensionKind, ApiError> {
    SuspensionKind::parse(text)
        .ok_or_else(|| ApiError::bad_request("kind must be one of domain, sender, account"))
}

/// As the queue compares it.
fn normalised(kind: SuspensionKind, name: &str) -> String {
    match kind {
        SuspensionKind::Account => name.to_owned(),
        SuspensionKind::Domain | SuspensionKind::Sender => name.to_lowercase(),
    }
}
