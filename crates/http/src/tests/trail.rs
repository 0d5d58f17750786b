//! What changes leave behind, and changes that are long, broken off or cannot be written down.

use super::console::{form, log_in};
use super::stage::{PASSWORD, Stage, request};
use serde_json::{Value, json};
use smtp_queue::State;
use std::sync::atomic::Ordering;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Waits for something; ten seconds are for ever.
async fn until(happened: impl Fn() -> bool) {
    let wait = async {
        while !happened() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(10), wait);
    waited.await.expect("it does not happen");
}

/// What was there before and after the last change.
async fn last(stage: &Stage) -> (Value, Value) {
    let trail = stage.admin_get("/api/v1/audit?limit=1").await.json();
    let entry = &trail["entries"][0];
    (entry["before"].clone(), entry["after"].clone())
}

#[tokio::test]
async fn a_change_is_recorded_with_what_was_there() {
    let stage = Stage::open(false).await;
    let path = "/api/v1/accounts/shop";
    let new = json!({"name": "shop", "password": "Correct horse 7"});
    assert_eq!(stage.change("/api/v1/accounts", new).await.status, 200);
    let (before, after) = last(&stage).await;
    assert_eq!(
        (&before, &after["name"], &after["enabled"]),
        (&Value::Null, &json!("shop"), &json!(true))
    );
    stage.ask("PATCH", path, json!({"enabled": false})).await;
    let (before, after) = last(&stage).await;
    assert_eq!(
        (&before["enabled"], &after["enabled"]),
        (&json!(true), &json!(false))
    );
    stage.ask("DELETE", path, json!({})).await;
    let (before, after) = last(&stage).await;
    assert_eq!((&before["name"], &after), (&json!("shop"), &Value::Null));
    let rotate = json!({"domain": "declared.test", "selector": "s1", "algorithm": "ed25519"});
    assert_eq!(stage.change("/api/v1/dkim", rotate).await.status, 200);
    assert_eq!(last(&stage).await.1["selector"], "s1");
    stage.change("/api/v1/reload", json!({})).await;
    assert_eq!(
        last(&stage).await,
        (json!({"logging.level": "info"}), json!({"logging.level": "info"}))
    );
    let trail = stage.admin_get("/api/v1/audit").await.body;
    assert!(
        !trail.contains("Correct horse") && !trail.contains("argon2"),
        "{trail}"
    );
    assert!(!trail.contains("PRIVATE"), "{trail}");
}

#[tokio::test]
async fn a_change_that_cannot_be_written_down_is_said() {
    let stage = Stage::open(false).await;
    let store = &stage.rooms.store;
    store.add("a@x.test", "b@y.test", State::Queued);
    store.no_trail.store(true, Ordering::SeqCst);
    let done = stage.change("/api/v1/queue/delete", json!({"all": true})).await;
    assert_eq!((done.status, &done.json()["touched"]), (200, &json!(1)));
    assert_eq!(stage.metric("smtp_admin_actions_total"), "1");
    assert_eq!(stage.metric("smtp_errors_total{class=\"store\"}"), "1");
}

/// Begins a change that deletes the only message, and goes away in the middle of it.
async fn goes_on(stage: &Stage, request: String) {
    let store = &stage.rooms.store;
    store.add("a@x.test", "b@y.test", State::Queued);
    store.at_gate.store(false, Ordering::SeqCst);
    store.trail.lock().unwrap().clear();
    let gate = store.gate.lock().await;
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    until(|| store.at_gate.load(Ordering::SeqCst)).await;
    drop(stream);
    // The server has seen that the client is gone when it has closed the connection, and answers another meanwhile.
    for _ in 0..20 {
        assert_eq!(stage.get("/health/live").await.status, 200);
    }
    drop(gate);
    until(|| !store.trail.lock().unwrap().is_empty()).await;
    assert!(store.messages.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_change_goes_on_when_nobody_waits_for_it() {
    let stage = Stage::open(false).await;
    let all = json!({"all": true});
    goes_on(
        &stage,
        request(Some(PASSWORD), "POST", "/api/v1/queue/delete", &all),
    )
    .await;
    let (cookie, csrf) = log_in(&stage).await;
    let fields = format!("csrf={csrf}&action=delete&meant=all&confirmed=yes");
    goes_on(&stage, form("/ui/queue", &cookie, "", &fields)).await;
}

#[tokio::test]
async fn a_long_change_goes_on_where_it_ended() {
    let stage = Stage::open(false).await;
    let store = &stage.rooms.store;
    for _ in 0..3 {
        store.add("a@x.test", "b@y.test", State::Queued);
    }
    // Behind the first: the others are left.
    let rest = json!({"all": true, "after": "1"});
    let done = stage.change("/api/v1/queue/delete", rest).await.json();
    assert_eq!(done, json!({"touched": 2, "next": null}));
    assert_eq!(store.messages.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn suspensions_are_counted_before_they_begin_and_end() {
    let stage = Stage::open(false).await;
    let store = &stage.rooms.store;
    store.add("a@x.test", "b@y.test", State::Deferred);
    let path = "/api/v1/suspensions";
    let dry = json!({"kind": "domain", "name": "Y.test", "dry_run": true});
    let counted = stage.change(path, dry).await.json();
    assert_eq!(
        (&counted["touched"], &counted["name"]),
        (&json!(1), &json!("y.test"))
    );
    assert_eq!(stage.admin_get(path).await.json(), json!({"entries": []}));
    assert_eq!(
        stage
            .change(path, json!({"kind": "domain", "name": "Y.test"}))
            .await
            .json()["touched"],
        1
    );
    let one = format!("{path}/domain/y.test");
    let counted = stage
        .ask("DELETE", &format!("{one}?dry_run=true"), json!({}))
        .await;
    assert_eq!(counted.json(), json!({"touched": 7}));
    assert_eq!(
        stage.admin_get(path).await.json()["entries"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        stage.ask("DELETE", &one, json!({})).await.json(),
        json!({"touched": 7})
    );
    assert_eq!(stage.ask("DELETE", &one, json!({})).await.status, 404);
    let trail = stage.admin_get("/api/v1/audit").await.json();
    let trail = trail["entries"].as_array().unwrap();
    assert_eq!(trail.len(), 2, "a dry run leaves nothing");
    assert_eq!(trail[0]["before"]["name"], "y.test");
}

#[tokio::test]
async fn destinations_and_sessions_come_in_pages() {
    let stage = Stage::open(false).await;
    let all = stage.admin_get("/api/v1/destinations").await.json();
    assert_eq!(
        (
            &all["entries"][0]["name"],
            &all["entries"][1]["state"],
            &all["next"]
        ),
        (&json!("a.test:25"), &json!("down"), &Value::Null)
    );
    let page = stage
        .admin_get("/api/v1/destinations?after=a.test:25&limit=1")
        .await
        .json();
    assert_eq!(
        (&page["entries"][0]["name"], &page["next"]),
        (&json!("b.test:25"), &json!("b.test:25"))
    );
    let page = stage.admin_get("/api/v1/sessions?limit=2").await.json();
    assert_eq!(
        (page["entries"].as_array().unwrap().len(), &page["next"]),
        (2, &json!("2"))
    );
    let page = stage.admin_get("/api/v1/sessions?after=2").await.json();
    assert_eq!(page["entries"][0]["number"], 3);
    assert_eq!(stage.admin_get("/api/v1/sessions?after=x").await.status, 400);
    let statistics = stage.admin_get("/api/v1/statistics").await.json();
    assert_eq!(
        (
            &statistics["total"]["received"],
            &statistics["rejected_by"]["relay_denied"]
        ),
        (&json!(0), &json!(0))
    );
    stage.rooms.store.add("a@x.test", "b@y.test", State::Queued);
    let shape = stage.admin_get("/api/v1/queue/shape?by=sender").await.json();
    assert_eq!(
        (&shape["bounds"][8], &shape["domains"][0]["recipients"]),
        (&json!(1280), &json!(1))
    );
}
