//! Domains, accounts, aliases and keys through the API.

use super::stage::Stage;
use serde_json::{Value, json};

const DOMAINS: &str = "/api/v1/domains";
const ACCOUNTS: &str = "/api/v1/accounts";

async fn ok(stage: &Stage, method: &str, path: &str, body: Value) -> Value {
    let answer = stage.ask(method, path, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

async fn refused(stage: &Stage, method: &str, path: &str, body: Value) -> (u16, String) {
    let answer = stage.ask(method, path, body).await;
    let code = answer.json()["error"]["code"].as_str().unwrap().to_owned();
    (answer.status, code)
}

#[tokio::test]
async fn domains_come_change_and_go() {
    let stage = Stage::open(false).await;
    let new = json!({"name": "New.test", "deliver": "lmtp:mailbox:24"});
    assert_eq!(ok(&stage, "POST", DOMAINS, new.clone()).await["name"], "new.test");
    assert_eq!(
        refused(&stage, "POST", DOMAINS, new).await,
        (409, "exists".into())
    );
    let path = format!("{DOMAINS}/NEW.test");
    ok(&stage, "PATCH", &path, json!({"recipients": "verify"})).await;
    let shown = stage.admin_get(&path).await.json();
    let expected =
        json!({"name": "new.test", "deliver": "lmtp:mailbox:24", "recipients": "verify", "declared": null});
    assert_eq!(shown, expected);
    let capture = json!({"deliver": "capture"});
    assert_eq!(
        refused(&stage, "PATCH", &path, capture).await,
        (422, "invalid".into()),
        "nobody could be asked for recipients"
    );
    ok(
        &stage,
        "PATCH",
        &path,
        json!({"deliver": "capture", "recipients": "any"}),
    )
    .await;
    assert_eq!(
        refused(&stage, "PATCH", &path, json!({})).await,
        (400, "bad_request".into())
    );
    let page = stage.admin_get(&format!("{DOMAINS}?limit=1")).await.json();
    assert_eq!(
        (&page["entries"][0]["name"], &page["next"]),
        (&json!("declared.test"), &json!("declared.test"))
    );
    let page = stage
        .admin_get(&format!("{DOMAINS}?after=declared.test"))
        .await
        .json();
    assert_eq!(
        (&page["entries"][0]["name"], &page["next"]),
        (&json!("new.test"), &Value::Null)
    );
    ok(&stage, "DELETE", &path, json!({})).await;
    assert_eq!(stage.admin_get(&path).await.status, 404);
}

#[tokio::test]
async fn what_is_declared_cannot_be_changed() {
    let stage = Stage::open(false).await;
    for (method, path) in [
        ("DELETE", format!("{DOMAINS}/declared.test")),
        ("DELETE", format!("{ACCOUNTS}/ann@declared.test")),
    ] {
        assert_eq!(
            refused(&stage, method, &path, json!({})).await,
            (409, "declared".into()),
            "{path}"
        );
    }
    let shown = stage
        .admin_get(&format!("{ACCOUNTS}/ann@declared.test"))
        .await
        .json();
    assert_eq!(shown["declared"], "accounts[0]");
}

#[tokio::test]
async fn an_accounts_secret_is_told_once_and_no_password_ever() {
    let stage = Stage::open(false).await;
    let new = json!({"name": "billing", "app": true, "senders": ["*@declared.test"], "quota": ["100/hour"]});
    let secret = ok(&stage, "POST", ACCOUNTS, new).await["secret"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(secret.len() > 20, "{secret}");
    let path = format!("{ACCOUNTS}/billing");
    ok(
        &stage,
        "PATCH",
        &path,
        json!({"password": "correct horse battery"}),
    )
    .await;
    ok(
        &stage,
        "PATCH",
        &path,
        json!({"identities": ["oauth:system:serviceaccount:shop:billing"]}),
    )
    .await;
    ok(&stage, "PATCH", &path, json!({"enabled": false})).await;
    let second = ok(&stage, "POST", &format!("{path}/apps"), json!({"label": "cron"})).await;
    assert!(second["secret"].is_string());
    let answer = stage.admin_get(&path).await;
    assert!(
        !answer.body.contains(&secret) && !answer.body.contains("horse"),
        "{}",
        answer.body
    );
    let shown = answer.json();
    assert_eq!(
        (&shown["password"], &shown["enabled"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(shown["quota"], json!(["100/hour"]));
    assert_eq!(shown["apps"].as_array().unwrap().len(), 2);
    ok(&stage, "DELETE", &format!("{path}/apps/cron"), json!({})).await;
    ok(&stage, "DELETE", &path, json!({})).await;
    assert_eq!(
        refused(&stage, "DELETE", &path, json!({})).await,
        (404, "not_found".into())
    );
}

#[tokio::test]
async fn a_wrong_change_says_what_is_wrong_and_changes_nothing() {
    let stage = Stage::open(false).await;
    for (path, body, expected) in [
        (
            ACCOUNTS,
            json!({"name": "a", "senders": ["a*@x.test"]}),
            (422, "invalid"),
        ),
        (
            ACCOUNTS,
            json!({"name": "a", "quota": ["many"]}),
            (422, "invalid"),
        ),
        (
            ACCOUNTS,
            json!({"name": "a", "app": true, "password": "long enough"}),
            (400, "bad_request"),
        ),
        (
            ACCOUNTS,
            json!({"name": "a", "pasword": "long enough"}),
            (400, "bad_request"),
        ),
        (
            ACCOUNTS,
            json!({"name": "a", "password": "short"}),
            (422, "invalid"),
        ),
        (
            DOMAINS,
            json!({"name": "x.test", "deliver": "nowhere"}),
            (422, "invalid"),
        ),
        (
            "/api/v1/aliases",
            json!({"name": "a@declared.test", "to": ["nobody"]}),
            (422, "invalid"),
        ),
        (
            "/api/v1/dkim",
            json!({"domain": "x.test", "selector": "s"}),
            (400, "bad_request"),
        ),
    ] {
        let (status, code) = refused(&stage, "POST", path, body.clone()).await;
        assert_eq!((status, code.as_str()), expected, "{body}");
    }
    let path = format!("{ACCOUNTS}/ann@declared.test");
    for body in [json!({}), json!({"enabled": true, "quota": []})] {
        assert_eq!(
            refused(&stage, "PATCH", &path, body).await,
            (400, "bad_request".into())
        );
    }
    assert_eq!(
        stage.admin_get(ACCOUNTS).await.json()["entries"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn aliases_come_change_and_go() {
    let stage = Stage::open(false).await;
    let new = json!({"name": "sales@declared.test", "to": ["ann@declared.test"]});
    ok(&stage, "POST", "/api/v1/aliases", new).await;
    let path = "/api/v1/aliases/sales@declared.test";
    ok(
        &stage,
        "PATCH",
        path,
        json!({"to": ["crm@partner.test", "ann@declared.test"]}),
    )
    .await;
    assert_eq!(
        stage.admin_get(path).await.json()["to"],
        json!(["crm@partner.test", "ann@declared.test"])
    );
    ok(&stage, "DELETE", path, json!({})).await;
    assert_eq!(stage.admin_get(path).await.status, 404);
}

#[tokio::test]
async fn keys_are_made_compared_with_dns_and_rotated() {
    let stage = Stage::open(false).await;
    let made = ok(&stage, "POST", "/api/v1/dkim", json!({"domain": "declared.test"})).await;
    let keys = made["keys"].as_array().unwrap().clone();
    assert_eq!(
        (&keys[0]["algorithm"], &keys[1]["algorithm"]),
        (&json!("rsa"), &json!("ed25519"))
    );
    assert!(!made.to_string().contains("PRIVATE"), "{made}");

    let check = json!({"domain": "declared.test"});
    let checked = ok(&stage, "POST", "/api/v1/dkim/check", check.clone()).await;
    assert_eq!(checked["keys"][0]["verifies"], false);
    for key in &keys {
        let record = ["record_name", "record_value"].map(|name| key[name].as_str().unwrap().to_owned());
        let [name, value] = record;
        stage.rooms.txt.lock().unwrap().push((name, value));
    }
    let checked = ok(&stage, "POST", "/api/v1/dkim/check", check).await;
    assert_eq!(
        (&checked["keys"][0]["verifies"], &checked["keys"][1]["verifies"]),
        (&json!(true), &json!(true))
    );

    let rotate = json!({"domain": "declared.test", "overlap": 3600});
    let made = ok(&stage, "POST", "/api/v1/dkim/rotate", rotate).await;
    assert_eq!(made["keys"][0]["state"], "published");
    let listed = stage.admin_get("/api/v1/dkim").await.json();
    let states: Vec<_> = listed["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["state"].clone())
        .collect();
    assert_eq!(
        states.iter().filter(|state| **state == "retiring").count(),
        2,
        "{states:?}"
    );
    assert_eq!(
        states.iter().filter(|state| **state == "published").count(),
        2,
        "{states:?}"
    );
    let old = keys[0]["selector"].as_str().unwrap();
    ok(
        &stage,
        "DELETE",
        &format!("/api/v1/dkim/declared.test/{old}"),
        json!({}),
    )
    .await;
    assert_eq!(
        refused(&stage, "POST", "/api/v1/dkim/check", json!({"domain": "x.test"}))
            .await
            .0,
        404
    );
}
