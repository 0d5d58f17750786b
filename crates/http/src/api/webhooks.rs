//! Webhooks: how their receivers stand, and what waits for them.

use super::paging::{Asked, Page, PageQuery, query};
use super::request::{JsonBody, Nothing};
use super::trail::{Change, record};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::rooms::Webhook;
use crate::router::Shared;
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

/// List webhooks: how each receiver stands, and what waits for it
///
/// Also those that are not configured any more, while something waits for them.
#[utoipa::path(get, path = "/webhooks", tag = "webhooks", params(PageQuery), responses((status = 200, body = Page<Webhook>)))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    asked: Asked<PageQuery>,
) -> Result<Json<Page<Webhook>>, ApiError> {
    let (after, limit) = query(asked)?.parse()?;
    let mut found = shared.rooms.webhooks().await?;
    found.retain(|one| after.as_ref().is_none_or(|after| one.name > *after));
    found.truncate(limit);
    Ok(Json(Page::new(found, limit, |one| one.name.clone(), |one| one)))
}

/// What was made due.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Retried {
    /// How many calls.
    touched: u64,
}

/// Make what waits for a webhook now
///
/// All calls that wait are due, and the receiver is tried at once although it is left alone: for when it was mended.
#[utoipa::path(
    post,
    path = "/webhooks/{name}/retry",
    tag = "webhooks",
    params(("name" = String, Path, description = "Its name.")),
    request_body = Option<Nothing>,
    responses((status = 200, body = Retried))
)]
pub(crate) async fn retry(
    State(shared): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
    JsonBody(Nothing {}): JsonBody<Nothing>,
) -> Result<Json<Retried>, ApiError> {
    let missing = || ApiError::not_found(format!("no webhook is named {name}"));
    let touched = shared.rooms.retry_webhook(&name).await?.ok_or_else(missing)?;
    record(&shared, &caller, Change::new("webhook.retry", &name, touched)).await;
    Ok(Json(Retried { touched }))
}
