//! The description of the API, and that every route it has is guarded.

use super::stage::{DECLARED, Stage, exchange_from, request};
use crate::openapi::{document, operations};
use serde_json::{Value, json};
use smtp_config::Scope;
use smtp_queue::State;
use std::collections::BTreeSet;

const ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// Method, path with its parameters filled in, and scope of every operation.
fn routes() -> Vec<(&'static str, String, Scope)> {
    let api = document();
    let mut routes = Vec::new();
    for (path, item) in &api.paths.paths {
        let path = path
            .replace("{id}", ID)
            .replace("{kind}", "domain")
            .replace(['{', '}'], "");
        for (method, operation) in operations(item) {
            let security = serde_json::to_value(&operation.security).unwrap();
            let scope = security[1]["bearer"][0].as_str().and_then(Scope::parse);
            let scope = scope.unwrap_or_else(|| panic!("{method} {path} says no scope"));
            routes.push((method, path.clone(), scope));
        }
    }
    assert!(routes.len() > 35, "{routes:?}");
    routes
}

#[test]
fn every_operation_is_described() {
    let api = document();
    let mut names = BTreeSet::new();
    for (path, item) in &api.paths.paths {
        for (method, operation) in operations(item) {
            let what = format!("{method} {path}");
            let name = operation.operation_id.clone().unwrap();
            assert!(names.insert(name.clone()), "two are called {name}");
            assert!(
                operation.summary.as_ref().is_some_and(|text| !text.is_empty()),
                "{what}"
            );
            let responses = &operation.responses.responses;
            for status in ["200", "401", "403", "default"] {
                assert!(responses.contains_key(status), "{what}: {status}");
            }
            let parameters = serde_json::to_value(&operation.parameters).unwrap();
            for parameter in parameters.as_array().into_iter().flatten() {
                assert!(parameter["description"].is_string(), "{what}: {parameter}");
            }
            let has_body = matches!(method, "POST" | "PATCH");
            assert_eq!(operation.request_body.is_some(), has_body, "{what}");
        }
    }
    // Every schema that is meant is there.
    let text = api.to_json().unwrap();
    let whole: Value = serde_json::from_str(&text).unwrap();
    for piece in text.split("\"$ref\":\"#/").skip(1) {
        let pointer = format!("/{}", piece.split('"').next().unwrap());
        assert!(whole.pointer(&pointer).is_some(), "{pointer}");
    }
}

#[tokio::test]
async fn nothing_opens_without_the_right_credentials() {
    let stage = Stage::open(false).await;
    for (number, (method, path, _)) in routes().into_iter().enumerate() {
        // Each as another client, or the first few would block the rest.
        let client = [127, 0, 1, u8::try_from(number + 1).unwrap()];
        for token in [None, Some("guess"), Some("smtp_guess"), Some("")] {
            let request = request(token, method, &path, &json!({"all": true}));
            let answer = exchange_from(client, stage.address, &request).await;
            assert_eq!(
                answer.status, 401,
                "{method} {path} with {token:?}: {}",
                answer.body
            );
            assert!(
                answer.head.contains("www-authenticate: Bearer realm="),
                "{}",
                answer.head
            );
        }
    }
}

#[tokio::test]
async fn a_token_does_what_its_scope_says_and_no_more() {
    let stage = Stage::open(false).await;
    let store = &stage.rooms.store;
    store.add("a@x.test", "b@y.test", State::Deferred);
    let mut tokens = vec![(Scope::Read, DECLARED.to_owned())];
    for scope in [Scope::Operate, Scope::Admin] {
        let new = json!({"name": scope.name().to_owned() + "s", "scope": scope.name()});
        let made = stage.change("/api/v1/tokens", new).await.json();
        tokens.push((scope, made["token"].as_str().unwrap().to_owned()));
    }
    let trail = store.trail.lock().unwrap().len();
    for (scope, token) in &tokens {
        for (method, path, needed) in routes() {
            let refused = needed > *scope;
            if !refused && method != "GET" {
                // What may be changed is other tests' subject.
                continue;
            }
            let answer = stage.ask_with(token, method, &path, json!({"all": true})).await;
            let what = format!("{method} {path} with {}: {answer:?}", scope.name());
            assert_eq!(answer.status == 403, refused, "{what}");
            // This stage keeps no history.
            let kept = answer.status != 503 || path.starts_with("/api/v1/history");
            assert!(
                matches!(answer.status, 200 | 403 | 404 | 500 | 503) && kept,
                "{what}"
            );
            if refused {
                assert_eq!(answer.json()["error"]["code"], "scope", "{what}");
                let needed = format!("error=\"insufficient_scope\", scope=\"{}\"", needed.name());
                assert!(answer.head.contains(&needed), "{what}");
            }
        }
    }
    assert_eq!(store.messages.lock().unwrap().len(), 1, "nothing was changed");
    assert_eq!(store.trail.lock().unwrap().len(), trail);
    assert_eq!(
        stage.metric("smtp_admin_requests_denied_total"),
        "0",
        "nobody guessed"
    );
}

#[test]
fn who_only_looks_changes_nothing() {
    for (method, path, scope) in routes() {
        assert!(
            method == "GET" || scope > Scope::Read,
            "{method} {path} changes something and needs the scope read only"
        );
    }
}

#[tokio::test]
async fn the_description_is_served_and_what_it_does_not_have_is_refused() {
    let stage = Stage::open(false).await;
    let served = stage.admin_get("/api/v1/openapi.json").await.json();
    assert_eq!(served, serde_json::to_value(document()).unwrap());
    assert_eq!(served["openapi"].as_str().unwrap()[..3], *"3.1");
    for (path, item) in &document().paths.paths {
        let path = path.replace("{id}", ID).replace(['{', '}'], "");
        let known: Vec<&str> = operations(item).map(|(method, _)| method).collect();
        for method in ["GET", "PUT", "POST", "PATCH", "DELETE"] {
            if !known.contains(&method) {
                let answer = stage.ask(method, &path, json!({})).await;
                assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
                let allow = answer.head.lines().find(|line| line.starts_with("allow: "));
                let allow = allow.unwrap_or_else(|| panic!("{}", answer.head));
                assert!(known.iter().all(|known| allow.contains(known)), "{path}: {allow}");
            }
        }
    }
}
