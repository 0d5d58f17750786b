//! Errors of the API: `{"error":{"code":…,"message":…}}`, with a status that fits.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use smtp_queue::StoreError;
use std::borrow::Cow;
use utoipa::ToSchema;

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: u16,
    code: &'static str,
    message: Cow<'static, str>,
}

/// The body of an error.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorBody {
    error: Why,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
struct Why {
    /// For programs.
    code: &'static str,
    /// For people.
    message: Cow<'static, str>,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        ApiError {
            status,
            code,
            message: message.into(),
        }
    }
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
    /// For people.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
    /// 400: the request makes no sense.
    pub(crate) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "bad_request", message)
    }
    /// 404.
    pub(crate) fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(404, "not_found", message)
    }
    /// 422: understood, and wrong.
    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(422, "invalid", message)
    }
    /// 503: the store is not open yet.
    pub(crate) fn starting() -> Self {
        let message = "the store is still being opened and recovered; try again soon";
        Self::new(503, "starting", message)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let (status, code) = match error {
            StoreError::Full(_) => (507, "storage_full"),
            StoreError::Unavailable(_) | StoreError::Closed => (503, "storage_unavailable"),
            StoreError::Damaged(_) | StoreError::Unsuitable(_) => (500, "storage_damaged"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let error = Why {
            code: self.code,
            message: self.message,
        };
        (status, Json(ErrorBody { error })).into_response()
    }
}
