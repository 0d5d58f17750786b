//! Pages of listings: at most so many entries behind a name.

use crate::error::ApiError;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Entries on a page, unless asked for otherwise.
const DEFAULT_LIMIT: usize = 100;
/// Most entries on a page.
const MAX_LIMIT: usize = 1000;

/// The query of a listing.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Entries behind this one: the `next` of the page before.
    #[param(nullable = false)]
    after: Option<String>,
    /// At most this many; 100 unless said.
    #[param(nullable = false, minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// One page of a listing, in its order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    pub(super) entries: Vec<T>,
    /// The `after` of the next page; null on the last.
    pub(super) next: Option<String>,
}

/// A query as it came.
pub(crate) type Asked<T> = Result<Query<T>, QueryRejection>;

/// The query, or what is wrong with it.
pub(super) fn query<T>(asked: Asked<T>) -> Result<T, ApiError> {
    let Query(query) = asked.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    Ok(query)
}

/// How many entries are wanted.
pub(super) fn limit(limit: Option<usize>) -> Result<usize, ApiError> {
    match limit.unwrap_or(DEFAULT_LIMIT) {
        limit if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        _ => Err(ApiError::bad_request("limit must be from 1 to 1000")),
    }
}

impl PageQuery {
    /// Behind what, and how many.
    pub(super) fn parse(self) -> Result<(Option<String>, usize), ApiError> {
        let limit = limit(self.limit)?;
        Ok((self.after, limit))
    }
}

impl<T> Page<T> {
    /// Of what was found when `limit` were asked for: the page, whose next begins behind the last's name.
    pub(super) fn new<S>(
        found: Vec<S>,
        limit: usize,
        name: impl Fn(&S) -> String,
        show: impl Fn(S) -> T,
    ) -> Page<T> {
        Page {
            next: found.last().filter(|_| found.len() >= limit).map(name),
            entries: found.into_iter().map(show).collect(),
        }
    }
}
