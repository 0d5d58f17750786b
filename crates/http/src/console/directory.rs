//! Who is who: domains, accounts, aliases and keys, looked at and changed. What the configuration declares is shown and not changed.

use super::fields::Fields;
use super::session::User;
use super::view::View;
use super::{Base, Failed, Page, asked, caller, pairs, query, said, shown, value};
use crate::api::directory::{accounts, aliases, dkim, domains};
use crate::api::request::JsonBody;
use crate::error::ApiError;
use crate::router::Shared;
use askama::Template;
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Most entries of a kind on the page.
const MOST: &str = "1000";

#[derive(Template)]
#[template(path = "directory.html")]
struct Directory {
    base: Base,
    domains: Value,
    accounts: Value,
    aliases: Value,
    keys: Value,
}

impl Directory {
    async fn look(base: Base, shared: &Shared) -> Result<Directory, ApiError> {
        let state = || State(shared.clone());
        let most = [("limit".to_owned(), MOST.to_owned())];
        Ok(Directory {
            base,
            domains: said(domains::list(state(), asked(&most)).await?.0),
            accounts: said(accounts::list(state(), asked(&most)).await?.0),
            aliases: said(aliases::list(state(), asked(&most)).await?.0),
            keys: said(dkim::list(state(), asked(&most)).await?.0),
        })
    }

    fn entries<'v>(&self, listing: &'v Value) -> Vec<View<'v>> {
        View(listing).list("entries")
    }

    /// The query of an entry's own page.
    fn link(&self, what: &str, one: &View<'_>) -> String {
        match what {
            "key" => of_entry(what, &one.text("domain"), &one.text("selector")),
            _ => of_entry(what, &one.text("name"), ""),
        }
    }

    /// Whether there are more than the page shows.
    fn is_cut(&self) -> bool {
        let all = [&self.domains, &self.accounts, &self.aliases, &self.keys];
        all.iter().any(|listing| !listing["next"].is_null())
    }
}

/// What names an entry, as a query.
fn of_entry(what: &str, name: &str, selector: &str) -> String {
    let pairs = [("what", what), ("name", name), ("selector", selector)];
    let given = pairs.iter().filter(|(_, value)| !value.is_empty());
    let given: Vec<_> = given
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    query(&given)
}

pub(super) async fn page(State(shared): State<Shared>, user: User) -> Page {
    let base = || Base::new(&shared, &user, "Directory");
    match Directory::look(base(), &shared).await {
        Ok(directory) => Ok(shown(&directory)),
        Err(error) => Err(Failed { base: base(), error }),
    }
}

/// One of them, with all that can be changed of it.
#[derive(Template)]
#[template(path = "directory_entry.html")]
struct Entry {
    base: Base,
    what: String,
    name: String,
    selector: String,
    entry: Value,
}

impl Entry {
    fn entry(&self) -> View<'_> {
        View(&self.entry)
    }

    /// The members of a list, a line each.
    fn lines(&self, key: &str) -> String {
        let members = self.entry().list(key);
        let lines: Vec<String> = members.iter().map(View::own_text).collect();
        lines.join("\n")
    }
}

pub(super) async fn entry(State(shared): State<Shared>, user: User, request: Request) -> Page {
    let base = Base::new(&shared, &user, "Directory");
    let pairs = pairs(&request);
    let text = |name: &str| value(&pairs, name).to_owned();
    let (what, name, selector) = (text("what"), text("name"), text("selector"));
    match find(&shared, &what, &name, &selector).await {
        Ok(entry) => Ok(shown(&Entry {
            base,
            what,
            name,
            selector,
            entry,
        })),
        Err(error) => Err(Failed { base, error }),
    }
}

async fn find(shared: &Shared, what: &str, name: &str, selector: &str) -> Result<Value, ApiError> {
    let (state, path) = (State(shared.clone()), Path(name.to_owned()));
    Ok(match what {
        "domain" => said(domains::show(state, path).await?.0),
        "account" => said(accounts::show(state, path).await?.0),
        "alias" => said(aliases::show(state, path).await?.0),
        "key" => {
            let asked = JsonBody(read(json!({"domain": name}))?);
            let checked = said(dkim::check(state, asked).await?.0);
            let keys = View(&checked).list("keys").into_iter();
            let mut same = keys.filter(|key| key.text("selector") == selector);
            let missing = || ApiError::not_found(format!("{name} has no key {selector}"));
            same.next().ok_or_else(missing)?.0.clone()
        }
        _ => return Err(ApiError::not_found("there is no such page")),
    })
}

/// What was made, and is shown this once.
#[derive(Template)]
#[template(path = "directory_made.html")]
struct Made {
    base: Base,
    answer: Value,
}

impl Made {
    fn answer(&self) -> View<'_> {
        View(&self.answer)
    }
}

/// Makes, changes or removes.
pub(super) async fn act(State(shared): State<Shared>, user: User, request: Request) -> Page {
    let base = Base::new(&shared, &user, "Directory");
    let acted = async {
        let fields = Fields::checked(request, &user).await?;
        let answer = change(&shared, &user, &fields).await?;
        Ok((fields, answer))
    };
    let (fields, answer) = match acted.await {
        Ok(both) => both,
        Err(error) => return Err(Failed { base, error }),
    };
    if answer.get("secret").is_some() || answer.get("keys").is_some() {
        return Ok(shown(&Made { base, answer }));
    }
    let stays = ["set", "remove-app"].contains(&fields.value("action"));
    let place = match stays {
        true => format!(
            "/ui/directory/entry?{}",
            of_entry(fields.value("what"), fields.value("name"), "")
        ),
        false => "/ui/directory".to_owned(),
    };
    Ok(Redirect::to(&place).into_response())
}

async fn change(shared: &Shared, user: &User, fields: &Fields) -> Result<Value, ApiError> {
    let (state, who) = (State(shared.clone()), caller(user));
    let name = fields.value("name").to_owned();
    let path = Path(name.clone());
    let of = |texts: &[&str], lists: &[&str]| given(fields, texts, lists);
    match (fields.value("what"), fields.value("action")) {
        ("domain", "add") => {
            let new = of(&["name", "deliver", "recipients"], &[]);
            answer(domains::add(state, who, body(new)?).await)
        }
        ("domain", "set") => {
            answer(domains::set(state, who, path, body(of(&["deliver", "recipients"], &[]))?).await)
        }
        ("domain", "remove") => {
            let force = [("force".to_owned(), (fields.value("force") == "yes").to_string())];
            answer(domains::remove(state, who, path, asked(&force)).await)
        }
        ("account", "add") => {
            let mut new = of(&["name", "password"], &["senders", "quota"]);
            new.insert("app".into(), (fields.value("login") == "secret").into());
            answer(accounts::add(state, who, body(new)?).await)
        }
        ("account", "set") => answer(accounts::set(state, who, path, body(account_change(fields)?)?).await),
        ("account", "remove") => answer(accounts::remove(state, who, path).await),
        ("account", "add-app") => {
            answer(accounts::add_app(state, who, path, body(of(&["label"], &[]))?).await)
        }
        ("account", "remove-app") => {
            let path = Path((name, fields.value("label").to_owned()));
            answer(accounts::remove_app(state, who, path).await)
        }
        ("alias", "add") => answer(aliases::add(state, who, body(of(&["name"], &["to"]))?).await),
        ("alias", "set") => answer(aliases::set(state, who, path, body(of(&[], &["to"]))?).await),
        ("alias", "remove") => answer(aliases::remove(state, who, path).await),
        ("key", "add") => answer(dkim::add(state, who, body(of(&["domain", "algorithm"], &[]))?).await),
        ("key", "rotate") => {
            let overlap = fields.value("overlap").parse::<u64>();
            let overlap = overlap.map_err(|_| ApiError::bad_request("the overlap is a number of seconds"))?;
            answer(dkim::rotate(state, who, body_of(json!({"domain": name, "overlap": overlap}))?).await)
        }
        ("key", "remove") => {
            let path = Path((name, fields.value("selector").to_owned()));
            answer(dkim::remove(state, who, path).await)
        }
        _ => Err(ApiError::bad_request("there is no such action")),
    }
}

/// One thing of an account at a time: which the form names.
fn account_change(fields: &Fields) -> Result<Map<String, Value>, ApiError> {
    let changed = match fields.value("change") {
        "enabled" => json!({"enabled": fields.value("enabled") == "yes"}),
        "password" => json!({"password": fields.value("password")}),
        list @ ("senders" | "identities" | "quota") => json!({list: fields.lines(list)}),
        _ => return Err(ApiError::bad_request("there is no such change")),
    };
    Ok(changed.as_object().cloned().unwrap_or_default())
}

/// What a form has of these texts, and all of these lists.
fn given(fields: &Fields, texts: &[&str], lists: &[&str]) -> Map<String, Value> {
    let mut given = fields.json(texts);
    given.extend(
        lists
            .iter()
            .map(|name| ((*name).to_owned(), fields.lines(name).into())),
    );
    given
}

fn body<T: DeserializeOwned>(given: Map<String, Value>) -> Result<JsonBody<T>, ApiError> {
    body_of(given.into())
}

fn body_of<T: DeserializeOwned>(given: Value) -> Result<JsonBody<T>, ApiError> {
    read(given).map(JsonBody)
}

fn read<T: DeserializeOwned>(given: Value) -> Result<T, ApiError> {
    serde_json::from_value(given).map_err(|error| ApiError::bad_request(error.to_string()))
}

fn answer(result: Result<Json<impl Serialize>, ApiError>) -> Result<Value, ApiError> {
    result.map(|answer| said(answer.0))
}
