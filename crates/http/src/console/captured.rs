//! Captured mail: what a server for development keeps instead of sending it on.
//!
//! Here the list, the newest first; [`folder`] is where it is, [`message`] one of it.

mod folder;
mod message;

pub(super) use message::{html, message, part, source};

use super::fields::Fields;
use super::session::User;
use super::view::octets;
use super::{Base, Failed, Page, overview, pairs, query, shown, value};
use crate::error::ApiError;
use crate::router::Shared;
use askama::Template;
use axum::extract::{Request, State};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Redirect};
use folder::{delete, names, off_the_reactor, read, second_of};
use futures_util::Stream;
use mail_parser::MessageParser;
use std::convert::Infallible;
use std::path::Path;

/// Octets that are read of each message of a list.
const BEGINNING: u64 = 64 << 10;
/// Messages on a page.
const PAGE: usize = 50;
/// Messages that a search looks into.
const SEARCHED: usize = 5000;

/// A message in the list.
struct Item {
    name: String,
    from: String,
    to: String,
    subject: String,
    date: String,
    size: String,
}

#[derive(Template)]
#[template(path = "captured.html")]
struct List {
    base: Base,
    search: String,
    now: Now,
}

/// What changes as mail comes.
#[derive(Template)]
#[template(path = "captured_now.html")]
struct Now {
    items: Vec<Item>,
    /// Messages in the folder.
    count: usize,
    next: Option<String>,
}

impl List {
    /// Where news of the same search comes from.
    fn live(&self) -> String {
        format!(
            "/ui/captured/live?{}",
            query(&[("q".to_owned(), self.search.clone())])
        )
    }
}

pub(super) async fn list(State(shared): State<Shared>, user: User, request: Request) -> Page {
    let base = Base::new(&shared, &user, "Captured mail");
    let asked = pairs(&request);
    let (search, after) = (value(&asked, "q").to_owned(), value(&asked, "after").to_owned());
    match Now::look(&shared, search.clone(), after).await {
        Ok(now) => Ok(shown(&List { base, search, now })),
        Err(error) => Err(Failed { base, error }),
    }
}

pub(super) async fn live(
    State(shared): State<Shared>,
    _: User,
    request: Request,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let search = value(&pairs(&request), "q").to_owned();
    Sse::new(overview::news(shared, move |shared| {
        let search = search.clone();
        async move {
            Now::look(&shared, search, String::new())
                .await
                .ok()?
                .render()
                .ok()
        }
    }))
}

impl Now {
    async fn look(shared: &Shared, search: String, after: String) -> Result<Now, ApiError> {
        let folder = shared.rooms.captured();
        off_the_reactor(move || Ok(Now::read(&folder, &search.to_lowercase(), &after))).await
    }

    fn read(folder: &Path, search: &str, after: &str) -> Now {
        let names = names(folder);
        let count = names.len();
        let behind = names
            .iter()
            .skip_while(|name| !after.is_empty() && name.as_str() != after)
            .skip(usize::from(!after.is_empty()));
        let mut items = Vec::new();
        let mut next = None;
        for name in behind.take(SEARCHED) {
            if items.len() >= PAGE {
                next = items.last().map(|last: &Item| last.name.clone());
                break;
            }
            items.extend(Item::read(folder, name, search));
        }
        let next = next.map(|last| query(&[("q".to_owned(), search.to_owned()), ("after".to_owned(), last)]));
        Now { items, count, next }
    }
}

impl Item {
    /// `None` when it is gone, or does not have what is searched for.
    fn read(folder: &Path, name: &str, search: &str) -> Option<Item> {
        let (octets_read, size) = read(folder, name, BEGINNING).ok()?;
        if !search.is_empty()
            && !String::from_utf8_lossy(&octets_read)
                .to_lowercase()
                .contains(search)
        {
            let message = MessageParser::default().parse(&octets_read)?;
            // What is encoded is searched as people read it.
            let texts = [
                message.subject().map(str::to_lowercase),
                message.body_text(0).map(|text| text.to_lowercase()),
            ];
            if !texts.into_iter().flatten().any(|text| text.contains(search)) {
                return None;
            }
        }
        let message = MessageParser::default().parse_headers(&octets_read)?;
        let from = message.header_raw("X-Envelope-From").unwrap_or_default();
        let to = message.header_raw("Delivered-To").unwrap_or_default();
        let date = jiff::Timestamp::from_second(second_of(name)).unwrap_or_default();
        Some(Item {
            name: name.to_owned(),
            from: from.trim().to_owned(),
            to: to.trim().to_owned(),
            subject: message.subject().unwrap_or("(no subject)").to_owned(),
            date: date.to_string(),
            size: octets(size),
        })
    }
}

/// Deletes one message, or all that there were when the page was made.
pub(super) async fn act(State(shared): State<Shared>, user: User, request: Request) -> Page {
    let base = Base::new(&shared, &user, "Captured mail");
    let folder = shared.rooms.captured();
    let deleted = match Fields::checked(request, &user).await {
        Ok(fields) => {
            let (names, all) = (fields.values("name"), fields.value("action") == "delete_all");
            off_the_reactor(move || delete(&folder, if all { self::names(&folder) } else { names })).await
        }
        Err(error) => Err(error),
    };
    match deleted {
        Ok(()) => Ok(Redirect::to("/ui/captured").into_response()),
        Err(error) => Err(Failed { base, error }),
    }
}

#[cfg(test)]
mod tests {
    use super::folder::tests::folder_with;
    use super::*;

    #[test]
    fn the_newest_come_first_and_are_searched() {
        let folder = folder_with(&[
            (
                "5.a",
                "X-Envelope-From: <a@x.test>\r\nDelivered-To: b@y.test\r\nSubject: one\r\n\r\nhello\r\n",
            ),
            (
                "10.b",
                "Subject: =?utf-8?B?w5xiZXJyYXNjaHVuZw==?=\r\nContent-Transfer-Encoding: base64\r\n\r\naGlkZGVu\r\n",
            ),
            (".tmp", "no"),
        ]);
        let read = |search: &str, after: &str| -> Vec<String> {
            let now = Now::read(folder.path(), search, after);
            assert_eq!(now.count, 2);
            now.items.into_iter().map(|item| item.name).collect()
        };
        assert_eq!(read("", ""), ["10.b", "5.a"]);
        assert_eq!(read("", "10.b"), ["5.a"]);
        assert_eq!(read("hello", ""), ["5.a"]);
        assert_eq!(read("überrasch", ""), ["10.b"]);
        assert_eq!(read("hidden", ""), ["10.b"], "what is encoded too");
        assert!(read("nothing", "").is_empty());
        let item = Item::read(folder.path(), "5.a", "").unwrap();
        assert_eq!(
            (&*item.from, &*item.to, &*item.subject),
            ("<a@x.test>", "b@y.test", "one")
        );
    }
}
