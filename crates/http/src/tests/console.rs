//! The console's pages: who gets in, what they show, and what a form has to have.

use super::stage::{Answer, PASSWORD, Stage, exchange};
use smtp_queue::State;

pub(super) async fn get(stage: &Stage, path: &str, cookie: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n");
    exchange(stage.address, &request).await
}

pub(super) async fn post(stage: &Stage, path: &str, cookie: &str, more: &str, body: &str) -> Answer {
    exchange(stage.address, &form(path, cookie, more, body)).await
}

/// A form as a browser sends it.
pub(super) fn form(path: &str, cookie: &str, more: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: {cookie}\r\n{more}Content-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The cookie of a session, and its token.
pub(super) async fn log_in(stage: &Stage) -> (String, String) {
    let body = format!("password={}", PASSWORD.replace(' ', "+"));
    let answer = post(stage, "/ui/login", "", "", &body).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    let line = answer
        .head
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "));
    let line = line.expect("a cookie");
    assert!(line.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{line}");
    let cookie = line.split(';').next().unwrap().to_owned();
    let page = get(stage, "/", &cookie).await;
    let csrf = page.body.split("name=\"csrf\" value=\"").nth(1).unwrap();
    (cookie, csrf.split('"').next().unwrap().to_owned())
}

const PAGES: [&str; 10] = [
    "/",
    "/ui/queue",
    "/ui/destinations",
    "/ui/captured",
    "/ui/sessions",
    "/ui/directory",
    "/ui/config",
    "/ui/audit",
    "/ui/tokens",
    "/ui/queue?state=deferred&domain=y.test&older_than=",
];

#[tokio::test]
async fn nobody_looks_without_a_session() {
    let stage = Stage::open(false).await;
    for page in PAGES {
        for cookie in ["", "smtp_console=", "smtp_console=guess"] {
            let answer = get(&stage, page, cookie).await;
            assert_eq!(answer.status, 303, "{page}: {answer:?}");
            assert!(answer.head.contains("location: /ui/login"), "{answer:?}");
        }
    }
    for path in ["/ui/queue", "/ui/destinations", "/ui/captured", "/ui/logout"] {
        assert_eq!(
            post(&stage, path, "", "", "action=delete&meant=all&confirmed=yes")
                .await
                .status,
            303,
            "{path}"
        );
    }
    let form = stage.get("/ui/login").await;
    assert_eq!(form.status, 200);
    assert!(!form.body.contains("csrf"), "who is not in has no token");
}

#[tokio::test]
async fn pages_show_what_there_is_and_nothing_of_it_is_markup() {
    let stage = Stage::open(false).await;
    stage
        .rooms
        .store
        .add("\"<script>\"@x.test", "b@y.test", State::Deferred);
    let (cookie, _) = log_in(&stage).await;
    for page in PAGES {
        let answer = get(&stage, page, &cookie).await;
        assert_eq!(answer.status, 200, "{page}: {answer:?}");
        assert!(!answer.body.contains("<script>\""), "{page}");
        assert!(
            !answer.body.contains(" style=") && !answer.body.contains("onclick"),
            "{page}"
        );
        let policy = answer
            .head
            .lines()
            .find(|line| line.starts_with("content-security-policy: "));
        assert!(policy.unwrap().contains("default-src 'none'"), "{page}");
        assert!(answer.head.contains("cache-control: no-store"), "{page}");
    }
    let queue = get(&stage, "/ui/queue", &cookie).await.body;
    assert!(
        queue.contains("&#60;script&#62;&#34;@x.test") && queue.contains("b@y.test: deferred."),
        "{queue}"
    );
    let destinations = get(&stage, "/ui/destinations", &cookie).await.body;
    assert!(destinations.contains("b.test:25") && destinations.contains("connection refused"));
    assert_eq!(
        get(&stage, "/ui/queue?sate=x", &cookie).await.status,
        400,
        "as the API"
    );
    for asset in ["/ui/style.css", "/ui/live.js"] {
        assert_eq!(stage.get(asset).await.status, 200);
    }
    // The cookie opens pages only.
    assert_eq!(get(&stage, "/api/v1/status", &cookie).await.status, 401);
}

#[tokio::test]
async fn a_change_is_counted_first_and_needs_the_sessions_token() {
    let stage = Stage::open(false).await;
    let id = stage.rooms.store.add("a@x.test", "b@y.test", State::Deferred);
    let (cookie, csrf) = log_in(&stage).await;
    let body = format!("csrf={csrf}&meant=ticked&ids={id}&action=delete");
    let asked = post(&stage, "/ui/queue", &cookie, "", &body).await;
    assert!(
        asked.status == 200 && asked.body.contains("would touch 1 message."),
        "{asked:?}"
    );
    assert_eq!(
        stage.rooms.store.messages.lock().unwrap().len(),
        1,
        "asking changes nothing"
    );
    for (more, body) in [
        ("", "meant=all&action=delete&confirmed=yes".to_owned()),
        ("", "csrf=x&meant=all&action=delete&confirmed=yes".to_owned()),
        (
            "Sec-Fetch-Site: cross-site\r\n",
            format!("csrf={csrf}&meant=all&action=delete&confirmed=yes"),
        ),
        (
            "Origin: http://evil\r\n",
            format!("csrf={csrf}&meant=all&action=delete&confirmed=yes"),
        ),
    ] {
        let answer = post(&stage, "/ui/queue", &cookie, more, &body).await;
        assert_eq!(answer.status, 403, "{answer:?}");
    }
    let nothing = post(
        &stage,
        "/ui/queue",
        &cookie,
        "",
        &format!("csrf={csrf}&meant=ticked&action=delete&confirmed=yes"),
    )
    .await;
    assert!(
        nothing.status == 400 && nothing.body.contains("no message is ticked"),
        "{nothing:?}"
    );
    assert_eq!(stage.rooms.store.messages.lock().unwrap().len(), 1);
    let done = post(
        &stage,
        "/ui/queue",
        &cookie,
        "Sec-Fetch-Site: same-origin\r\n",
        &format!("{body}&confirmed=yes"),
    )
    .await;
    assert!(
        done.status == 200 && done.body.contains("delete: 1 message."),
        "{done:?}"
    );
    assert!(stage.rooms.store.messages.lock().unwrap().is_empty());
    let trail = stage.rooms.store.trail.lock().unwrap();
    assert_eq!((&*trail[0].who, &*trail[0].action), ("admin", "queue.delete"));
}

#[tokio::test]
async fn mail_is_suspended_and_resumed() {
    let stage = Stage::open(false).await;
    let (cookie, csrf) = log_in(&stage).await;
    let suspend = format!("csrf={csrf}&action=suspend&kind=domain&name=y.test&reason=moved&expires_in=600");
    assert_eq!(
        post(&stage, "/ui/destinations", &cookie, "", &suspend)
            .await
            .status,
        303
    );
    let page = get(&stage, "/ui/destinations", &cookie).await.body;
    assert!(page.contains("domain y.test") && page.contains("moved"), "{page}");
    let resume = format!("csrf={csrf}&action=resume&kind=domain&name=y.test");
    assert_eq!(
        post(&stage, "/ui/destinations", &cookie, "", &resume)
            .await
            .status,
        303
    );
    assert!(
        get(&stage, "/ui/destinations", &cookie)
            .await
            .body
            .contains("Nothing is suspended.")
    );
    let wrong = format!("csrf={csrf}&action=suspend&kind=planet&name=y.test");
    assert_eq!(
        post(&stage, "/ui/destinations", &cookie, "", &wrong).await.status,
        400
    );
}

#[tokio::test]
async fn wrong_passwords_are_counted_with_the_apis() {
    let stage = Stage::open(false).await;
    for _ in 0..10 {
        let answer = post(&stage, "/ui/login", "", "", "password=guess").await;
        assert!(
            answer.status == 401 && answer.body.contains("That is not the admin password."),
            "{answer:?}"
        );
    }
    let body = format!("password={}", PASSWORD.replace(' ', "+"));
    assert_eq!(post(&stage, "/ui/login", "", "", &body).await.status, 429);
    assert_eq!(stage.admin_get("/api/v1/status").await.status, 429);
    assert_eq!(stage.metric("smtp_admin_requests_denied_total"), "10");
}

#[tokio::test]
async fn who_logged_out_is_out() {
    let stage = Stage::open(false).await;
    let (cookie, csrf) = log_in(&stage).await;
    assert_eq!(
        post(&stage, "/ui/logout", &cookie, "", "csrf=x").await.status,
        303
    );
    assert_eq!(
        get(&stage, "/", &cookie).await.status,
        200,
        "somebody else's form ends no session"
    );
    assert_eq!(
        post(&stage, "/ui/logout", &cookie, "", &format!("csrf={csrf}"))
            .await
            .status,
        303
    );
    assert_eq!(get(&stage, "/", &cookie).await.status, 303);
}

#[tokio::test]
async fn captured_mail_cannot_do_anything() {
    let stage = Stage::open(false).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("new")).unwrap();
    let message = "Subject: <b>hello\r\nContent-Type: text/html\r\n\r\n<script>alert(1)</script><p>text\r\n";
    std::fs::write(folder.path().join("new/1.a"), message).unwrap();
    stage.rooms.captured.set(folder.path().to_owned()).unwrap();
    let (cookie, csrf) = log_in(&stage).await;
    let list = get(&stage, "/ui/captured", &cookie).await.body;
    assert!(
        list.contains("&#60;b&#62;hello") && list.contains("1 message captured."),
        "{list}"
    );
    let page = get(&stage, "/ui/captured/1.a", &cookie).await.body;
    assert!(
        page.contains("<iframe sandbox=\"\"") && !page.contains("<script>alert"),
        "{page}"
    );
    let html = get(&stage, "/ui/captured/1.a/html", &cookie).await;
    let policy = html
        .head
        .lines()
        .find(|line| line.starts_with("content-security-policy: "))
        .unwrap();
    assert!(
        policy.contains("sandbox; default-src 'none'; img-src data:"),
        "{policy}"
    );
    let source = get(&stage, "/ui/captured/1.a/source", &cookie).await;
    assert!(
        source.head.contains("content-type: text/plain") && source.body == message,
        "{source:?}"
    );
    assert_eq!(
        get(&stage, "/ui/captured/..%2f..%2fetc%2fpasswd", &cookie)
            .await
            .status,
        404
    );
    assert_eq!(get(&stage, "/ui/captured/2.b", &cookie).await.status, 404);
    let delete = format!("csrf={csrf}&action=delete&name=1.a");
    assert_eq!(
        post(&stage, "/ui/captured", &cookie, "", &delete).await.status,
        303
    );
    assert!(
        get(&stage, "/ui/captured", &cookie)
            .await
            .body
            .contains("0 messages captured.")
    );
}
