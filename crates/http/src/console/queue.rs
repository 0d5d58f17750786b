//! The queue and its messages, and what can be done to them: first it is counted and shown, then done.

use super::fields::Fields;
use super::session::User;
use super::view::{View, octets};
use super::{Base, Failed, Page, asked, caller, pairs, query, said, shown, value};
use crate::api;
use crate::api::request::{JsonBody, Selection};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::router::Shared;
use askama::Template;
use axum::extract::{Path, Request, State};
use serde_json::{Map, Value, json};

/// What messages are chosen by.
const CRITERIA: [&str; 8] = [
    "state",
    "domain",
    "sender",
    "recipient",
    "account",
    "reason",
    "older_than",
    "newer_than",
];
/// Recipients' states, for the form.
const STATES: [&str; 6] = ["queued", "leased", "deferred", "held", "quarantined", "delivered"];
/// Requests of one change, each of which may last ten seconds.
const ROUNDS: usize = 2;

#[derive(Template)]
#[template(path = "queue.html")]
struct List {
    base: Base,
    criteria: Vec<(String, String)>,
    listing: Value,
    /// The query of the next page.
    next: Option<String>,
}

impl List {
    fn messages(&self) -> Vec<View<'_>> {
        View(&self.listing).list("messages")
    }

    fn value(&self, name: &str) -> &str {
        value(&self.criteria, name)
    }

    /// Recipients' states, and whether one is looked for.
    fn states(&self) -> Vec<(&'static str, bool)> {
        let wanted = self.value("state");
        STATES.iter().map(|state| (*state, *state == wanted)).collect()
    }
}

pub(super) async fn list(State(shared): State<Shared>, user: User, request: Request) -> Page {
    let base = Base::new(&shared, &user, "Queue");
    let asked_for = pairs(&request);
    let listing = match api::queue::list(State(shared), asked(&asked_for)).await {
        Ok(listing) => said(listing.0),
        Err(error) => return Err(Failed { base, error }),
    };
    let criteria: Vec<(String, String)> = asked_for
        .into_iter()
        .filter(|(name, _)| name != "after")
        .collect();
    let next = listing["next"].as_str().map(|next| {
        let mut pairs = criteria.clone();
        pairs.push(("after".to_owned(), next.to_owned()));
        query(&pairs)
    });
    Ok(shown(&List {
        base,
        criteria,
        listing,
        next,
    }))
}

#[derive(Template)]
#[template(path = "message.html")]
struct Message {
    base: Base,
    id: String,
    /// As it is in the queue; null when it is not there any more.
    queued: Value,
    /// As far as its history is known; null when it is not.
    history: Value,
}

impl Message {
    fn queued(&self) -> Option<View<'_>> {
        (!self.queued.is_null()).then_some(View(&self.queued))
    }

    fn history(&self) -> Option<View<'_>> {
        (!self.history.is_null()).then_some(View(&self.history))
    }

    /// What happened, in order.
    fn steps(&self) -> Vec<Step> {
        let steps = View(&self.history).list("steps").into_iter();
        let shown = |step: View<'_>| {
            let fields = step.0.as_object().into_iter().flatten();
            let fields = fields.filter(|(name, value)| {
                !["ts", "level", "event"].contains(&name.as_str())
                    && (name.as_str() != "id" || **value != self.id)
            });
            let fields = fields.map(|(name, value)| (name.clone(), View(value).own_text()));
            Step {
                time: step.time("ts"),
                event: step.text("event"),
                fields: fields.collect(),
            }
        };
        steps.map(shown).collect()
    }

    fn size(&self) -> String {
        octets(View(&self.queued).number("size"))
    }
}

/// A step of a message's history.
struct Step {
    time: String,
    event: String,
    /// Everything else that it has.
    fields: Vec<(String, String)>,
}

pub(super) async fn message(State(shared): State<Shared>, user: User, Path(id): Path<String>) -> Page {
    let base = Base::new(&shared, &user, "Message");
    let queued = api::queue::show(State(shared.clone()), Path(id.clone())).await;
    let history = api::history::show(State(shared), Path(id.clone())).await;
    let (queued, history) = match (queued, history) {
        (Err(error), Err(_)) => return Err(Failed { base, error }),
        (queued, history) => (
            queued.map(|one| said(one.0)).unwrap_or_default(),
            history.map(|one| said(one.0)).unwrap_or_default(),
        ),
    };
    Ok(shown(&Message {
        base,
        id: id.to_uppercase(),
        queued,
        history,
    }))
}

/// What is about to be done, or was.
#[derive(Template)]
#[template(path = "queue_act.html")]
struct Act {
    base: Base,
    action: String,
    touched: u64,
    done: bool,
    /// There was more to do than fits into a request.
    more: bool,
    /// What the form has to send again.
    hidden: Vec<(String, String)>,
    /// What bounced mail's senders are told.
    text: String,
}

pub(super) async fn act(State(shared): State<Shared>, user: User, request: Request) -> Page {
    let base = Base::new(&shared, &user, "Queue");
    match Act::make(&shared, &user, request, Base::new(&shared, &user, "Queue")).await {
        Ok(page) => Ok(shown(&page)),
        Err(error) => Err(Failed { base, error }),
    }
}

impl Act {
    async fn make(shared: &Shared, user: &User, request: Request, base: Base) -> Result<Act, ApiError> {
        let fields = Fields::checked(request, user).await?;
        let (action, done) = (
            fields.value("action").to_owned(),
            fields.value("confirmed") == "yes",
        );
        let mut selection = selection(&fields);
        if action == "bounce" && !fields.value("text").is_empty() {
            selection.insert("text".into(), fields.value("text").into());
        }
        selection.insert("dry_run".into(), (!done).into());
        let (mut touched, mut more) = (0, false);
        for _ in 0..ROUNDS {
            let answer = change(&action, shared, caller(user), &selection).await?;
            touched += answer["touched"].as_u64().unwrap_or(0);
            more = !answer["next"].is_null();
            if !more {
                break;
            }
            selection.insert("after".into(), answer["next"].clone());
        }
        let mut hidden: Vec<(String, String)> = fields
            .values("ids")
            .into_iter()
            .map(|id| ("ids".to_owned(), id))
            .collect();
        let others = CRITERIA
            .iter()
            .chain(&["meant"])
            .map(|name| ((*name).to_owned(), fields.value(name).to_owned()));
        hidden.extend(others.filter(|(_, value)| !value.is_empty()));
        Ok(Act {
            base,
            action,
            touched,
            done,
            more,
            hidden,
            text: fields.value("text").to_owned(),
        })
    }
}

/// The messages that a form means: those that are ticked, or with `meant` all that its criteria find.
fn selection(fields: &Fields) -> Map<String, Value> {
    if fields.value("meant") != "all" {
        let mut ids = Map::new();
        ids.insert("ids".into(), fields.values("ids").into());
        return ids;
    }
    let mut criteria = fields.json(&CRITERIA);
    if criteria.is_empty() {
        criteria.insert("all".into(), true.into());
    }
    criteria
}

async fn change(
    action: &str,
    shared: &Shared,
    caller: Caller,
    selection: &Map<String, Value>,
) -> Result<Value, ApiError> {
    if selection.get("ids").is_some_and(|ids| *ids == json!([])) {
        return Err(ApiError::bad_request("no message is ticked"));
    }
    let selection: Selection = serde_json::from_value(selection.clone().into())
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    let (state, body) = (State(shared.clone()), JsonBody(selection));
    let answer = match action {
        "retry" => api::queue::retry(state, caller, body).await?,
        "hold" => api::queue::hold(state, caller, body).await?,
        "release" => api::queue::release(state, caller, body).await?,
        "bounce" => api::queue::bounce(state, caller, body).await?,
        "delete" => api::queue::delete(state, caller, body).await?,
        _ => return Err(ApiError::bad_request("there is no such action")),
    };
    Ok(said(answer.0))
}
