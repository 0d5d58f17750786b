//! The room as its clients see it: raw HTTP over loopback.

mod console;
mod console_forms;
mod directory;
mod fake_store;
mod guard;
mod openapi;
mod stage;
mod tokens;
mod trail;

use serde_json::{Value, json};
use smtp_queue::{Body, State};
use stage::{Stage, exchange};
use std::io::Write;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn probes_need_no_password() {
    let stage = Stage::open(false).await;
    let live = stage.get("/health/live").await;
    assert_eq!(
        (live.status, live.json()),
        (200, json!({"status": "ok", "checks": {"progress": {"ok": true}}}))
    );
    assert_eq!(stage.get("/health/ready").await.status, 200);
    stage.rooms.draining.store(true, Ordering::SeqCst);
    let ready = stage.get("/health/ready").await;
    assert_eq!(ready.status, 503);
    let draining = json!({"ok": false, "detail": "the server is stopping"});
    let expected =
        json!({"status": "unavailable", "checks": {"storage": {"ok": true}, "draining": draining}});
    assert_eq!(ready.json(), expected);
    assert_eq!(stage.get("/health/live").await.status, 200);
    stage.rooms.stuck.store(true, Ordering::SeqCst);
    assert_eq!(stage.get("/health/live").await.status, 503);
}

#[tokio::test]
async fn the_servers_of_the_queue_come_page_by_page() {
    let stage = Stage::open(false).await;
    let first = stage.admin_get("/api/v1/servers?limit=1").await.json();
    assert_eq!(
        (&first["entries"][0]["id"], &first["next"]),
        (&json!("a"), &json!("a"))
    );
    assert_eq!(first["entries"][0]["started"], "1970-01-01T00:00:00Z");
    let rest = stage.admin_get("/api/v1/servers?after=a").await.json();
    assert_eq!(
        (&rest["entries"][0]["id"], &rest["next"]),
        (&json!("b"), &Value::Null)
    );
    // An older one that does not say.
    assert_eq!(
        (&rest["entries"][0]["version"], &rest["entries"][0]["started"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(stage.get("/api/v1/servers").await.status, 401);
}

#[tokio::test]
async fn metrics_come_in_the_format_asked_for() {
    let stage = Stage::open(false).await;
    let plain = stage.get("/metrics").await;
    assert_eq!(plain.status, 200);
    assert!(
        plain.head.contains("content-type: text/plain; version=0.0.4"),
        "{}",
        plain.head
    );
    assert!(plain.body.contains("\nsmtp_queue_depth 17\n"), "{}", plain.body);
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{accept}\r\n\r\n");
    let open = exchange(stage.address, &request).await;
    assert!(
        open.head.contains("content-type: application/openmetrics-text"),
        "{}",
        open.head
    );
    assert!(open.body.ends_with("# EOF\n"), "{}", open.body);
    assert_eq!(stage.get("/nothing").await.status, 404);
}

#[tokio::test]
async fn metrics_can_have_a_listener_of_their_own() {
    let stage = Stage::open(true).await;
    assert_eq!(stage.get("/metrics").await.status, 404);
    let own = stage.metrics_address.unwrap();
    let ask = |path| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(exchange(own, &ask("/metrics")).await.status, 200);
    assert_eq!(exchange(own, &ask("/api/v1/status")).await.status, 404);
}

#[tokio::test]
async fn the_queue_is_listed_in_pages() {
    let stage = Stage::open(false).await;
    let store = &stage.rooms.store;
    let ids = [
        store.add("a@x.test", "b@y.test", State::Deferred),
        store.add("", "c@z.test", State::Queued),
        store.add("a@x.test", "d@y.test", State::Queued),
    ];
    let all = stage.admin_get("/api/v1/queue").await.json();
    assert_eq!(all["next"], json!(null));
    let expected = json!({
        "id": ids[0], "received_at": "2026-11-23T06:57:01Z", "sender": "a@x.test", "size": 21,
        "origin": "client [192.0.2.9]", "account": null,
        "recipients": [{"address": "b@y.test", "state": "deferred", "attempts": 3,
            "due": "2026-11-23T06:57:01Z", "suspended": false, "last_result": "mx[192.0.2.1]: 450 later"}],
    });
    assert_eq!(all["messages"][0], expected);
    let first = stage.admin_get("/api/v1/queue?limit=2").await.json();
    assert_eq!(first["next"], ids[1].as_str());
    let rest = stage
        .admin_get(&format!("/api/v1/queue?limit=2&after={}", ids[1]))
        .await
        .json();
    assert_eq!(
        (&rest["messages"][0]["id"], &rest["next"]),
        (&json!(ids[2]), &json!(null))
    );
    for (query, count) in [
        ("domain=Y.test", 2),
        ("sender=", 1),
        ("sender=%3C%3E", 1),
        ("state=queued&domain=y.test", 1),
    ] {
        let found = stage.admin_get(&format!("/api/v1/queue?{query}")).await.json();
        assert_eq!(found["messages"].as_array().unwrap().len(), count, "{query}");
    }
    for bad in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "state=lost",
        "after=x",
        "doman=y.test",
    ] {
        let answer = stage.admin_get(&format!("/api/v1/queue?{bad}")).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (400, &json!("bad_request")),
            "{bad}"
        );
    }
    let mut shown = expected.clone();
    shown["header"] = json!(null);
    shown["header_cut"] = json!(false);
    let path = format!("/api/v1/queue/{}", ids[0]);
    assert_eq!(stage.admin_get(&path).await.json(), shown);
    *store.body.lock().unwrap() = Some(Body::Memory("Subject: x\r\n\r\nhello\r\n".into()));
    assert_eq!(stage.admin_get(&path).await.json()["header"], "Subject: x\r\n");
    assert_eq!(
        stage
            .admin_get("/api/v1/queue/01ARZ3NDEKTSV4RRFFQ69G5FAV")
            .await
            .status,
        404
    );
    assert_eq!(stage.admin_get("/api/v1/queue/%00%ff").await.status, 400);
    let stats = stage.admin_get("/api/v1/queue/stats").await.json();
    assert_eq!(
        (&stats["messages"], &stats["recipients"]["deferred"]),
        (&json!(2), &json!(1))
    );
}

#[tokio::test]
async fn changes_say_what_they_touched() {
    let stage = Stage::open(false).await;
    let store = &stage.rooms.store;
    let id = store.add("a@x.test", "b@y.test", State::Deferred);
    store.add("a@x.test", "c@z.test", State::Held);
    let retry = "/api/v1/queue/retry";
    let delete = "/api/v1/queue/delete";
    assert_eq!(stage.change(retry, json!({})).await.status, 400);
    assert_eq!(stage.change(delete, json!({"all": false})).await.status, 400);
    assert_eq!(
        stage
            .change(retry, json!({"all": true, "dry_run": true}))
            .await
            .json(),
        json!({"touched": 1, "next": null})
    );
    assert_eq!(stage.rooms.woken.load(Ordering::SeqCst), 0);
    assert_eq!(
        stage.change(retry, json!({"ids": [id]})).await.json(),
        json!({"touched": 1, "next": null})
    );
    assert_eq!(stage.rooms.woken.load(Ordering::SeqCst), 1);
    let dry = json!({"domain": "y.test", "dry_run": true});
    assert_eq!(
        stage.change(delete, dry).await.json(),
        json!({"touched": 1, "next": null})
    );
    assert_eq!(store.messages.lock().unwrap().len(), 2);
    assert_eq!(stage.metric("smtp_admin_actions_total"), "1");
    assert_eq!(
        stage.change(delete, json!({"domain": "y.test"})).await.json(),
        json!({"touched": 1, "next": null})
    );
    assert_eq!(store.messages.lock().unwrap().len(), 1);
    assert_eq!(stage.metric("smtp_admin_actions_total"), "2");
    stage.rooms.recovering.store(true, Ordering::SeqCst);
    assert_eq!(stage.change(delete, json!({"all": true})).await.status, 503);
}

#[tokio::test]
async fn a_release_says_what_stays() {
    let stage = Stage::open(false).await;
    let store = &stage.rooms.store;
    let id = store.add("a@x.test", "b@y.test", State::Quarantined);
    let other = store.add("a@x.test", "c@z.test", State::Deferred);
    let release = "/api/v1/queue/release";
    assert_eq!(stage.change(release, json!({})).await.status, 400);
    let dry = json!({"ids": [id, other], "dry_run": true});
    assert_eq!(
        stage.change(release, dry).await.json(),
        json!({"touched": 1, "next": null})
    );
    assert_eq!(stage.metric("smtp_admin_actions_total"), "0");
    let damaged = stage.change(release, json!({"ids": [id]})).await.json();
    let unreadable = json!([{"id": id, "reason": "no content"}]);
    assert_eq!(
        damaged,
        json!({"touched": 0, "next": null, "still_quarantined": 1, "unreadable": unreadable})
    );
    *store.body.lock().unwrap() = Some(Body::Memory("text".into()));
    let mended = stage.change(release, json!({"ids": [id]})).await.json();
    assert_eq!(
        mended,
        json!({"touched": 1, "next": null, "still_quarantined": 0, "unreadable": []})
    );
    assert_eq!(stage.rooms.woken.load(Ordering::SeqCst), 2);
    assert_eq!(stage.metric("smtp_admin_actions_total"), "2");
}

#[tokio::test]
async fn a_message_is_streamed_whole_or_not_at_all() {
    let stage = Stage::open(false).await;
    let store = &stage.rooms.store;
    let id = store.add("a@x.test", "b@y.test", State::Queued);
    let path = format!("/api/v1/queue/{id}/body");
    assert_eq!(stage.admin_get(&path).await.status, 500);
    let set = |body| *store.body.lock().unwrap() = Some(body);
    set(Body::Memory("Subject: x\r\n\r\nhello\r\n".into()));
    let answer = stage.admin_get(&path).await;
    assert!(
        answer.head.contains("content-type: message/rfc822"),
        "{}",
        answer.head
    );
    assert_eq!(answer.body, "Subject: x\r\n\r\nhello\r\n");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let content = "0123456789abcde\n".repeat(20_000);
    file.write_all(content.as_bytes()).unwrap();
    set(Body::file(file.path().to_owned(), content.len() as u64));
    let answer = stage.admin_get(&path).await;
    assert!(
        answer
            .head
            .contains(&format!("content-length: {}", content.len())),
        "{}",
        answer.head
    );
    assert!(answer.body == content);
    set(Body::file(file.path().to_owned(), content.len() as u64 + 1));
    let answer = stage.admin_get(&path).await;
    assert!(
        answer
            .head
            .contains(&format!("content-length: {}", content.len() + 1)),
        "a client can tell"
    );
    assert!(answer.body.len() <= content.len());
}

#[tokio::test]
async fn status_config_and_reload_are_the_rooms() {
    let stage = Stage::open(false).await;
    assert_eq!(stage.admin_get("/api/v1/status").await.json()["version"], "0.1.0");
    assert_eq!(stage.admin_get("/api/v1/config").await.json()[0]["value"], "***");
    let taken = stage.change("/api/v1/reload", json!({})).await;
    let expected = json!({"generation": 2, "changed": ["logging.level"], "needs_restart": []});
    assert_eq!((taken.status, taken.json()), (200, expected));
    stage.rooms.bad_config.store(true, Ordering::SeqCst);
    let refused = stage.change("/api/v1/reload", json!({})).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (422, &json!("config_refused"))
    );
    assert_eq!(stage.metric("smtp_admin_actions_total"), "2");
}

#[tokio::test]
async fn stopping_closes_idle_connections() {
    let stage = Stage::open(false).await;
    let mut idle = tokio::net::TcpStream::connect(stage.address).await.unwrap();
    idle.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stage.stop.send(()).unwrap();
    stage.served.await.unwrap();
    idle.read_to_end(&mut Vec::new()).await.unwrap();
    assert!(tokio::net::TcpStream::connect(stage.address).await.is_err());
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let stage = Stage::open(false).await;
    let settings = crate::Settings {
        listen: vec![stage.address],
        ..crate::Settings::default()
    };
    let error = crate::bind(settings, stage.observer.clone()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("cannot listen on {}", stage.address)),
        "{error}"
    );
}

#[tokio::test]
async fn a_drain_is_asked_for_and_recorded_first() {
    let stage = Stage::open(false).await;
    let status = stage.admin_get("/api/v1/drain").await.json();
    assert_eq!(
        (&status["phase"], &status["count"]),
        (&json!("running"), &json!(1))
    );
    assert_eq!(status["holding"][0]["what"], "session 1");
    let status = stage.change("/api/v1/drain", json!({})).await.json();
    assert_eq!(status["phase"], "draining");
    stage.change("/api/v1/drain", json!({"now": true})).await.json();
    let asked = stage.rooms.asked_to_end.lock().unwrap().clone();
    assert_eq!(asked, [("admin".to_owned(), false), ("admin".to_owned(), true)]);
    let trail = stage.rooms.store.trail.lock().unwrap();
    assert_eq!((trail.len(), &*trail[0].action), (2, "drain"));
}
