//! The next hops that delivery works with.

use super::paging::{Asked, Page, PageQuery, query};
use crate::error::ApiError;
use crate::rooms::Destination;
use crate::router::Shared;
use axum::Json;
use axum::extract::State;

/// List the next hops that delivery remembers
///
/// Those with mail in memory, those that are down, and those that were talked to lately.
#[utoipa::path(get, path = "/destinations", tag = "server", params(PageQuery), responses((status = 200, body = Page<Destination>)))]
pub(crate) async fn destinations(
    State(shared): State<Shared>,
    asked: Asked<PageQuery>,
) -> Result<Json<Page<Destination>>, ApiError> {
    let (after, limit) = query(asked)?.parse()?;
    let mut found = shared.rooms.destinations();
    found.retain(|one| after.as_ref().is_none_or(|after| one.name > *after));
    found.truncate(limit);
    Ok(Json(Page::new(found, limit, |one| one.name.clone(), |one| one)))
}
