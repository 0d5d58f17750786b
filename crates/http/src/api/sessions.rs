//! SMTP sessions in progress.

use super::paging::{Asked, Page, PageQuery, query};
use crate::error::ApiError;
use crate::rooms::Session;
use crate::router::Shared;
use axum::Json;
use axum::extract::State;

/// List the SMTP sessions in progress
///
/// Oldest first.
#[utoipa::path(get, path = "/sessions", tag = "server", params(PageQuery), responses((status = 200, body = Page<Session>)))]
pub(crate) async fn sessions(
    State(shared): State<Shared>,
    asked: Asked<PageQuery>,
) -> Result<Json<Page<Session>>, ApiError> {
    let (after, limit) = query(asked)?.parse()?;
    let number = |text: String| {
        let wrong = || ApiError::bad_request("after is the number of a session");
        text.parse().map_err(|_| wrong())
    };
    let found = shared.rooms.sessions(after.map(number).transpose()?, limit);
    Ok(Json(Page::new(
        found,
        limit,
        |one| one.number.to_string(),
        |one| one,
    )))
}
