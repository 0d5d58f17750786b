//! Messages that were, searched.

use super::session::User;
use super::view::View;
use super::{Base, Failed, Page, asked, pairs, query, said, shown, value};
use crate::api;
use crate::router::Shared;
use askama::Template;
use axum::extract::{Request, State};
use serde_json::Value;

#[derive(Template)]
#[template(path = "history.html")]
struct List {
    base: Base,
    criteria: Vec<(String, String)>,
    found: Value,
    next: Option<String>,
}

impl List {
    fn entries(&self) -> Vec<View<'_>> {
        View(&self.found).list("entries")
    }

    fn value(&self, name: &str) -> &str {
        value(&self.criteria, name)
    }
}

pub(super) async fn list(State(shared): State<Shared>, user: User, request: Request) -> Page {
    let base = Base::new(&shared, &user, "History");
    let asked_for = pairs(&request);
    let found = match api::history::list(State(shared), asked(&asked_for)).await {
        Ok(found) => said(found.0),
        Err(error) => return Err(Failed { base, error }),
    };
    let criteria: Vec<(String, String)> = asked_for
        .into_iter()
        .filter(|(name, _)| name != "before")
        .collect();
    let next = found["next"].as_str().map(|next| {
        let mut pairs = criteria.clone();
        pairs.push(("before".to_owned(), next.to_owned()));
        query(&pairs)
    });
    Ok(shown(&List {
        base,
        criteria,
        found,
        next,
    }))
}
