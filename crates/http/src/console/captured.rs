//! Captured mail: what a server for development keeps instead of sending it on.
//!
//! The folder is a Maildir; the newest names come first. Only messages that are shown are read, and no more of one than [`LONGEST`].

use super::fields::Fields;
use super::session::User;
use super::view::octets;
use super::{Base, Failed, Page, overview, pairs, query, shown, value};
use crate::error::ApiError;
use crate::router::Shared;
use askama::Template;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, header};
use axum::response::sse::{Event, Sse};
use axum::response::{Html, IntoResponse, Redirect, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::Stream;
use mail_parser::{MessageParser, MessagePart, MimeHeaders, PartType};
use std::convert::Infallible;
use std::io::{ErrorKind, Read};
use std::path::{Path as FilePath, PathBuf};

/// Most octets of a message that are read to show it.
const LONGEST: u64 = 32 << 20;
/// Octets that are read of each message of a list.
const BEGINNING: u64 = 64 << 10;
/// Messages on a page.
const PAGE: usize = 50;
/// Messages that a search looks into.
const SEARCHED: usize = 5000;
/// Most octets of pictures within a message.
const PICTURES: usize = 8 << 20;
/// What HTML mail may do: show itself.
const HARMLESS: &str = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; frame-ancestors 'self'";

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

    fn read(folder: &FilePath, search: &str, after: &str) -> Now {
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
    fn read(folder: &FilePath, name: &str, search: &str) -> Option<Item> {
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

#[derive(Template)]
#[template(path = "captured_message.html")]
struct Message {
    base: Base,
    name: String,
    subject: String,
    headers: Vec<(String, String)>,
    text: Option<String>,
    has_html: bool,
    attachments: Vec<Attachment>,
    cut: bool,
}

/// A part that can be saved.
struct Attachment {
    number: usize,
    name: String,
    kind: String,
    size: String,
}

pub(super) async fn message(State(shared): State<Shared>, user: User, Path(name): Path<String>) -> Page {
    let base = Base::new(&shared, &user, "Captured mail");
    let (octets, size) = match whole(&shared, name.clone()).await {
        Ok(found) => found,
        Err(error) => return Err(Failed { base, error }),
    };
    let Some(message) = MessageParser::default().parse(&octets) else {
        let error = ApiError::new(
            422,
            "no_message",
            "this is no message that can be shown: look at its source",
        );
        return Err(Failed { base, error });
    };
    let html = message
        .parts
        .iter()
        .any(|part| matches!(part.body, PartType::Html(_)));
    let text = message
        .text_body
        .iter()
        .find_map(|place| match &message.part(*place)?.body {
            PartType::Text(text) => Some(text.to_string()),
            _ => None,
        });
    let attachments = message.attachments.iter().filter_map(|place| {
        let number = usize::try_from(*place).ok()?;
        let part = message.parts.get(number)?;
        Some(Attachment {
            number,
            name: part.attachment_name().unwrap_or("unnamed").to_owned(),
            kind: kind_of(part),
            size: octets_of(part),
        })
    });
    Ok(shown(&Message {
        subject: message.subject().unwrap_or("(no subject)").to_owned(),
        headers: message
            .headers_raw()
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect(),
        text,
        has_html: html,
        attachments: attachments.collect(),
        cut: size > LONGEST,
        base,
        name,
    }))
}

/// The message's HTML, in a document that can do nothing and load nothing. Pictures that came with it are put into it.
pub(super) async fn html(State(shared): State<Shared>, user: User, Path(name): Path<String>) -> Page {
    let base = Base::new(&shared, &user, "Captured mail");
    let octets = match whole(&shared, name).await {
        Ok((octets, _)) => octets,
        Err(error) => return Err(Failed { base, error }),
    };
    let message = MessageParser::default().parse(&octets);
    let html = message.as_ref().and_then(|message| {
        message
            .html_body
            .iter()
            .find_map(|place| match &message.part(*place)?.body {
                PartType::Html(html) => Some(html.to_string()),
                _ => None,
            })
    });
    let parts = message.iter().flat_map(|message| &message.parts);
    let html = with_pictures(html.unwrap_or_default(), parts);
    let mut response = Html(html).into_response();
    let policy = HeaderValue::from_static(HARMLESS);
    response
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

/// Puts pictures in place of `cid:` that names them.
fn with_pictures<'m>(mut html: String, parts: impl Iterator<Item = &'m MessagePart<'m>>) -> String {
    let mut room = PICTURES;
    for part in parts {
        let (Some(id), kind) = (part.content_id(), kind_of(part)) else {
            continue;
        };
        let named = format!("cid:{id}");
        let contents = part.contents();
        if kind.starts_with("image/") && contents.len() <= room && html.contains(&named) {
            room -= contents.len();
            html = html.replace(
                &named,
                &format!("data:{kind};base64,{}", STANDARD.encode(contents)),
            );
        }
    }
    html
}

/// The message as it is.
pub(super) async fn source(State(shared): State<Shared>, user: User, Path(name): Path<String>) -> Page {
    match whole(&shared, name).await {
        Ok((octets, _)) => Ok(as_file("text/plain; charset=utf-8", None, octets)),
        Err(error) => Err(Failed {
            base: Base::new(&shared, &user, "Captured mail"),
            error,
        }),
    }
}

/// A part of it, to be saved.
pub(super) async fn part(
    State(shared): State<Shared>,
    user: User,
    Path((name, number)): Path<(String, usize)>,
) -> Page {
    let failed = |error| Failed {
        base: Base::new(&shared, &user, "Captured mail"),
        error,
    };
    let octets = whole(&shared, name).await.map_err(failed)?.0;
    let message = MessageParser::default().parse(&octets);
    let part = message.as_ref().and_then(|message| message.parts.get(number));
    let part = part.ok_or_else(|| failed(ApiError::not_found("the message has no such part")))?;
    let file = part.attachment_name().unwrap_or("unnamed");
    Ok(as_file(
        "application/octet-stream",
        Some(file),
        part.contents().to_vec(),
    ))
}

fn as_file(kind: &'static str, name: Option<&str>, octets: Vec<u8>) -> Response {
    let mut response = Body::from(octets).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox; default-src 'none'"),
    );
    if let Some(name) = name {
        let plain: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "._- ".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{plain}\"")) {
            headers.insert(header::CONTENT_DISPOSITION, value);
        }
    }
    response
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

fn delete(folder: &FilePath, names: Vec<String>) -> Result<(), ApiError> {
    for name in names {
        match std::fs::remove_file(place(folder, &name)?) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(ApiError::new(
                    500,
                    "storage",
                    format!("{name} cannot be deleted: {error}"),
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Names of messages, newest first.
fn names(folder: &FilePath) -> Vec<String> {
    let mut names: Vec<String> = ["new", "cur"]
        .iter()
        .filter_map(|part| std::fs::read_dir(folder.join(part)).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort_by_key(|name| (std::cmp::Reverse(second_of(name)), name.clone()));
    names
}

/// When a message came: a Maildir's names begin with it.
fn second_of(name: &str) -> i64 {
    name.split('.')
        .next()
        .and_then(|second| second.parse().ok())
        .unwrap_or(0)
}

/// The file of a message. A name is a name, never a way elsewhere.
fn place(folder: &FilePath, name: &str) -> Result<PathBuf, ApiError> {
    let nothing = || ApiError::not_found("there is no such message: it was deleted");
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        return Err(nothing());
    }
    let mut places = ["new", "cur"].iter().map(|part| folder.join(part).join(name));
    places.find(|place| place.is_file()).ok_or_else(nothing)
}

/// At most so many octets of a message, and its size.
fn read(folder: &FilePath, name: &str, most: u64) -> Result<(Vec<u8>, u64), ApiError> {
    let place = place(folder, name)?;
    let failed =
        |error: std::io::Error| ApiError::new(500, "storage", format!("{name} cannot be read: {error}"));
    let file = std::fs::File::open(place).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut octets = Vec::new();
    file.take(most).read_to_end(&mut octets).map_err(failed)?;
    Ok((octets, size))
}

async fn whole(shared: &Shared, name: String) -> Result<(Vec<u8>, u64), ApiError> {
    let folder = shared.rooms.captured();
    off_the_reactor(move || read(&folder, &name, LONGEST)).await
}

async fn off_the_reactor<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| {
        Err(ApiError::new(
            500,
            "internal",
            "reading broke off; the log may say why",
        ))
    })
}

fn kind_of(part: &MessagePart<'_>) -> String {
    part.content_type().map_or_else(
        || "application/octet-stream".to_owned(),
        |kind| match kind.subtype() {
            Some(subtype) => format!("{}/{subtype}", kind.ctype()),
            None => kind.ctype().to_owned(),
        },
    )
}

fn octets_of(part: &MessagePart<'_>) -> String {
    octets(part.contents().len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(names: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("new")).unwrap();
        for (name, text) in names {
            std::fs::write(folder.path().join("new").join(name), text).unwrap();
        }
        folder
    }

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

    #[test]
    fn a_name_leads_nowhere_else() {
        let folder = folder_with(&[("5.a", "Subject: x\r\n\r\n")]);
        std::fs::write(folder.path().join("secret"), "x").unwrap();
        for name in ["../secret", "", ".", "..", "a/../../secret", "new/5.a", "5.a\0"] {
            assert!(place(folder.path(), name).is_err(), "{name:?}");
        }
        assert!(place(folder.path(), "5.a").is_ok());
        delete(folder.path(), vec!["5.a".into()]).unwrap();
        assert!(place(folder.path(), "5.a").is_err());
    }

    #[test]
    fn pictures_of_the_message_are_put_into_it() {
        let text = "Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<img src=\"cid:p@x\">\r\n\
                    --b\r\nContent-Type: image/png\r\nContent-ID: <p@x>\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n";
        let message = MessageParser::default().parse(text.as_bytes()).unwrap();
        let html = with_pictures(
            "<img src=\"cid:p@x\"><img src=\"cid:q\">".into(),
            message.parts.iter(),
        );
        assert_eq!(
            html,
            "<img src=\"data:image/png;base64,AAEC\"><img src=\"cid:q\">"
        );
    }
}
