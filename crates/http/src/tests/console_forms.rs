//! What the console's forms change: the directory, webhooks.

use super::console::{get, log_in, post};
use super::stage::{Answer, Stage};

/// What a form of the directory leads to.
async fn directory_form(stage: &Stage, (cookie, csrf): &(String, String), fields: &str) -> Answer {
    let body = format!("csrf={csrf}&{fields}");
    post(stage, "/ui/directory", cookie, "", &body).await
}

#[tokio::test]
async fn who_is_who_is_changed_by_forms() {
    let stage = Stage::open(false).await;
    let session = log_in(&stage).await;
    let (cookie, _) = &session;
    let refused = post(
        &stage,
        "/ui/directory",
        cookie,
        "",
        "what=account&action=add&name=shop",
    )
    .await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let made = directory_form(
        &stage,
        &session,
        "what=account&action=add&login=secret&name=shop%26co&senders=a@x.test%0D%0A%0D%0A*@y.test&quota=5/hour",
    )
    .await;
    assert!(
        made.status == 200 && made.body.contains("shown this once"),
        "{made:?}"
    );
    let page = get(&stage, "/ui/directory", cookie).await.body;
    assert!(
        page.contains("a@x.test, *@y.test") && page.contains("5/hour"),
        "{page}"
    );
    assert!(page.contains("what=account&#38;name=shop%26co\""), "{page}");
    let entry = "/ui/directory/entry?what=account&name=shop%26co";
    for (fields, shown) in [
        (
            "action=set&change=senders&senders=b@x.test",
            "b@x.test</textarea>",
        ),
        ("action=set&change=quota&quota=", "rows=\"2\"></textarea>"),
        ("action=set&change=enabled&enabled=no", "It may not log in."),
        ("action=set&change=enabled&enabled=yes", "It may log in."),
        ("action=add-app&label=crm", "The program crm has a secret since "),
        ("action=remove-app&label=crm", "Back to the directory"),
    ] {
        let answer = directory_form(&stage, &session, &format!("what=account&name=shop%26co&{fields}")).await;
        assert!([200, 303].contains(&answer.status), "{fields}: {answer:?}");
        let page = get(&stage, entry, cookie).await.body;
        assert!(page.contains(shown), "{fields}: {page}");
    }
    for fields in [
        "what=domain&action=add&name=new.test&deliver=capture",
        "what=domain&action=set&name=new.test&deliver=capture&recipients=any",
        "what=alias&action=add&name=sales@new.test&to=a@x.test",
        "what=alias&action=set&name=sales@new.test&to=b@x.test%0Ac@x.test",
    ] {
        assert_eq!(
            directory_form(&stage, &session, fields).await.status,
            303,
            "{fields}"
        );
    }
    let page = get(&stage, "/ui/directory", cookie).await.body;
    assert!(
        page.contains("<td>any</td>") && page.contains("b@x.test, c@x.test"),
        "{page}"
    );
    for (fields, status) in [
        ("what=domain&action=add&name=bad.test&deliver=nowhere", 422),
        ("what=domain&action=remove&name=new.test", 409),
        ("what=domain&action=set&name=declared.test&deliver=capture", 409),
        ("what=account&action=set&name=shop%26co&change=colour", 400),
        ("what=planet&action=add&name=x", 400),
        ("what=alias&action=remove&name=none@new.test", 404),
        ("what=key&action=rotate&name=new.test&overlap=soon", 400),
    ] {
        assert_eq!(
            directory_form(&stage, &session, fields).await.status,
            status,
            "{fields}"
        );
    }
    let keys = directory_form(
        &stage,
        &session,
        "what=key&action=add&domain=new.test&algorithm=ed25519",
    )
    .await;
    assert!(
        keys.status == 200 && keys.body.contains("v=DKIM1; k=ed25519"),
        "{keys:?}"
    );
    let link = get(&stage, "/ui/directory", cookie).await.body;
    let selector = link
        .split("selector=")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    let key = format!("/ui/directory/entry?what=key&name=new.test&selector={selector}");
    assert!(
        get(&stage, &key, cookie)
            .await
            .body
            .contains("The record to publish")
    );
    for fields in [
        format!("what=key&action=remove&name=new.test&selector={selector}"),
        "what=domain&action=remove&name=new.test&force=yes".to_owned(),
        "what=alias&action=remove&name=sales@new.test".to_owned(),
        "what=account&action=remove&name=shop%26co".to_owned(),
    ] {
        assert_eq!(
            directory_form(&stage, &session, &fields).await.status,
            303,
            "{fields}"
        );
    }
    let page = get(&stage, "/ui/directory", cookie).await.body;
    assert!(!page.contains("new.test") && !page.contains("shop"), "{page}");
    let declared = get(
        &stage,
        "/ui/directory/entry?what=domain&name=declared.test",
        cookie,
    )
    .await
    .body;
    assert!(
        declared.contains("changed there") && !declared.contains("Remove"),
        "{declared}"
    );
    assert_eq!(
        get(&stage, "/ui/directory/entry?what=alias&name=x", cookie)
            .await
            .status,
        404
    );
    let trail = stage.rooms.store.trail.lock().unwrap();
    assert!(trail.iter().all(|record| &*record.who == "admin"));
    assert_eq!(
        trail
            .iter()
            .filter(|record| record.action.starts_with("account."))
            .count(),
        8
    );
}

#[tokio::test]
async fn webhooks_are_seen_and_retried() {
    let stage = Stage::open(false).await;
    let (cookie, csrf) = log_in(&stage).await;
    let page = get(&stage, "/ui/destinations", &cookie).await.body;
    assert!(
        page.contains("crm") && page.contains("the receiver answered 503"),
        "{page}"
    );
    for (name, status) in [("crm", 303), ("none", 404)] {
        let body = format!("csrf={csrf}&action=retry-webhook&name={name}");
        assert_eq!(
            post(&stage, "/ui/destinations", &cookie, "", &body).await.status,
            status
        );
    }
    assert_eq!(
        &*stage.rooms.store.trail.lock().unwrap()[0].action,
        "webhook.retry"
    );
}
