//! Tokens: made, used, expired, revoked.

use super::stage::{DECLARED, Stage};
use jiff::Timestamp;
use serde_json::{Value, json};
use smtp_queue::State;
use std::sync::atomic::Ordering;

const TOKENS: &str = "/api/v1/tokens";

async fn make(stage: &Stage, name: &str, scope: &str) -> String {
    let made = stage
        .change(TOKENS, json!({"name": name, "scope": scope, "expires_in": 3600}))
        .await;
    assert_eq!(made.status, 200, "{made:?}");
    made.json()["token"].as_str().unwrap().to_owned()
}

async fn status_with(stage: &Stage, token: &str) -> u16 {
    stage
        .get_as("/api/v1/status", &format!("Bearer {token}"))
        .await
        .status
}

#[tokio::test]
async fn a_token_is_good_until_it_is_revoked() {
    let stage = Stage::open(false).await;
    let token = make(&stage, "ci", "operate").await;
    assert!(token.starts_with("smtp_") && token.len() == 48, "{token}");
    assert_eq!(status_with(&stage, &token).await, 200);
    assert_eq!(status_with(&stage, &token[..47]).await, 401);
    assert_eq!(status_with(&stage, &format!("{token}x")).await, 401);
    let kept = format!("{:?}", stage.rooms.store.tokens.lock().unwrap());
    assert!(!kept.contains(&token), "only the hash is kept");

    let listed = stage.admin_get(TOKENS).await.json();
    let entries = listed["entries"].as_array().unwrap();
    assert_eq!(
        (&entries[0]["name"], &entries[0]["scope"], &entries[0]["declared"]),
        (&json!("ci"), &json!("operate"), &json!(false))
    );
    assert_eq!(
        (
            &entries[1]["name"],
            &entries[1]["expires"],
            &entries[1]["declared"]
        ),
        (&json!("declared"), &Value::Null, &json!(true))
    );
    assert!(!listed.to_string().contains(&token));
    let page = stage.admin_get(&format!("{TOKENS}?limit=1")).await.json();
    assert_eq!(page["next"], "ci");
    let page = stage.admin_get(&format!("{TOKENS}?after=ci")).await.json();
    assert_eq!(
        (&page["entries"][0]["name"], &page["next"]),
        (&json!("declared"), &Value::Null)
    );

    let revoked = stage.ask("DELETE", &format!("{TOKENS}/ci"), json!({})).await;
    assert_eq!((revoked.status, revoked.json()), (200, json!({"name": "ci"})));
    assert_eq!(status_with(&stage, &token).await, 401);
    let again = stage.ask("DELETE", &format!("{TOKENS}/ci"), json!({})).await;
    assert_eq!(again.status, 404);
}

#[tokio::test]
async fn an_expired_token_says_so_and_locks_nobody_out() {
    let stage = Stage::open(false).await;
    let token = make(&stage, "ci", "admin").await;
    // The room looks at the store once it is opened anew.
    let tokens = std::mem::take(&mut *stage.rooms.store.tokens.lock().unwrap());
    let stage = Stage::open(false).await;
    for mut one in tokens {
        one.expires = Some(Timestamp::now());
        stage.rooms.store.tokens.lock().unwrap().push(one);
    }
    for _ in 0..11 {
        let answer = stage.get_as("/api/v1/status", &format!("Bearer {token}")).await;
        assert_eq!(answer.status, 401);
        assert!(
            answer.body.contains("the token ci expired at "),
            "{}",
            answer.body
        );
    }
    assert_eq!(stage.metric("smtp_admin_requests_denied_total"), "11");
    assert_eq!(stage.admin_get("/api/v1/status").await.status, 200);
}

#[tokio::test]
async fn the_trail_and_suspensions_name_the_token() {
    let stage = Stage::open(false).await;
    let store = &stage.rooms.store;
    store.add("a@x.test", "b@y.test", State::Queued);
    let token = make(&stage, "night-shift", "operate").await;
    let done = stage
        .ask_with(&token, "POST", "/api/v1/queue/retry", json!({"all": true}))
        .await;
    assert_eq!(done.status, 200, "{done:?}");
    let suspend = json!({"kind": "domain", "name": "y.test"});
    let done = stage
        .ask_with(&token, "POST", "/api/v1/suspensions", suspend)
        .await
        .json();
    assert_eq!(
        (&done["who"], &done["touched"]),
        (&json!("night-shift"), &json!(1))
    );
    let trail = store.trail.lock().unwrap();
    let who: Vec<(&str, &str)> = trail.iter().map(|one| (&*one.who, &*one.action)).collect();
    assert_eq!(
        who,
        [
            ("admin", "token.add"),
            ("night-shift", "queue.retry"),
            ("night-shift", "queue.suspend")
        ]
    );
    let added = trail[0].after.as_ref().unwrap();
    assert!(
        added.contains("night-shift") && !added.contains(&token),
        "{added}"
    );
}

#[tokio::test]
async fn a_name_is_one_tokens_only() {
    let stage = Stage::open(false).await;
    make(&stage, "ci", "read").await;
    for (name, scope, status, code) in [
        ("ci", "admin", 409, "exists"),
        ("declared", "admin", 409, "declared"),
        ("admin", "read", 422, "invalid"),
        ("a b", "read", 422, "invalid"),
        ("", "read", 422, "invalid"),
        ("other", "root", 400, "bad_request"),
    ] {
        let answer = stage.change(TOKENS, json!({"name": name, "scope": scope})).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (status, &json!(code)),
            "{name}"
        );
    }
    let answer = stage
        .change(TOKENS, json!({"name": "x", "scope": "read", "expires_in": 0}))
        .await;
    assert_eq!(answer.status, 400);
    let answer = stage
        .ask("DELETE", &format!("{TOKENS}/declared"), json!({}))
        .await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (409, &json!("declared"))
    );
    assert_eq!(stage.rooms.store.tokens.lock().unwrap().len(), 1);
    assert_eq!(status_with(&stage, DECLARED).await, 200);
}

#[tokio::test]
async fn tokens_outlast_a_store_that_does_not_answer() {
    let stage = Stage::open(false).await;
    let store = &stage.rooms.store;
    stage.rooms.recovering.store(true, Ordering::SeqCst);
    let any = format!("smtp_{}", "x".repeat(43));
    assert_eq!(status_with(&stage, &any).await, 503, "it may be right");
    assert_eq!(status_with(&stage, DECLARED).await, 200);
    assert_eq!(stage.admin_get("/api/v1/status").await.status, 200);
    stage.rooms.recovering.store(false, Ordering::SeqCst);
    store.no_tokens.store(true, Ordering::SeqCst);
    assert_eq!(status_with(&stage, &any).await, 503);
    store.no_tokens.store(false, Ordering::SeqCst);
    let token = make(&stage, "ci", "read").await;
    store.no_tokens.store(true, Ordering::SeqCst);
    stage.rooms.recovering.store(true, Ordering::SeqCst);
    assert_eq!(status_with(&stage, &token).await, 200, "it is known");
    assert_eq!(status_with(&stage, &any).await, 401);
    assert_eq!(stage.metric("smtp_admin_requests_denied_total"), "1");
}
