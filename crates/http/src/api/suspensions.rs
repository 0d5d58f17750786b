//! Mail that is kept waiting: by recipients' domain, by sender, by account, by next hop.

use super::paging::{Asked, query};
use super::request::JsonBody;
use super::trail::{Change, record};
use super::words::KindName;
use super::{now, store};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::router::Shared;
use axum::Json;
use axum::extract::{Path, State};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use smtp_queue::{Filter, State as RecipientState, Suspension, SuspensionKind};
use utoipa::{IntoParams, ToSchema};

/// Most octets of a name or a reason.
const MOST_TEXT: usize = 500;
/// Longest suspension that ends by itself, in seconds: a year.
const LONGEST: u64 = 365 * 86_400;

/// Mail that is kept waiting.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Suspension)]
pub(crate) struct Entry {
    #[schema(inline)]
    kind: KindName,
    /// Lower case, but for accounts.
    name: String,
    /// For people.
    reason: String,
    /// Who said so.
    who: String,
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// When it ends by itself; null until it is resumed.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

impl From<Suspension> for Entry {
    fn from(one: Suspension) -> Entry {
        Entry {
            kind: KindName(one.kind),
            name: one.name,
            reason: one.reason,
            who: one.who,
            since: one.since,
            until: one.until,
        }
    }
}

/// Every suspension; there are at most 1,000.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Suspensions)]
pub(crate) struct Entries {
    entries: Vec<Entry>,
}

/// What is to be kept waiting.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suspend {
    #[schema(inline)]
    kind: KindName,
    /// Of recipients the domain, of senders an address or `@domain`, of accounts the name, of next hops the name that they have among destinations.
    #[schema(min_length = 1, max_length = 500)]
    name: String,
    /// For people.
    #[serde(default)]
    #[schema(max_length = 500)]
    reason: String,
    /// Seconds until it ends by itself; without it, it holds until it is resumed.
    #[schema(minimum = 1, maximum = 31_536_000)]
    expires_in: Option<u64>,
    /// Only count the messages in the queue that it would keep waiting.
    #[serde(default)]
    dry_run: bool,
}

/// A suspension that began, or with `dry_run` would.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Suspended {
    #[serde(flatten)]
    suspension: Entry,
    /// Messages in the queue that it keeps waiting; of a next hop the recipients that wait for it in memory.
    touched: u64,
}

/// What a resumption did, or with `dry_run` would do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Resumed {
    /// Recipients that are due now.
    touched: u64,
}

/// The query of a resumption.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct ResumeQuery {
    /// Only count what waits.
    dry_run: bool,
}

/// List what is suspended
#[utoipa::path(get, path = "/suspensions", tag = "suspensions", responses((status = 200, body = Entries)))]
pub(crate) async fn list(State(shared): State<Shared>) -> Result<Json<Entries>, ApiError> {
    let all = store(&shared)?.suspensions().await?;
    let entries = all.into_iter().map(Entry::from).collect();
    Ok(Json(Entries { entries }))
}

/// Keep mail waiting from now on
///
/// It is taken and not tried, and no attempt is counted. Replaces a suspension of the same kind and name; holds across restarts.
#[utoipa::path(
    post,
    path = "/suspensions",
    tag = "suspensions",
    request_body = Suspend,
    responses((status = 200, body = Suspended))
)]
pub(crate) async fn suspend(
    State(shared): State<Shared>,
    caller: Caller,
    JsonBody(asked): JsonBody<Suspend>,
) -> Result<Json<Suspended>, ApiError> {
    let dry_run = asked.dry_run;
    let suspension = asked.parse(&caller, now(&shared))?;
    let store = store(&shared)?;
    let (kind, name) = (suspension.kind, suspension.name.clone());
    let waiting = vec![RecipientState::Queued, RecipientState::Deferred];
    let touched = match meant(kind, &name) {
        Some(filter) => store.count(filter, waiting).await?,
        None => {
            let all = shared.rooms.destinations().into_iter();
            all.filter(|one| one.name == name).map(|one| one.waiting).sum()
        }
    };
    if dry_run {
        let suspension = suspension.into();
        return Ok(Json(Suspended { suspension, touched }));
    }
    let same = |one: &Suspension| (one.kind, &one.name) == (kind, &name);
    let before = store.suspensions().await?.into_iter().find(same).map(Entry::from);
    if !store.suspend(suspension.clone()).await? {
        let message = "there are 1,000 suspensions already: resume some";
        return Err(ApiError::new(409, "too_many", message));
    }
    let in_force = shared.rooms.suspensions_changed().await;
    let suspension = Entry::from(suspension);
    let target = format!("{}={name}", kind.name());
    let change = Change::new("queue.suspend", &target, touched);
    record(&shared, &caller, change.with(before, &suspension)).await;
    in_force?;
    Ok(Json(Suspended { suspension, touched }))
}

/// End a suspension
///
/// What waited is due at once.
#[utoipa::path(
    delete,
    path = "/suspensions/{kind}/{name}",
    tag = "suspensions",
    params(
        ("kind" = inline(KindName), Path, description = "What it is about."),
        ("name" = String, Path, description = "Its name."),
        ResumeQuery,
    ),
    responses((status = 200, body = Resumed))
)]
pub(crate) async fn resume(
    State(shared): State<Shared>,
    caller: Caller,
    Path((kind, name)): Path<(String, String)>,
    asked: Asked<ResumeQuery>,
) -> Result<Json<Resumed>, ApiError> {
    let ResumeQuery { dry_run } = query(asked)?;
    let unknown =
        || ApiError::not_found("what is suspended is a domain, a sender, an account or a destination");
    let kind = SuspensionKind::parse(&kind).ok_or_else(unknown)?;
    let (store, name) = (store(&shared)?, normalised(kind, &name));
    let same = |one: &Suspension| (one.kind, &one.name) == (kind, &name);
    let before = store.suspensions().await?.into_iter().find(same).map(Entry::from);
    let missing = || ApiError::not_found(format!("the {} {name} is not suspended", kind.name()));
    let before = before.ok_or_else(missing)?;
    if dry_run {
        let touched = store.parked(kind, name).await?;
        return Ok(Json(Resumed { touched }));
    }
    let ended = store.resume(kind, name.clone(), store.now()).await?;
    let touched = ended.ok_or_else(missing)?;
    let in_force = shared.rooms.suspensions_changed().await;
    shared.rooms.retry_now();
    let target = format!("{}={name}", kind.name());
    let change = Change::new("queue.resume", &target, touched);
    record(&shared, &caller, change.with(before, ())).await;
    in_force?;
    Ok(Json(Resumed { touched }))
}

impl Suspend {
    fn parse(self, caller: &Caller, now: Timestamp) -> Result<Suspension, ApiError> {
        let kind = self.kind.0;
        let name = normalised(kind, &self.name);
        if name.is_empty() || name.len() > MOST_TEXT || self.reason.len() > MOST_TEXT {
            return Err(ApiError::bad_request(
                "name and reason have at most 500 octets, and name is not empty",
            ));
        }
        let ends = self.expires_in.map(|seconds| match seconds {
            1..=LONGEST => Ok(now + SignedDuration::from_secs(seconds as i64)),
            _ => Err(ApiError::bad_request(
                "expires_in is from 1 second to a year (31536000)",
            )),
        });
        Ok(Suspension {
            kind,
            name,
            reason: self.reason,
            who: caller.who.to_string(),
            since: now,
            until: ends.transpose()?,
        })
    }
}

/// The messages that a suspension is about; `None` when the queue cannot tell.
fn meant(kind: SuspensionKind, name: &str) -> Option<Filter> {
    let (name, mut filter) = (Some(name.to_owned()), Filter::default());
    match kind {
        SuspensionKind::Domain => filter.domain = name,
        SuspensionKind::Sender => filter.sender = name,
        SuspensionKind::Account => filter.account = name,
        SuspensionKind::Destination => return None,
    }
    Some(filter)
}

/// As the queue compares it.
fn normalised(kind: SuspensionKind, name: &str) -> String {
    match kind {
        SuspensionKind::Account => name.to_owned(),
        _ => name.to_lowercase(),
    }
}
