//! Next hops, and mail that is kept waiting.

use super::fields::Fields;
use super::session::User;
use super::view::View;
use super::{Base, Failed, Page, asked, caller, pairs, query, said, shown};
use crate::api;
use crate::api::request::{JsonBody, Nothing};
use crate::error::ApiError;
use crate::router::Shared;
use askama::Template;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Redirect};
use serde_json::Value;

#[derive(Template)]
#[template(path = "destinations.html")]
struct Destinations {
    base: Base,
    destinations: Value,
    next: Option<String>,
    suspensions: Value,
    webhooks: Value,
}

impl Destinations {
    fn webhooks(&self) -> Vec<View<'_>> {
        View(&self.webhooks).list("entries")
    }

    fn destinations(&self) -> Vec<View<'_>> {
        View(&self.destinations).list("entries")
    }

    fn suspensions(&self) -> Vec<View<'_>> {
        View(&self.suspensions).list("entries")
    }
}

pub(super) async fn page(State(shared): State<Shared>, user: User, request: Request) -> Page {
    let base = Base::new(&shared, &user, "Destinations");
    let after = pairs(&request);
    let look = async {
        let destinations = api::destinations::destinations(State(shared.clone()), asked(&after)).await?;
        let suspensions = api::suspensions::list(State(shared.clone())).await?;
        let webhooks = api::webhooks::list(State(shared.clone()), asked(&[])).await?;
        Ok((said(destinations.0), said(suspensions.0), said(webhooks.0)))
    };
    let (destinations, suspensions, webhooks) = match look.await {
        Ok(all) => all,
        Err(error) => return Err(Failed { base, error }),
    };
    let next = destinations["next"].as_str();
    Ok(shown(&Destinations {
        next: next.map(|next| query(&[("after".to_owned(), next.to_owned())])),
        base,
        destinations,
        suspensions,
        webhooks,
    }))
}

/// Suspends, resumes, or makes a webhook's calls now.
pub(super) async fn act(State(shared): State<Shared>, user: User, request: Request) -> Page {
    let base = Base::new(&shared, &user, "Destinations");
    match make(&shared, &user, request).await {
        Ok(()) => Ok(Redirect::to("/ui/destinations").into_response()),
        Err(error) => Err(Failed { base, error }),
    }
}

async fn make(shared: &Shared, user: &User, request: Request) -> Result<(), ApiError> {
    let fields = Fields::checked(request, user).await?;
    let (state, caller) = (State(shared.clone()), caller(user));
    if fields.value("action") == "resume" {
        let whose = (fields.value("kind").to_owned(), fields.value("name").to_owned());
        let _ = api::suspensions::resume(state, caller, Path(whose), asked(&[])).await?;
        return Ok(());
    }
    if fields.value("action") == "retry-webhook" {
        let name = Path(fields.value("name").to_owned());
        let _ = api::webhooks::retry(state, caller, name, JsonBody(Nothing {})).await?;
        return Ok(());
    }
    let wanted = fields.json(&["kind", "name", "reason", "expires_in"]);
    let wanted =
        serde_json::from_value(wanted.into()).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let _ = api::suspensions::suspend(state, caller, JsonBody(wanted)).await?;
    Ok(())
}
