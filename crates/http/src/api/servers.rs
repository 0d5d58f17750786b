//! The servers of the queue.

use super::paging::{Asked, Page, PageQuery, query};
use crate::error::ApiError;
use crate::rooms::Member;
use crate::router::Shared;
use axum::Json;
use axum::extract::State;

/// List the servers of the queue
///
/// Those that share a PostgreSQL database, by id; with SQLite it is the one that answers. One that ended in good order is not among them.
#[utoipa::path(get, path = "/servers", tag = "server", params(PageQuery), responses((status = 200, body = Page<Member>)))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    asked: Asked<PageQuery>,
) -> Result<Json<Page<Member>>, ApiError> {
    let (after, limit) = query(asked)?.parse()?;
    let mut found = shared.rooms.servers().await?;
    found.retain(|one| after.as_ref().is_none_or(|after| one.id > *after));
    found.truncate(limit);
    Ok(Json(Page::new(found, limit, |one| one.id.clone(), |one| one)))
}
