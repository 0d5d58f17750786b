//! Pages that only show: sessions, settings, the trail, tokens.

use super::session::User;
use super::view::View;
use super::{Base, Failed, Page, asked, pairs, query, said, shown};
use crate::api;
use crate::error::ApiError;
use crate::router::Shared;
use askama::Template;
use axum::extract::{Request, State};
use serde_json::Value;

/// A table.
#[derive(Template)]
#[template(path = "list.html")]
struct List {
    base: Base,
    words: &'static str,
    tables: Vec<Table>,
    /// The query of the next page.
    next: Option<String>,
}

struct Table {
    caption: &'static str,
    /// Heading, and the field below it.
    columns: &'static [(&'static str, &'static str)],
    rows: Value,
}

impl Table {
    fn rows(&self) -> Vec<Vec<String>> {
        let rows = self.rows.as_array().into_iter().flatten();
        let cell = |row: &Value, field: &str| match field {
            _ if field.ends_with("at") || field == "since" || field == "created" || field == "expires" => {
                View(row).time(field)
            }
            _ => View(row).text(field),
        };
        rows.map(|row| self.columns.iter().map(|(_, field)| cell(row, field)).collect())
            .collect()
    }
}

fn page(base: Base, words: &'static str, found: Result<Vec<Table>, ApiError>, next: Option<String>) -> Page {
    match found {
        Ok(tables) => Ok(shown(&List {
            base,
            words,
            tables,
            next,
        })),
        Err(error) => Err(Failed { base, error }),
    }
}

/// The next page of a listing.
fn next_of(listing: &Value, name: &str) -> Option<String> {
    let next = View(listing).text("next");
    (!next.is_empty()).then(|| query(&[(name.to_owned(), next)]))
}

pub(super) async fn sessions(State(shared): State<Shared>, user: User, request: Request) -> Page {
    let base = Base::new(&shared, &user, "Sessions");
    let found = api::sessions::sessions(State(shared), asked(&pairs(&request))).await;
    let found = found.map(|found| said(found.0));
    let next = found.as_ref().ok().and_then(|found| next_of(found, "after"));
    let tables = found.map(|found| {
        vec![Table {
            caption: "SMTP sessions in progress",
            columns: &[
                ("Session", "number"),
                ("Since", "since"),
                ("Client", "peer"),
                ("Listener", "listener"),
                ("TLS", "tls"),
                ("Account", "account"),
                ("At", "state"),
                ("Messages", "messages"),
            ],
            rows: found["entries"].clone(),
        }]
    });
    page(base, "Oldest first.", tables, next)
}

pub(super) async fn config(State(shared): State<Shared>, user: User) -> Page {
    let base = Base::new(&shared, &user, "Configuration");
    let tables = vec![Table {
        caption: "Settings in force",
        columns: &[
            ("Setting", "key"),
            ("Value", "value"),
            ("From", "origin"),
            ("A change", "reload"),
        ],
        rows: said(api::server::config(State(shared)).await.0),
    }];
    let words = "Secrets are not shown. A change of a live setting is in force after a reload, of others after a restart.";
    page(base, words, Ok(tables), None)
}

pub(super) async fn audit(State(shared): State<Shared>, user: User, request: Request) -> Page {
    let base = Base::new(&shared, &user, "Audit");
    let found = api::trail::list(State(shared), asked(&pairs(&request))).await;
    let found = found.map(|found| said(found.0));
    let next = found.as_ref().ok().and_then(|found| next_of(found, "before"));
    let tables = found.map(|found| {
        vec![Table {
            caption: "Changes, newest first",
            columns: &[
                ("When", "at"),
                ("Who", "who"),
                ("From", "peer"),
                ("What", "action"),
                ("To what", "target"),
                ("How many", "touched"),
                ("Before", "before"),
                ("After", "after"),
            ],
            rows: found["entries"].clone(),
        }]
    });
    page(
        base,
        "Every change that was made through the API, the commands and this console.",
        tables,
        next,
    )
}

pub(super) async fn tokens(State(shared): State<Shared>, user: User, request: Request) -> Page {
    let base = Base::new(&shared, &user, "Tokens");
    let found = api::tokens::list(State(shared), asked(&pairs(&request))).await;
    let found = found.map(|found| said(found.0));
    let next = found.as_ref().ok().and_then(|found| next_of(found, "after"));
    let tables = found.map(|found| {
        vec![Table {
            caption: "Tokens for the API",
            columns: &[
                ("Token", "name"),
                ("Scope", "scope"),
                ("Made", "created"),
                ("By", "created_by"),
                ("Expires", "expires"),
                ("Declared", "declared"),
            ],
            rows: found["entries"].clone(),
        }]
    });
    page(base, "Made and revoked by the command token.", tables, next)
}
