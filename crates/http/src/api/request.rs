//! What clients ask of the queue, checked: a request that could mean more than its sender
//! thought is refused.

use crate::error::ApiError;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use smtp_queue::{Filter, QueueId, State};

/// Most ids in one request.
const MAX_IDS: usize = 1000;
/// Most octets of what senders are told.
const MAX_TEXT: usize = 500;
/// Messages on a page, unless asked for otherwise.
const DEFAULT_LIMIT: usize = 100;
/// Most messages on a page.
pub(super) const MAX_LIMIT: usize = 1000;

/// A request of the queue: criteria by which messages are chosen, and what else it has. (Flattening one structure into the
/// others would take unknown fields without a word.)
macro_rules! requests {
    ($( $(#[$meta:meta])* $name:ident { $( $(#[$field_meta:meta])* $field:ident: $type:ty ),* $(,)? } )+) => { $(
        $(#[$meta])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct $name {
            $( $(#[$field_meta])* $field: $type, )*
            state: Option<String>,
            domain: Option<String>,
            sender: Option<String>,
            recipient: Option<String>,
            account: Option<String>,
            reason: Option<String>,
            /// Seconds since it was received, at least.
            older_than: Option<u64>,
            /// Seconds since it was received, at most.
            newer_than: Option<u64>,
        }

        impl $name {
            /// What was given, by name: for the filter, and for people.
            fn criteria(&self) -> Criteria {
                let text = |text: &Option<String>| text.clone();
                let number = |number: Option<u64>| number.map(|number| number.to_string());
                Criteria(
                    [
                        ("domain", text(&self.domain)),
                        ("sender", text(&self.sender)),
                        ("recipient", text(&self.recipient)),
                        ("account", text(&self.account)),
                        ("state", text(&self.state)),
                        ("reason", text(&self.reason)),
                        ("older_than", number(self.older_than)),
                        ("newer_than", number(self.newer_than)),
                    ]
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?)))
                    .collect(),
                )
            }
        }
    )+ };
}

requests! {
    /// The query of `GET /api/v1/queue`.
    Page {
        after: Option<String>,
        limit: Option<usize>,
    }
    /// The body of a change: which messages it is about.
    Selection {
        ids: Vec<String>,
        all: bool,
        /// Only count.
        dry_run: bool,
        /// What senders are told of mail that is given up.
        text: Option<String>,
    }
}

impl Page {
    /// What to list, after which id, and how many.
    pub(super) fn parse(self) -> Result<(Filter, Option<QueueId>, usize), ApiError> {
        let after = self.after.as_deref().map(parse_id).transpose()?;
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(ApiError::bad_request("limit must be from 1 to 1000"));
        }
        Ok((self.criteria().filter(&[])?, after, limit))
    }
}

impl Selection {
    pub(super) fn dry_run(&self) -> bool {
        self.dry_run
    }

    /// What senders are told; only `bounce` tells them anything.
    pub(super) fn take_text(&mut self) -> Result<Option<String>, ApiError> {
        let text = self.text.take();
        let fits = |text: &str| text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
        match &text {
            Some(text) if !fits(text) => {
                Err(ApiError::bad_request("text has at most 500 octets, on one line"))
            }
            _ => Ok(text),
        }
    }

    /// The filter, and the words for it in the audit's line. An empty filter needs `all`, and
    /// `all` needs an empty filter.
    pub(super) fn parse(self) -> Result<(Filter, String), ApiError> {
        if self.text.is_some() {
            return Err(ApiError::bad_request("only a bounce has a text"));
        }
        if self.ids.len() > MAX_IDS {
            return Err(ApiError::bad_request("at most 1000 ids in one request"));
        }
        let criteria = self.criteria();
        let given = !self.ids.is_empty() || !criteria.0.is_empty();
        if !given && !self.all {
            let message = "name ids, domain, sender, recipient, account, state, reason or an age, or say \"all\": true to mean every message";
            return Err(ApiError::bad_request(message));
        }
        if given && self.all {
            return Err(ApiError::bad_request(
                "\"all\": true and a filter contradict each other",
            ));
        }
        let words = if given {
            criteria.words(&self.ids)
        } else {
            "all".to_owned()
        };
        Ok((criteria.filter(&self.ids)?, words))
    }
}

/// Criteria that were given, by name.
struct Criteria(Vec<(&'static str, String)>);

impl Criteria {
    fn words(&self, ids: &[String]) -> String {
        let ids = (!ids.is_empty()).then(|| format!("ids={}", ids.join(",")));
        let others = self.0.iter().map(|(name, value)| format!("{name}={value}"));
        ids.into_iter().chain(others).collect::<Vec<_>>().join(" ")
    }

    fn filter(self, ids: &[String]) -> Result<Filter, ApiError> {
        let now = Timestamp::now();
        let ago = |seconds: &str| {
            let seconds = seconds.parse().unwrap_or(i64::MAX);
            now.saturating_sub(SignedDuration::from_secs(seconds))
                .unwrap_or(Timestamp::MIN)
        };
        let mut filter = Filter {
            ids: ids.iter().map(|id| parse_id(id)).collect::<Result<_, _>>()?,
            ..Filter::default()
        };
        for (name, value) in self.0 {
            if value.is_empty() && name != "sender" {
                return Err(ApiError::bad_request(format!("{name} is empty")));
            }
            match name {
                "domain" => filter.domain = Some(value.to_lowercase()),
                "sender" if value == "<>" => filter.sender = Some(String::new()),
                "sender" => filter.sender = Some(value),
                "recipient" => filter.recipient = Some(value),
                "account" => filter.account = Some(value),
                "state" => filter.state = Some(parse_state(&value)?),
                "reason" => filter.reason = Some(value),
                "older_than" => filter.received_before = Some(ago(&value)),
                _ => filter.received_after = Some(ago(&value)),
            }
        }
        Ok(filter)
    }
}

/// A queue id from a path, a query or a body.
pub(super) fn parse_id(text: &str) -> Result<QueueId, ApiError> {
    QueueId::parse(text)
        .ok_or_else(|| ApiError::bad_request("a queue id has 26 characters, like 01JD8Z5F4N…"))
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
