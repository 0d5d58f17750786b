//! Who is let in, and what is kept out.

use super::stage::{PASSWORD, Stage, exchange, exchange_from, exchange_over, request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use smtp_queue::State;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

#[tokio::test]
async fn the_api_is_for_the_admin() {
    let stage = Stage::open(false).await;
    let answer = stage.get("/api/v1/status").await;
    assert_eq!(answer.status, 401);
    assert!(
        answer.head.contains("www-authenticate: Basic realm="),
        "{}",
        answer.head
    );
    assert_eq!(answer.json()["error"]["code"], "unauthorized");
    assert_eq!(
        stage.metric("smtp_admin_requests_denied_total"),
        "0",
        "no password is not a guess"
    );
    assert_eq!(stage.get("/api/v1/nothing").await.status, 401);
    assert_eq!(stage.admin_get("/api/v1/nothing").await.status, 404);
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    assert_eq!(
        stage
            .get_as("/api/v1/status", &basic(&format!("admin:{PASSWORD}")))
            .await
            .status,
        200
    );
    assert_eq!(
        stage.get_as("/api/v1/status", &basic("admin:guess")).await.status,
        401
    );
    assert_eq!(stage.metric("smtp_admin_requests_denied_total"), "1");
    stage.rooms.no_password.store(true, Ordering::SeqCst);
    assert_eq!(stage.admin_get("/api/v1/status").await.status, 403);
    assert_eq!(stage.get_as("/api/v1/status", "Bearer ").await.status, 403);
}

#[tokio::test]
async fn guessing_is_stopped_and_probes_go_on() {
    let stage = Stage::open(false).await;
    for _ in 0..10 {
        assert_eq!(stage.get_as("/api/v1/queue", "Bearer guess").await.status, 401);
    }
    let blocked = stage.admin_get("/api/v1/queue").await;
    assert_eq!(blocked.status, 429);
    assert!(blocked.head.contains("retry-after: "), "{}", blocked.head);
    assert_eq!(stage.metric("smtp_admin_requests_denied_total"), "10");
    assert_eq!(stage.get("/health/ready").await.status, 200);
    assert_eq!(stage.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn guesses_at_the_console_that_are_begun_together_are_counted_one_by_one() {
    let stage = Stage::open(false).await;
    let mut begun = Vec::new();
    for password in ["guess"; 12].iter().chain(&[PASSWORD]) {
        let body = format!("password={}", password.replace(' ', "+"));
        let (first, rest) = body.split_at(4);
        let head = "POST /ui/login HTTP/1.1\r\nHost: x\r\nConnection: close";
        let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{first}", body.len());
        let mut stream = TcpStream::connect(stage.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        begun.push((stream, rest.to_owned()));
    }
    // All of them wait for the rest of their bodies, and nobody has failed yet.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut answers = Vec::new();
    for (stream, rest) in begun {
        answers.push(exchange_over(stream, &rest).await.status);
    }
    assert_eq!(
        answers,
        [[401; 10].as_slice(), &[429; 3]].concat(),
        "the right one too"
    );
    assert_eq!(stage.metric("smtp_admin_requests_denied_total"), "10");
}

#[tokio::test]
async fn guesses_at_tokens_that_come_all_at_once_are_counted_one_by_one() {
    let stage = Stage::open(false).await;
    let gate = stage.rooms.store.gate.lock().await;
    let guess = format!("smtp_{}", "x".repeat(43));
    let asked = request(Some(&guess), "GET", "/api/v1/status", &json!({}));
    let (address, mut guesses) = (stage.address, JoinSet::new());
    for _ in 0..13 {
        let asked = asked.clone();
        guesses.spawn(async move { exchange(address, &asked).await });
    }
    // All of them are looked up, and nobody has failed yet.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(guesses.try_join_next().is_none());
    drop(gate);
    let answers = guesses.join_all().await;
    let told = answers.iter().filter(|answer| answer.status == 401).count();
    let not = answers.iter().filter(|answer| answer.status == 429).count();
    assert_eq!((told, not), (10, 3));
    assert_eq!(stage.metric("smtp_admin_requests_denied_total"), "10");
}

#[tokio::test]
async fn guesses_at_the_password_are_counted_while_the_store_is_away() {
    let stage = Stage::open(false).await;
    stage.rooms.recovering.store(true, Ordering::SeqCst);
    for _ in 0..10 {
        assert_eq!(stage.get_as("/api/v1/queue", "Bearer guess").await.status, 401);
    }
    assert_eq!(stage.admin_get("/api/v1/status").await.status, 429);
}

#[tokio::test]
async fn thousands_who_guess_keep_out_no_operator() {
    let stage = Stage::open(false).await;
    let asked = |token| request(Some(token), "GET", "/api/v1/status", &json!({}));
    let (right, wrong) = (asked(PASSWORD), asked("guess"));
    let form = format!("password={}", PASSWORD.replace(' ', "+"));
    let length = form.len();
    let login = format!(
        "POST /ui/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{form}"
    );
    let (here, api, console, newcomer) = ([127, 0, 0, 1], [127, 1, 0, 1], [127, 1, 0, 2], [127, 1, 0, 3]);
    assert_eq!(exchange_from(api, stage.address, &right).await.status, 200);
    assert_eq!(exchange_from(console, stage.address, &login).await.status, 303);
    let mut last = 0;
    for n in 0..4096_u16 + 11 {
        let [high, low] = n.to_be_bytes();
        last = exchange_from([127, 2, high, low], stage.address, &wrong)
            .await
            .status;
    }
    assert_eq!(last, 429, "there is no count of its own left");
    assert_eq!(exchange_from(newcomer, stage.address, &right).await.status, 429);
    for operator in [here, api, console] {
        let answer = exchange_from(operator, stage.address, &right).await;
        assert_eq!(answer.status, 200, "{operator:?}");
    }
}

#[tokio::test]
async fn a_head_takes_little_memory() {
    let stage = Stage::open(false).await;
    let with = |octets| {
        format!(
            "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: {}\r\n\r\n",
            "x".repeat(octets)
        )
    };
    let usual = exchange(stage.address, &with(16 << 10)).await;
    assert_eq!(usual.status, 200);
    let large = exchange(stage.address, &with(40 << 10)).await;
    // What is on its way when the connection is closed can take the answer with it.
    assert!(matches!(large.status, 431 | 0), "{}", large.status);
}

#[tokio::test]
async fn a_form_cannot_change_anything() {
    let stage = Stage::open(false).await;
    stage.rooms.store.add("a@x.test", "b@y.test", State::Queued);
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
    ] {
        let answer = stage
            .admin_post("/api/v1/queue/delete", kind, r#"{"all":true}"#)
            .await;
        assert_eq!(answer.status, 415, "{kind}");
        assert_eq!(
            stage.admin_post("/api/v1/reload", kind, "").await.status,
            415,
            "{kind}"
        );
    }
    assert_eq!(stage.rooms.store.messages.lock().unwrap().len(), 1);
    assert_eq!(stage.admin_get("/api/v1/queue/delete").await.status, 405);
}

#[tokio::test]
async fn garbage_is_refused_in_words() {
    let stage = Stage::open(false).await;
    let delete = "/api/v1/queue/delete";
    for body in [
        "",
        "{",
        "[]",
        "{\"all\":\"yes\"}",
        "{\"everything\":true}",
        "\u{0}",
    ] {
        let answer = stage.admin_post(delete, "application/json", body).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (400, &json!("bad_request")),
            "{body:?}"
        );
    }
    let huge = format!("{{\"domain\":\"{}\"}}", "x".repeat(70_000));
    assert_eq!(
        stage.admin_post(delete, "application/json", &huge).await.status,
        413
    );
    for raw in [
        "EHLO x\r\n\r\n",
        "\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET /health/live HTTP/9.9\r\n\r\n",
    ] {
        assert!(
            matches!(exchange(stage.address, raw).await.status, 0 | 400),
            "{raw:?}"
        );
    }
    assert_eq!(stage.get("/health/live").await.status, 200);
}
