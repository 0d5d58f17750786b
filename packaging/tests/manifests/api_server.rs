//! As much of an API server as `kubectl` needs to create, apply and look: it says which kinds there are, keeps what it is given, lists what
//! selectors choose, and answers for pods. Like a real one it takes nothing into a namespace that is not there. What a cluster's
//! controllers make of it all is there once it [`settles`](ApiServer::settles).

use crate::manifests::controllers::settled;
use crate::manifests::discovery::{discovery, kind_of, path_of};
use crate::manifests::pod_streams;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Objects by their paths.
type Stored = Arc<Mutex<BTreeMap<String, Value>>>;

/// A server, for as long as the test's process lives.
pub(crate) struct ApiServer {
    pub(crate) address: SocketAddr,
    stored: Stored,
}

impl ApiServer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let stored = Stored::default();
        let shared = stored.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let stored = shared.clone();
                std::thread::spawn(move || serve(stream, &stored));
            }
        });
        ApiServer { address, stored }
    }

    /// What it was given, without what kubectl notes for itself.
    pub(crate) fn objects(&self) -> Vec<Value> {
        let mut objects: Vec<Value> = self.stored.lock().expect("objects").values().cloned().collect();
        for object in &mut objects {
            let metadata = object["metadata"].as_object_mut().expect("metadata");
            let noted = metadata.get_mut("annotations").and_then(Value::as_object_mut);
            if let Some(noted) = noted {
                noted.remove("kubectl.kubernetes.io/last-applied-configuration");
                if noted.is_empty() {
                    metadata.remove("annotations");
                }
            }
        }
        objects
    }

    /// From now on there is what controllers make of what was applied.
    pub(crate) fn settles(&self) {
        let made = settled(&self.objects());
        let mut stored = self.stored.lock().expect("objects");
        stored.extend(made.into_iter().map(|object| (path_of(&object), object)));
    }
}

fn serve(mut stream: TcpStream, stored: &Stored) {
    let mut input = Vec::new();
    let mut part = [0; 16384];
    let (head, mut body) = loop {
        let Ok(count @ 1..) = stream.read(&mut part) else {
            return;
        };
        input.extend_from_slice(&part[..count]);
        if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&input[..end]).into_owned();
            break (head, input.split_off(end + 4));
        }
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().expect("a length"))
    });
    while body.len() < length.unwrap_or(0) {
        let Ok(count @ 1..) = stream.read(&mut part) else {
            return;
        };
        body.extend_from_slice(&part[..count]);
    }
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = Query::read(query);
    if query.is("watch") {
        return watched(stream, &query);
    }
    if pod_streams::answer(&mut stream, &head, path, &query, &stored.lock().expect("objects")) {
        return;
    }
    let (status, answer) = answer(method, path, &query, &body, stored);
    let answer = answer.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    );
    // A client that has gone misses nothing.
    let _ = stream.write_all((head + &answer).as_bytes());
}

/// What stands behind the question mark.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    fn read(text: &str) -> Query {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Query(
            pairs
                .map(|(name, value)| (name.to_owned(), decoded(value)))
                .collect(),
        )
    }

    pub(crate) fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        let of_it = self.0.iter().filter(move |(known, _)| known == name);
        of_it.map(|(_, value)| value.as_str())
    }

    fn is(&self, name: &str) -> bool {
        self.all(name).any(|value| value == "true" || value == "1")
    }

    /// Whether an object is one of those that are asked for: `labelSelector=a=b,c=d`, `fieldSelector=metadata.name=x`.
    fn chooses(&self, object: &Value) -> bool {
        let pairs = |name| {
            let parts = self.all(name).flat_map(|text| text.split(','));
            parts.filter_map(|part| part.split_once('='))
        };
        let mut labels = pairs("labelSelector");
        let mut fields = pairs("fieldSelector");
        labels.all(|(label, value)| object["metadata"]["labels"][label] == value)
            && fields.all(|(field, value)| {
                object.pointer(&format!("/{}", field.replace('.', "/"))) == Some(&json!(value))
            })
    }
}

fn decoded(text: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).expect("two digits")
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(octets).expect("UTF-8")
}

/// Nothing changes any more: a watch stays open until the client has seen enough.
fn watched(mut stream: TcpStream, query: &Query) {
    let head = match query.is("sendInitialEvents") {
        // Then it lists.
        true => "HTTP/1.1 422 Unprocessable Entity\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        false => "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
    };
    if stream.write_all(head.as_bytes()).is_ok() && !query.is("sendInitialEvents") {
        let _ = stream.read(&mut [0]);
    }
}

/// The objects of the kind that has this path.
fn list(path: &str, query: &Query, stored: &BTreeMap<String, Value>) -> Option<Value> {
    let (version, kind) = kind_of(path.rsplit('/').next()?)?;
    let below = format!("{path}/");
    let here = stored
        .iter()
        .filter(|(at, _)| at.strip_prefix(&below).is_some_and(|name| !name.contains('/')));
    let items: Vec<&Value> = here
        .map(|(_, object)| object)
        .filter(|object| query.chooses(object))
        .collect();
    Some(
        json!({"kind": format!("{kind}List"), "apiVersion": version, "metadata": {"resourceVersion": "1"}, "items": items}),
    )
}

fn answer(method: &str, path: &str, query: &Query, body: &[u8], stored: &Stored) -> (&'static str, Value) {
    if let Some(known) = discovery(path) {
        return ("200 OK", known);
    }
    let mut stored = stored.lock().expect("objects");
    match method {
        "GET" => match stored.get(path).cloned().or_else(|| list(path, query, &stored)) {
            Some(found) => ("200 OK", found),
            None => not_found(path),
        },
        "POST" => {
            // `kubectl create namespace` speaks Protocol Buffers, in which the name is the one thing said.
            let object: Value = serde_json::from_slice(body).unwrap_or_else(|_| {
                let text = String::from_utf8_lossy(body);
                let name = text.contains("mail").then_some("mail");
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            });
            if let Some((namespace, _)) = path
                .split_once("/namespaces/")
                .and_then(|(_, rest)| rest.split_once('/'))
                && !stored.contains_key(&format!("/api/v1/namespaces/{namespace}"))
            {
                return not_found(path);
            }
            let path = format!("{path}/{}", object["metadata"]["name"].as_str().expect("a name"));
            stored.insert(path, object.clone());
            ("201 Created", object)
        }
        // `kubectl debug` adds a container to a pod by a path of its own.
        "PATCH" => match stored.get_mut(path.trim_end_matches("/ephemeralcontainers")) {
            Some(object) => {
                merge(object, &serde_json::from_slice(body).expect("a patch"));
                ("200 OK", object.clone())
            }
            None => not_found(path),
        },
        _ => ("405 Method Not Allowed", json!({})),
    }
}

fn not_found(path: &str) -> (&'static str, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
                        "message": format!("{path}: there is no such thing")});
    ("404 Not Found", status)
}

/// A merge patch, as far as labels and annotations need one.
fn merge(object: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            if !object.is_object() {
                *object = json!({});
            }
            for (key, value) in fields {
                merge(&mut object[key], value);
            }
        }
        other => *object = other.clone(),
    }
}
