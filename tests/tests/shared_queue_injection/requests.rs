//! Every parameter of every operation of the API's description, in paths, queries and bodies.

use super::in_time;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use blackbox::injection::{MARK, encoded, texts};
use blackbox::server::{PASSWORD, Server, exchange, parts};
use blackbox::wire::connect_from;
use serde_json::{Map, Value, json};
use std::net::TcpStream;

/// A request by somebody who may do everything: status and body.
pub(super) fn ask(server: &Server, method: &str, path: &str, body: &[u8]) -> (u16, String) {
    let stream = TcpStream::connect(server.http).expect("connect");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAuthorization: Bearer {PASSWORD}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), body].concat();
    let what = format!("{method} {}", &path[..path.len().min(200)]);
    let (status, answer) = parts(&in_time(&what, || exchange(stream, &request)));
    assert!((200..500).contains(&status), "{what}: {status} {answer}");
    (status, answer)
}

/// What each place is filled with: the texts, and octets that are no text.
fn fillings() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = texts().into_iter().map(String::into_bytes).collect();
    all.push([MARK.as_bytes(), b"\xff\xfe\xc0\xa7; DROP TABLE audit; --"].concat());
    all
}

/// An operation of the description.
struct Operation {
    method: String,
    path: String,
    /// Of its path.
    names: Vec<String>,
    /// Of its query.
    query: Vec<String>,
    /// Of its body: their schemas, and those that are required.
    fields: Map<String, Value>,
    required: Vec<String>,
}

impl Operation {
    fn of(api: &Value, method: &str, path: &str, operation: &Value) -> Operation {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let named = |place: &str| -> Vec<String> {
            let here = parameters.iter().filter(|one| one["in"] == place);
            here.filter_map(|one| one["name"].as_str().map(str::to_owned))
                .collect()
        };
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        let reference = body["$ref"].as_str().or_else(|| {
            let choices = body["oneOf"].as_array()?;
            choices.iter().find_map(|one| one["$ref"].as_str())
        });
        let schema = reference.and_then(|reference| api.pointer(reference.trim_start_matches('#')));
        let schema = schema.cloned().unwrap_or_default();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        Operation {
            method: method.to_uppercase(),
            path: format!("/api/v1{}", path.trim_start_matches("/api/v1")),
            names: named("path"),
            query: named("query"),
            fields: schema["properties"].as_object().cloned().unwrap_or_default(),
            required: required
                .iter()
                .filter_map(|one| one.as_str().map(str::to_owned))
                .collect(),
        }
    }

    /// Its path, with this in one of its parameters and something in the others.
    fn path_with(&self, name: &str, filling: &str) -> String {
        self.names.iter().fold(self.path.clone(), |path, one| {
            let value = if one == name { filling } else { "domain" };
            path.replace(&format!("{{{one}}}"), value)
        })
    }

    /// A body with this in one of its fields, and in those that must be there.
    fn body_with(&self, name: &str, filling: &str) -> Vec<u8> {
        let filled = |field: &String| -> Option<(String, Value)> {
            let schema = self.fields.get(field)?;
            let is_list = schema["type"] == "array"
                || schema["type"]
                    .as_array()
                    .is_some_and(|types| types.contains(&json!("array")));
            // A word of a list of words is right, so that what is behind it is looked at.
            let word = schema["enum"][0].clone();
            Some((
                field.clone(),
                match (is_list, word) {
                    (true, _) => json!([filling]),
                    (false, Value::String(word)) if field != name => word.into(),
                    _ => filling.into(),
                },
            ))
        };
        let fields = self
            .required
            .iter()
            .chain(self.fields.keys().filter(|field| *field == name));
        let body: Map<String, Value> = fields.filter_map(filled).collect();
        Value::from(body).to_string().into_bytes()
    }

    /// Fills each of its places with this. Gives how many those are.
    fn try_with(&self, server: &Server, filling: &[u8]) -> usize {
        let url = encoded(filling);
        for name in &self.names {
            ask(server, &self.method, &self.path_with(name, &url), b"{}");
        }
        for name in &self.query {
            ask(
                server,
                &self.method,
                &format!("{}?{name}={url}", self.path_with("", "")),
                b"{}",
            );
        }
        let text = String::from_utf8_lossy(filling);
        for name in self.fields.keys() {
            ask(
                server,
                &self.method,
                &self.path_with("", ""),
                &self.body_with(name, &text),
            );
        }
        self.names.len() + self.query.len() + self.fields.len()
    }
}

/// All operations, but for the one that ends the server.
fn operations(server: &Server) -> Vec<Operation> {
    let (_, api) = ask(server, "GET", "/api/v1/openapi.json", b"");
    let api: Value = serde_json::from_str(&api).expect("JSON");
    let mut operations = Vec::new();
    for (path, item) in api["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            if operation["operationId"] != "server_drain" && operation["security"].is_array() {
                operations.push(Operation::of(&api, method, path, operation));
            }
        }
    }
    operations
}

/// What is shown is what was given.
fn shown_as_given(server: &Server) {
    let made = |path: &str, body: Value| {
        let (status, answer) = ask(server, "POST", path, body.to_string().as_bytes());
        assert_eq!(status, 200, "{path} {body}: {answer}");
    };
    let listed = |path: &str| ask(server, "GET", path, b"").1;
    for text in texts() {
        let plain = !text.contains('\0') && text.len() < 400;
        let reason = text.clone();
        if plain {
            made(
                "/api/v1/suspensions",
                json!({"kind": "account", "name": text, "reason": reason}),
            );
            let all: Value = serde_json::from_str(&listed("/api/v1/suspensions")).expect("JSON");
            let mut all = all["entries"].as_array().expect("entries").iter();
            assert!(
                all.any(|one| one["name"] == text.as_str() && one["reason"] == reason.as_str()),
                "{text}"
            );
        }
        if plain && !text.contains([' ', '@']) {
            // Names of accounts are lower case.
            let name = format!("{}!", text.to_lowercase());
            made(
                "/api/v1/accounts",
                json!({"name": name, "app": true, "senders": ["*@x.test"]}),
            );
            let (status, answer) = ask(
                server,
                "GET",
                &format!("/api/v1/accounts/{}", encoded(name.as_bytes())),
                b"",
            );
            assert!(
                status == 200
                    && serde_json::from_str::<Value>(&answer).expect("JSON")["name"] == name.as_str(),
                "{answer}"
            );
        }
        if plain && text.is_ascii() {
            let local = text.replace('\\', "\\\\").replace('"', "\\\"");
            let name = format!("\"{local}\"@here.test");
            made(
                "/api/v1/aliases",
                json!({"name": name, "to": [format!("\"{local}\"@x.test")]}),
            );
            let path = format!("/api/v1/aliases/{}", encoded(name.as_bytes()));
            let (status, answer) = ask(server, "GET", &path, b"");
            assert!(status == 200 && answer.contains(MARK), "{answer}");
        }
    }
}

/// Credentials that are texts, from other addresses: each guess counts.
fn by_credentials(server: &Server) {
    for (number, filling) in fillings().into_iter().enumerate() {
        let basic = BASE64.encode([&b"admin:"[..], filling.as_slice()].concat());
        let bearer: String = filling
            .iter()
            .map(|octet| char::from(octet.clamp(&b' ', &b'~').to_owned()))
            .collect();
        for credentials in [format!("Basic {basic}"), format!("Bearer {bearer}")] {
            let request = format!(
                "GET /api/v1/queue HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAuthorization: {credentials}\r\n\r\n"
            );
            let stream = connect_from(&format!("127.0.3.{}", 1 + number), server.http);
            let (status, answer) = parts(&in_time("credentials", || exchange(stream, request.as_bytes())));
            assert!([400, 401, 431].contains(&status), "{status} {answer}");
        }
    }
}

pub(super) fn to_the_api(server: &Server) {
    let operations = operations(server);
    let mut places = 0;
    for filling in fillings() {
        places += operations
            .iter()
            .map(|one| one.try_with(server, &filling))
            .sum::<usize>();
    }
    assert!(
        operations.len() > 40 && places > 2_000,
        "{} operations, {places} places",
        operations.len()
    );
    shown_as_given(server);
    by_credentials(server);
}
