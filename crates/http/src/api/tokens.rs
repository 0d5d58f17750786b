//! Tokens for this API: made, listed, revoked. A token is in the one answer to the request that made it; after that nobody knows
//! it but whom it was given to.

use super::paging::{Asked, Page, PageQuery, query};
use super::request::JsonBody;
use super::trail::{Change, record};
use super::words::ScopeName;
use super::{now, store};
use crate::auth::{self, Caller, is_hidden};
use crate::error::ApiError;
use crate::router::Shared;
use axum::Json;
use axum::extract::{Path, State};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use smtp_config::{Scope, check_token_name};
use smtp_queue::{ApiToken, TokenAdded};
use utoipa::ToSchema;

/// Longest life of a token that expires, in seconds: ten years.
const LONGEST: u64 = 315_360_000;

/// A token, without the token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token)]
pub(crate) struct Entry {
    /// Who the log and the audit trail say it was.
    name: String,
    #[schema(inline, value_type = ScopeName)]
    scope: String,
    /// When it was made; null for one that the configuration declares.
    #[schema(value_type = Option<String>, format = DateTime)]
    created: Option<Timestamp>,
    /// Who made it; null for one that the configuration declares.
    created_by: Option<String>,
    /// Until when it is good; null for one that does not expire.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires: Option<Timestamp>,
    /// Whether the configuration declares it. Then it cannot be revoked here.
    declared: bool,
}

impl From<&ApiToken> for Entry {
    fn from(one: &ApiToken) -> Entry {
        Entry {
            name: one.name.clone(),
            scope: one.scope.clone(),
            created: Some(one.created),
            created_by: Some(one.created_by.clone()),
            expires: one.expires,
            declared: false,
        }
    }
}

/// A token that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    /// Who the log and the audit trail will say it was: letters, digits and `._-`.
    #[schema(pattern = "^[A-Za-z0-9._-]+$", min_length = 1, max_length = 64)]
    name: String,
    #[schema(inline)]
    scope: ScopeName,
    /// Seconds until it expires; without it, it is good until it is revoked.
    #[schema(minimum = 1, maximum = 315_360_000)]
    expires_in: Option<u64>,
}

/// A token that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MadeToken {
    #[serde(flatten)]
    about: Entry,
    /// The token, shown this once.
    token: String,
}

/// What was revoked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Revoked {
    /// The token's name.
    name: String,
}

/// List the tokens
///
/// Those made at run time, expired ones too, and those that the configuration declares.
#[utoipa::path(get, path = "/tokens", tag = "tokens", params(PageQuery), responses((status = 200, body = Page<Entry>)))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    asked: Asked<PageQuery>,
) -> Result<Json<Page<Entry>>, ApiError> {
    let (after, limit) = query(asked)?.parse()?;
    let declared = shared.rooms.declared_tokens();
    let stored = shared.tokens.stored(&*shared.rooms).await;
    let stored = stored.map_err(|error| error.map_or_else(ApiError::starting, ApiError::from))?;
    let in_force = stored.iter().filter(|one| !is_hidden(one, &declared));
    let mut all: Vec<Entry> = in_force.map(Entry::from).collect();
    all.extend(declared.iter().map(|one| Entry {
        name: one.name.clone(),
        scope: one.scope.name().to_owned(),
        created: None,
        created_by: None,
        expires: None,
        declared: true,
    }));
    all.retain(|one| after.as_ref().is_none_or(|after| one.name > *after));
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all.truncate(limit);
    Ok(Json(Page::new(all, limit, |one| one.name.clone(), |one| one)))
}

/// Make a token
///
/// It is in the answer, and nowhere else: the server keeps its hash.
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = NewToken, responses((status = 200, body = MadeToken)))]
pub(crate) async fn add(
    State(shared): State<Shared>,
    caller: Caller,
    JsonBody(new): JsonBody<NewToken>,
) -> Result<Json<MadeToken>, ApiError> {
    check_token_name(&new.name).map_err(|reason| ApiError::invalid(format!("name: {reason}")))?;
    let declared = shared.rooms.declared_tokens();
    if declared.iter().any(|one| one.name == new.name) {
        return Err(is_declared(&new.name));
    }
    let (token, kept) = new.make(&caller, now(&shared))?;
    let about = Entry::from(&kept);
    let name = about.name.clone();
    match shared.tokens.add(&*store(&shared)?, kept).await? {
        TokenAdded::Added => {}
        TokenAdded::Exists => {
            let message = format!("there is a token {name} already: revoke it first, or choose another name");
            return Err(ApiError::new(409, "exists", message));
        }
        TokenAdded::TooMany => {
            let message = "there are 1,000 tokens already: revoke some";
            return Err(ApiError::new(409, "too_many", message));
        }
    }
    let change = Change::new("token.add", &name, 1);
    record(&shared, &caller, change.with((), &about)).await;
    Ok(Json(MadeToken { about, token }))
}

impl NewToken {
    /// The token, and what is kept of it.
    fn make(self, caller: &Caller, created: Timestamp) -> Result<(String, ApiToken), ApiError> {
        let ends = self.expires_in.map(|seconds| match seconds {
            1..=LONGEST => Ok(created + SignedDuration::from_secs(seconds as i64)),
            _ => Err(ApiError::bad_request(
                "expires_in is from 1 second to ten years (315360000)",
            )),
        });
        let nothing = || ApiError::new(500, "internal", "the system has no randomness");
        let token = auth::generate().ok_or_else(nothing)?;
        let scope: Scope = self.scope.0;
        let kept = ApiToken {
            hash: auth::hash(token.as_bytes()),
            name: self.name,
            scope: scope.name().to_owned(),
            created,
            created_by: caller.who.to_string(),
            expires: ends.transpose()?,
        };
        Ok((token, kept))
    }
}

/// Revoke a token
///
/// It is good for nothing from the answer on.
#[utoipa::path(
    delete,
    path = "/tokens/{name}",
    tag = "tokens",
    params(("name" = String, Path, description = "Its name.")),
    responses((status = 200, body = Revoked))
)]
pub(crate) async fn revoke(
    State(shared): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Revoked>, ApiError> {
    let declared = shared.rooms.declared_tokens();
    let is_there = declared.iter().any(|one| one.name == name);
    let revoked = shared.tokens.remove(&*store(&shared)?, &name).await?;
    let Some(revoked) = revoked else {
        return Err(match is_there {
            true => is_declared(&name),
            false => ApiError::not_found(format!("there is no token {name}")),
        });
    };
    let change = Change::new("token.revoke", &name, 1);
    record(&shared, &caller, change.with(Entry::from(&revoked), ())).await;
    Ok(Json(Revoked { name }))
}

fn is_declared(name: &str) -> ApiError {
    let message =
        format!("the token {name} is declared in the configuration (admin.tokens): change it there");
    ApiError::new(409, "declared", message)
}
