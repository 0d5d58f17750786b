//! One captured message: as people read it, its HTML where it can do nothing, its source, its parts.

use super::folder::{LONGEST, whole};
use crate::console::session::User;
use crate::console::view::octets;
use crate::console::{Base, Failed, Page, shown};
use crate::error::ApiError;
use crate::router::Shared;
use askama::Template;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail_parser::{MessageParser, MessagePart, MimeHeaders, PartType};

/// Most octets of pictures within a message.
const PICTURES: usize = 8 << 20;
/// What HTML mail may do: show itself.
const HARMLESS: &str = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; frame-ancestors 'self'";

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

pub(crate) async fn message(State(shared): State<Shared>, user: User, Path(name): Path<String>) -> Page {
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
pub(crate) async fn html(State(shared): State<Shared>, user: User, Path(name): Path<String>) -> Page {
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
pub(crate) async fn source(State(shared): State<Shared>, user: User, Path(name): Path<String>) -> Page {
    match whole(&shared, name).await {
        Ok((octets, _)) => Ok(as_file("text/plain; charset=utf-8", None, octets)),
        Err(error) => Err(Failed {
            base: Base::new(&shared, &user, "Captured mail"),
            error,
        }),
    }
}

/// A part of it, to be saved.
pub(crate) async fn part(
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
