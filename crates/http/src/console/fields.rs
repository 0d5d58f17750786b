//! What a form sent.

use super::session::User;
use crate::auth::same;
use crate::error::ApiError;
use axum::body::to_bytes;
use axum::extract::Request;
use serde_json::{Map, Value};

/// Most octets of a form.
const LONGEST: usize = 64 << 10;

/// Names and values, in order.
#[derive(Debug)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Whatever was sent.
    pub(super) async fn read(request: Request) -> Result<Fields, ApiError> {
        let body = to_bytes(request.into_body(), LONGEST).await;
        let body = body.map_err(|_| ApiError::new(413, "too_large", "the form is over 64 KiB"))?;
        Ok(Fields(form_urlencoded::parse(&body).into_owned().collect()))
    }

    /// What a page of this session sent.
    pub(super) async fn checked(request: Request, user: &User) -> Result<Fields, ApiError> {
        let fields = Fields::read(request).await?;
        match same(fields.value("csrf").as_bytes(), user.csrf.as_bytes()) {
            true => Ok(fields),
            false => Err(ApiError::new(
                403,
                "csrf",
                "this form is not of your session; open the page again",
            )),
        }
    }

    /// The first value of a name; empty when there is none.
    pub(super) fn value(&self, name: &str) -> &str {
        super::value(&self.0, name)
    }

    /// All values of a name.
    pub(super) fn values(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(key, _)| key == name);
        values.map(|(_, value)| value.clone()).collect()
    }

    /// The lines of a value, empty ones left out.
    pub(super) fn lines(&self, name: &str) -> Vec<String> {
        let lines = self.value(name).lines().map(str::trim);
        lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Those of these names that were filled in, as the API wants them: numbers where they are meant.
    pub(super) fn json(&self, names: &[&str]) -> Map<String, Value> {
        let given = names.iter().map(|name| (*name, self.value(name)));
        let given = given.filter(|(_, value)| !value.is_empty());
        let typed = |name: &str, value: &str| match value.parse::<u64>() {
            Ok(number) if name.ends_with("_than") || name.ends_with("_in") => Value::from(number),
            _ => Value::from(value),
        };
        given
            .map(|(name, value)| (name.to_owned(), typed(name, value)))
            .collect()
    }
}
