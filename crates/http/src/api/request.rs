//! What clients ask of the queue, checked: a request that could mean more than its sender
//! thought is refused.

use super::paging::limit;
use super::words::StateName;
use crate::error::ApiError;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use smtp_queue::{Filter, QueueId, ShapeBy};
use utoipa::{IntoParams, ToSchema};

/// Most ids in one request.
const MAX_IDS: usize = 1000;
/// Most octets of what senders are told.
const MAX_TEXT: usize = 500;

/// A request of the queue: criteria by which messages are chosen, and what else it has. (Flattening one structure into the
/// others would take unknown fields without a word.)
macro_rules! requests {
    ($( $(#[$meta:meta])* $name:ident ($attribute:ident $(, $nullable:meta)?) { $( $(#[$field_meta:meta])* $field:ident: $type:ty ),* $(,)? } )+) => { $(
        $(#[$meta])*
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct $name {
            $( $(#[$field_meta])* $field: $type, )*
            /// With a recipient in this state.
            #[$attribute(inline $(, $nullable)?)]
            state: Option<StateName>,
            /// With a recipient of this domain.
            #[$attribute($($nullable)?)]
            domain: Option<String>,
            /// From this sender; `<>` is the null sender, `@example.com` every sender of a domain.
            #[$attribute($($nullable)?)]
            sender: Option<String>,
            /// With this recipient.
            #[$attribute($($nullable)?)]
            recipient: Option<String>,
            /// Sent by this account.
            #[$attribute($($nullable)?)]
            account: Option<String>,
            /// With a recipient whose last result has this text in it.
            #[$attribute($($nullable)?)]
            reason: Option<String>,
            /// Received so many seconds ago, at least.
            #[$attribute($($nullable)?)]
            older_than: Option<u64>,
            /// Received so many seconds ago, at most.
            #[$attribute($($nullable)?)]
            newer_than: Option<u64>,
        }

        impl $name {
            /// What was given, by name: for the filter, and for people.
            fn criteria(&self) -> Criteria {
                let text = |text: &Option<String>| text.clone();
                let number = |number: Option<u64>| number.map(|number| number.to_string());
                Criteria {
                    state: self.state,
                    others: [
                        ("domain", text(&self.domain)),
                        ("sender", text(&self.sender)),
                        ("recipient", text(&self.recipient)),
                        ("account", text(&self.account)),
                        ("reason", text(&self.reason)),
                        ("older_than", number(self.older_than)),
                        ("newer_than", number(self.newer_than)),
                    ]
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?)))
                    .collect(),
                }
            }
        }
    )+ };
}

requests! {
    /// The query of a listing of messages.
    #[derive(Debug, Default, Deserialize, IntoParams)]
    #[into_params(parameter_in = Query)]
    ListQuery (param, nullable = false) {
        /// Messages with ids above this one: the `next` of the page before.
        #[param(nullable = false)]
        after: Option<String>,
        /// At most this many; 100 unless said.
        #[param(nullable = false, minimum = 1, maximum = 1000)]
        limit: Option<usize>,
    }
    /// The query of the queue's shape.
    #[derive(Debug, Default, Deserialize, IntoParams)]
    #[into_params(parameter_in = Query)]
    ShapeQuery (param, nullable = false) {
        /// Whose domains: `recipient` (unless said) or `sender`.
        #[param(nullable = false, inline)]
        by: Option<By>,
        /// At most this many domains; 100 unless said.
        #[param(nullable = false, minimum = 1, maximum = 1000)]
        limit: Option<usize>,
    }
    /// Which messages a change is about. What is given must all apply; nothing given is refused.
    #[derive(Debug, Default, Deserialize, ToSchema)]
    Selection (schema) {
        /// These queue ids.
        #[schema(max_items = 1000)]
        ids: Vec<String>,
        /// Every message; with nothing else.
        all: bool,
        /// Only count them.
        dry_run: bool,
        /// The `next` of the answer before: go on from there.
        after: Option<String>,
        /// What senders are told of mail that is given up: one line. Only of a bounce.
        #[schema(max_length = 500)]
        text: Option<String>,
    }
}

/// Whose domains a shape is by.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum By {
    #[default]
    Recipient,
    Sender,
}

impl ListQuery {
    /// What to list, after which id, and how many.
    pub(super) fn parse(self, now: Timestamp) -> Result<(Filter, Option<QueueId>, usize), ApiError> {
        let after = self.after.as_deref().map(parse_id).transpose()?;
        Ok((self.criteria().filter(&[], now)?, after, limit(self.limit)?))
    }
}

impl ShapeQuery {
    /// What to count, by what, and how many domains to show.
    pub(super) fn parse(self, now: Timestamp) -> Result<(Filter, ShapeBy, usize), ApiError> {
        let by = match self.by.unwrap_or_default() {
            By::Recipient => ShapeBy::Recipient,
            By::Sender => ShapeBy::Sender,
        };
        Ok((self.criteria().filter(&[], now)?, by, limit(self.limit)?))
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
    pub(super) fn parse(self, now: Timestamp) -> Result<(Filter, String), ApiError> {
        if self.text.is_some() {
            return Err(ApiError::bad_request("only a bounce has a text"));
        }
        if self.ids.len() > MAX_IDS {
            return Err(ApiError::bad_request("at most 1000 ids in one request"));
        }
        let criteria = self.criteria();
        let given = !self.ids.is_empty() || !criteria.is_empty();
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
        let mut filter = criteria.filter(&self.ids, now)?;
        let after = self.after.as_deref().map(str::parse);
        let wrong = |_| ApiError::bad_request("after is the next of an answer before");
        filter.behind = after.transpose().map_err(wrong)?;
        Ok((filter, words))
    }
}

/// Criteria that were given, by name.
struct Criteria {
    state: Option<StateName>,
    others: Vec<(&'static str, String)>,
}

impl Criteria {
    fn is_empty(&self) -> bool {
        self.state.is_none() && self.others.is_empty()
    }

    fn words(&self, ids: &[String]) -> String {
        let ids = (!ids.is_empty()).then(|| format!("ids={}", ids.join(",")));
        let others = self.others.iter().map(|(name, value)| format!("{name}={value}"));
        let state = self.state.map(|state| format!("state={}", state.0.name()));
        ids.into_iter()
            .chain(others)
            .chain(state)
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn filter(self, ids: &[String], now: Timestamp) -> Result<Filter, ApiError> {
        let ago = |name: &str, seconds: &str| ago(name, seconds.parse().unwrap_or(u64::MAX), now);
        let mut filter = Filter {
            ids: ids.iter().map(|id| parse_id(id)).collect::<Result<_, _>>()?,
            state: self.state.map(|state| state.0),
            ..Filter::default()
        };
        for (name, value) in self.others {
            if value.is_empty() && name != "sender" {
                return Err(ApiError::bad_request(format!("{name} is empty")));
            }
            match name {
                "domain" => filter.domain = Some(value.to_lowercase()),
                "sender" if value == "<>" => filter.sender = Some(String::new()),
                "sender" => filter.sender = Some(value),
                "recipient" => filter.recipient = Some(value),
                "account" => filter.account = Some(value),
                "reason" => filter.reason = Some(value),
                "older_than" => filter.received_before = Some(ago(name, &value)?),
                _ => filter.received_after = Some(ago(name, &value)?),
            }
        }
        Ok(filter)
    }
}

/// The time so many seconds before now.
pub(super) fn ago(name: &str, seconds: u64, now: Timestamp) -> Result<Timestamp, ApiError> {
    let wrong = |_| ApiError::bad_request(format!("{name} is at most {} seconds", i64::MAX));
    let ago = SignedDuration::from_secs(seconds.try_into().map_err(wrong)?);
    Ok(now.saturating_sub(ago).unwrap_or(Timestamp::MIN))
}

/// A queue id from a path, a query or a body.
pub(super) fn parse_id(text: &str) -> Result<QueueId, ApiError> {
    QueueId::parse(text)
        .ok_or_else(|| ApiError::bad_request("a queue id has 26 characters, like 01JD8Z5F4N…"))
}

/// Nothing that could be said.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// A body of JSON, whose errors are the API's. None is an empty object.
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
        let value = match bytes.is_empty() {
            true => serde_json::from_slice(b"{}"),
            false => serde_json::from_slice(&bytes),
        };
        value
            .map(JsonBody)
            .map_err(|error| ApiError::bad_request(format!("the body is not as documented: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smtp_queue::State;

    fn parse(body: &str) -> Result<(Filter, String), ApiError> {
        serde_json::from_str::<Selection>(body)
            .unwrap()
            .parse(Timestamp::now())
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
        assert!(serde_json::from_str::<Selection>(r#"{"state":"lost"}"#).is_err());
        assert_eq!(parse(r#"{"all":true,"after":"7"}"#).unwrap().0.behind, Some(7));
        assert!(parse(r#"{"all":true,"after":"x"}"#).is_err());
        assert!(parse(r#"{"domain":""}"#).is_err());
    }
}
