//! The metrics, in OpenMetrics for scrapers that ask for it, else in Prometheus's older format.

use crate::error::ApiError;
use crate::router::Shared;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use smtp_observe::MetricsFormat;
use std::time::Duration;

/// Longest time that the rooms may take to give their figures.
const MAX_TIME: Duration = Duration::from_secs(5);

/// Answers a scrape.
pub(crate) async fn answer(shared: &Shared, request: &Parts) -> Response {
    if !request.method.is_safe() {
        return ApiError::new(405, "method_not_allowed", "metrics are read with GET").into_response();
    }
    let Ok(gauges) = tokio::time::timeout(MAX_TIME, shared.rooms.gauges()).await else {
        return ApiError::new(503, "timeout", "the queue's figures took over 5 seconds").into_response();
    };
    let format = wanted(request);
    let text = shared.observer.metrics_as(&gauges, format);
    ([(header::CONTENT_TYPE, format.content_type())], text).into_response()
}

fn wanted(request: &Parts) -> MetricsFormat {
    let accepts = |value: &axum::http::HeaderValue| {
        value
            .to_str()
            .is_ok_and(|value| value.contains("application/openmetrics-text"))
    };
    match request.headers.get_all(header::ACCEPT).iter().any(accepts) {
        true => MetricsFormat::OpenMetrics,
        false => MetricsFormat::Prometheus,
    }
}
