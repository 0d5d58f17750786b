//! As much of an API server as `kubectl create` and `kubectl apply` talk to: it says which kinds there are, and keeps what
//! it is given. Like a real one it takes nothing into a namespace that is not there.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Group and version, plural, kind.
const KINDS: [(&str, &str, &str); 10] = [
    ("v1", "namespaces", "Namespace"),
    ("v1", "configmaps", "ConfigMap"),
    ("v1", "secrets", "Secret"),
    ("v1", "services", "Service"),
    ("v1", "serviceaccounts", "ServiceAccount"),
    ("apps/v1", "deployments", "Deployment"),
    ("apps/v1", "statefulsets", "StatefulSet"),
    (
        "autoscaling/v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
    ),
    ("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"),
    ("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget"),
];

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
    let path = target.split('?').next().unwrap_or_default();
    let (status, answer) = answer(method, path, &body, stored);
    let answer = answer.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    );
    // A client that has gone misses nothing.
    let _ = stream.write_all((head + &answer).as_bytes());
}

fn answer(method: &str, path: &str, body: &[u8], stored: &Stored) -> (&'static str, Value) {
    if let Some(known) = discovery(path) {
        return ("200 OK", known);
    }
    let mut stored = stored.lock().expect("objects");
    match method {
        "GET" => match stored.get(path) {
            Some(object) => ("200 OK", object.clone()),
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
        "PATCH" => match stored.get_mut(path) {
            Some(object) => {
                merge(object, &serde_json::from_slice(body).expect("a patch"));
                ("200 OK", object.clone())
            }
            None => not_found(path),
        },
        _ => ("405 Method Not Allowed", json!({})),
    }
}

/// Which kinds there are, and that the server checks their fields itself.
fn discovery(path: &str) -> Option<Value> {
    let base = |version: &str| {
        if version == "v1" {
            "api/v1".to_owned()
        } else {
            format!("apis/{version}")
        }
    };
    let versions = || {
        let mut versions: Vec<&str> = KINDS.iter().map(|(version, ..)| *version).collect();
        versions.dedup();
        versions
    };
    if path == "/api" {
        return Some(json!({"kind": "APIVersions", "versions": ["v1"]}));
    }
    if path == "/apis" {
        let groups: Vec<Value> = versions()
            .into_iter()
            .filter_map(|version| {
                let (group, number) = version.split_once('/')?;
                let version = json!({"groupVersion": version, "version": number});
                Some(json!({"name": group, "versions": [version], "preferredVersion": version}))
            })
            .collect();
        return Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}));
    }
    if path == "/openapi/v3" {
        let paths = versions().into_iter().map(|version| {
            let base = base(version);
            let at = json!({"serverRelativeURL": format!("/openapi/v3/{base}")});
            (base, at)
        });
        return Some(json!({"paths": serde_json::Map::from_iter(paths)}));
    }
    for version in versions() {
        let kinds = KINDS.iter().filter(|(of, ..)| *of == version);
        let (group, number) = version.split_once('/').unwrap_or(("", version));
        if path == format!("/{}", base(version)) {
            let resources: Vec<Value> = kinds
                .map(|(_, plural, kind)| {
                    json!({"name": plural, "singularName": kind.to_lowercase(), "namespaced": *kind != "Namespace",
                           "kind": kind, "verbs": ["get", "create", "patch"]})
                })
                .collect();
            return Some(json!({"kind": "APIResourceList", "groupVersion": version, "resources": resources}));
        }
        if path == format!("/openapi/v3/{}", base(version)) {
            let paths = kinds.map(|(_, plural, kind)| {
                let patch = json!({
                    "x-kubernetes-group-version-kind": {"group": group, "version": number, "kind": kind},
                    "parameters": [{"name": "fieldValidation", "in": "query"}],
                    "responses": {}
                });
                (format!("/{}/{plural}", base(version)), json!({"patch": patch}))
            });
            let info = json!({"title": "Kubernetes", "version": "v1"});
            return Some(
                json!({"openapi": "3.0.0", "info": info, "paths": serde_json::Map::from_iter(paths)}),
            );
        }
    }
    None
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
