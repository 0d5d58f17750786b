//! What clients ask of the queue, checked: a request that could mean more than its sender
//! thought is refused.

use crate::error::ApiError;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use smtp_queue::{Filter, QueueId, State};

/// Most ids in one request.
const MAX_IDS: usize = 1000;
/// Messages on a page, unless asked for otherwise.
const DEFAULT_LIMIT: usize = 100;
/// Most messages on a page.
pub(super) const MAX_LIMIT: usize = 1000;

/// The query of `GET /api/v1/queue`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    after: Option<String>,
    limit: Option<usize>,
    state: Option<String>,
    domain: Option<String>,
    sender: Option<String>,
}

impl Page {
    /// What to list, after which id, and how many.
    pub(super) fn parse(self) -> Result<(Filter, Option<QueueId>, usize), ApiError> {
        let after = self.after.as_deref().map(parse_id).transpose()?;
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(ApiError::bad_request("limit must be from 1 to 1000"));
        }
        Ok((filter(&[], self.domain, self.sender, self.state)?, after, limit))
    }
}

/// The body of a change: which messages it is about.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Selection {
    ids: Vec<String>,
    domain: Option<String>,
    sender: Option<String>,
    state: Option<String>,
    all: bool,
    /// Only count.
    pub(super) dry_run: bool,
}

impl Selection {
    /// The filter, and the words for it in the audit's line. An empty filter needs `all`, and
    /// `all` needs an empty filter.
    pub(super) fn parse(self) -> Result<(Filter, String), ApiError> {
        if self.ids.len() > MAX_IDS {
            return Err(ApiError::bad_request("at most 1000 ids in one request"));
        }
        let words = self.words();
        if words.is_empty() && !self.all {
            let message = "name ids, domain, sender or state, or say \"all\": true to mean every message";
            return Err(ApiError::bad_request(message));
        }
        if !words.is_empty() && self.all {
            return Err(ApiError::bad_request(
                "\"all\": true and a filter contradict each other",
            ));
        }
        let words = if words.is_empty() {
            "all".to_owned()
        } else {
            words.join(" ")
        };
        Ok((filter(&self.ids, self.domain, self.sender, self.state)?, words))
    }

    fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if !self.ids.is_empty() {
            words.push(format!("ids={}", self.ids.join(",")));
        }
        for (name, value) in [
            ("domain", &self.domain),
            ("sender", &self.sender),
            ("state", &self.state),
        ] {
            if let Some(value) = value {
                words.push(format!("{name}={value}"));
            }
        }
        words
    }
}

fn filter(
    ids: &[String],
    domain: Option<String>,
    sender: Option<String>,
    state: Option<String>,
) -> Result<Filter, ApiError> {
    Ok(Filter {
        ids: ids.iter().map(|id| parse_id(id)).collect::<Result<_, _>>()?,
        domain: domain.map(|domain| parse_domain(&domain)).transpose()?,
        sender: sender.map(|sender| if sender == "<>" { String::new() } else { sender }),
        state: state.map(|state| parse_state(&state)).transpose()?,
    })
}

/// A queue id from a path, a query or a body.
pub(super) fn parse_id(text: &str) -> Result<QueueId, ApiError> {
    QueueId::parse(text)
        .ok_or_else(|| ApiError::bad_request("a queue id has 26 characters, like 01JD8Z5F4N…"))
}

fn parse_domain(text: &str) -> Result<String, ApiError> {
    match text.is_empty() {
        true => Err(ApiError::bad_request("domain is empty")),
        false => Ok(text.to_lowercase()),
    }
}

fn parse_state(text: &str) -> Result<State, ApiError> {
    State::ALL
        .into_iter()
        .find(|state| state.name() == text)
        .ok_or_else(|| {
            let names = State::ALL.map(State::name).join(", ");
            ApiError::bad_request(format!("state must be one of {names}"))
        })
}

/// A body of JSON, whose errors are the API's.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes =
            Bytes::from_request(request, state)
                .await
                .map_err(|rejection| match rejection.status() {
                    status if status == 413 => ApiError::new(413, "too_large", "the body is over 64 KiB"),
                    _ => ApiError::bad_request("the body did not arrive whole"),
                })?;
        let value = serde_json::from_slice(&bytes);
        value
            .map(JsonBody)
            .map_err(|error| ApiError::bad_request(format!("the body is not as documented: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<(Filter, String), ApiError> {
        serde_json::from_str::<Selection>(body).unwrap().parse()
    }

    #[test]
    fn everything_has_to_be_meant() {
        assert!(parse("{}").is_err());
        assert!(parse(r#"{"ids":[]}"#).is_err());
        assert!(parse(r#"{"all":true,"domain":"example.com"}"#).is_err());
        let (filter, words) = parse(r#"{"all":true}"#).unwrap();
        assert!(filter.ids.is_empty() && filter.domain.is_none() && filter.state.is_none());
        assert_eq!(words, "all");
        assert!(serde_json::from_str::<Selection>(r#"{"domian":"example.com"}"#).is_err());
    }

    #[test]
    fn filters_are_normalised() {
        let (filter, words) = parse(r#"{"domain":"Example.COM","sender":"<>","state":"deferred"}"#).unwrap();
        assert_eq!(filter.domain.as_deref(), Some("example.com"));
        assert_eq!(filter.sender.as_deref(), Some(""));
        assert_eq!(filter.state, Some(State::Deferred));
        assert_eq!(words, "domain=Example.COM sender=<> state=deferred");
        assert!(parse(r#"{"state":"lost"}"#).is_err());
        assert!(parse(r#"{"domain":""}"#).is_err());
    }
}
