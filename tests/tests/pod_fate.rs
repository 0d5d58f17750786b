//! What a pod makes of the API server's answers, and of none: only one that says so in its own words sends it away for good.

use crate::farewell::{back, deferred, pod, send, since_the_signal, stopped};
use blackbox::api_server::{ApiServer, statefulset};
use blackbox::ports::free_port;
use blackbox::server::{PASSWORD, Setup, binary, ended};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::tools::outcome;
use blackbox::wait_for;
use serde_json::json;
use std::process::Command;

#[test]
fn numbers_begin_where_the_statefulset_says() {
    let (api, sink) = (ApiServer::start(2), Sink::start());
    for (start, replicas, event) in [
        (1, 1, "pod_comes_back"),
        (0, 1, "pod_leaves"),
        (2, 3, "pod_leaves"),
    ] {
        api.has(json!({"replicas": replicas, "ordinals": {"start": start}}));
        let mut server = pod(&api, sink.address, "");
        assert!(server.stop().success());
        assert_eq!(server.events(event).len(), 1, "from {start} on {replicas}");
    }
    let missing = json!({"kind": "Status", "reason": "NotFound", "details": {"name": "smtp-server", "kind": "statefulsets"}});
    api.answers(404, &missing);
    let mut server = pod(&api, sink.address, "");
    assert!(server.stop().success());
    let leaves = server.wait_event("pod_leaves", |_| true);
    assert_eq!(leaves["why"], "there is no StatefulSet smtp-server any more");
}

#[test]
fn while_nobody_says_it_is_the_drain_of_a_pod_that_comes_back() {
    let (api, hop) = (ApiServer::start(2), free_port());
    let mut server = pod(&api, hop, "");
    deferred(&server, 1);
    let sink = back(hop);
    let forbidden = json!({"kind": "Status", "reason": "Forbidden", "code": 403,
        "message": "statefulsets.apps \"smtp-server\" is forbidden"});
    let mut other = statefulset(json!({"replicas": 0}));
    other["metadata"]["name"] = json!("other");
    let set_up: [(&str, &dyn Fn()); 7] = [
        (
            "403: statefulsets.apps \"smtp-server\" is forbidden; the ServiceAccount must be allowed",
            &|| {
                api.answers(403, &forbidden);
            },
        ),
        ("answered 404; is kubernetes.api", &|| {
            api.answers(404, &json!("not found"))
        }),
        ("no StatefulSet", &|| api.answers(200, &other)),
        ("the request failed", &|| api.behaves("garbage")),
        (
            "no answer in time: operation timed out; a NetworkPolicy may close the way: name the API server's addresses and ports in allow-api-server",
            &|| api.behaves("never"),
        ),
        ("octets", &|| api.behaves("endless")),
        ("token: it is empty", &|| api.token("\n")),
    ];
    for (reason, set_up) in set_up {
        set_up();
        assert!(server.stop().success());
        server.wait_event("stopped", |_| true);
        let said = since_the_signal(&server, "pod_fate_unknown");
        assert_eq!(said.len(), 1, "{reason}: {said:?}");
        assert!(
            said[0]["error"].as_str().expect("text").contains(reason),
            "{reason}: {said:?}"
        );
        assert!(since_the_signal(&server, "delivery").is_empty(), "{reason}");
        assert_eq!(
            stopped(&server),
            json!({"queued": 1, "left_behind": null}),
            "{reason}"
        );
        server = server.restart();
    }
    assert_eq!(sink.count(), 0);
    // The API server is one that nobody vouches for: no token is shown to it.
    api.token("secret");
    let stranger = ApiServer::start(0);
    std::fs::copy(
        stranger.credentials().join("ca.crt"),
        api.credentials().join("ca.crt"),
    )
    .expect("copy");
    assert!(server.stop().success());
    let said = since_the_signal(&server, "pod_fate_unknown");
    assert!(
        said[0]["error"].as_str().expect("text").contains("certificate"),
        "{said:?}"
    );
    assert!(api.asked().iter().all(|(_, token)| token != "Bearer secret"));
}

#[test]
fn nothing_is_begun_while_it_is_asked() {
    let api = ApiServer::start(1);
    let later = Sink::scripted(|_, moment| match moment {
        Moment::Command(line) if line.starts_with("RCPT") => Act::Say("450 4.2.0 later".into()),
        _ => Act::Default,
    });
    let mut server = pod(
        &api,
        later.address,
        "[delivery]\nretry_initial = 1\nretry_max = 1\n",
    );
    send(&server, "b@y.test");
    wait_for("it to be tried again and again", || {
        server.events("delivery").len() > 2
    });
    api.behaves("never");
    assert!(server.stop().success());
    server.wait_event("stopped", |_| true);
    // Five seconds are asked for; what was under way may have ended.
    let tried = since_the_signal(&server, "delivery").len();
    assert!(tried <= 1, "{tried} attempts");
}

#[test]
fn the_token_is_the_one_of_the_moment() {
    let (api, hop) = (ApiServer::start(2), free_port());
    let mut server = pod(&api, hop, "");
    deferred(&server, 1);
    wait_for("the question after the start", || api.asked().len() == 1);
    let sink = back(hop);
    api.wants("second", json!({"replicas": 1}));
    api.token("second");
    assert!(server.stop().success());
    server.wait_event("nothing_left_behind", |_| true);
    let tokens: Vec<String> = api.asked().into_iter().map(|(_, token)| token).collect();
    assert_eq!(tokens, ["Bearer first", "Bearer second"]);
    assert_eq!(sink.count(), 1);
}

#[test]
fn the_start_and_check_say_what_is_missing() {
    let (api, sink) = (ApiServer::start(2), Sink::start());
    std::fs::remove_file(api.credentials().join("token")).expect("remove");
    let server = pod(&api, sink.address, "");
    for event in ["config_warning", "pod_fate_unknown"] {
        server.wait_event(event, |line| line.to_string().contains("/pod/token: "));
    }
    assert_eq!(server.metric("smtp_pod_fate_unknown_total"), 1.0);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    let check = |config: &str, env: &[(&str, &str)]| {
        std::fs::write(&file, config).expect("write");
        let mut command = Command::new(binary());
        command
            .arg("check")
            .arg("--config")
            .arg(&file)
            .current_dir(folder.path())
            .env_clear()
            .envs([("SMTP_PROFILE", "testing"), ("SMTP_ADMIN_PASSWORD", PASSWORD)])
            .envs(env.iter().copied());
        outcome(&mut command)
    };
    let (good, said) = check(&api.config(1), &[]);
    assert!(
        good && said.contains("warning: ") && said.contains("/pod/token: "),
        "{said}"
    );
    api.token("first");
    let (good, said) = check(&api.config(1), &[]);
    assert!(good && !said.contains("warning"), "{said}");
    let (good, said) = check(
        "[kubernetes]\nstatefulset = \"smtp-server\"\npod = \"smtp-server-0\"\n",
        &[],
    );
    assert!(good && said.contains("KUBERNETES_SERVICE_HOST"), "{said}");
    let database = [("SMTP_DATABASE_URL", "postgresql://smtp@db.test/smtp")];
    let (good, said) = check(&api.config(1), &database);
    assert!(
        good && said.contains("kubernetes.statefulset: it does nothing with storage.url"),
        "{said}"
    );
    for (wrong, reason) in [
        (api.config(1).replace("https://", "http://"), "kubernetes.api: "),
        (api.config(1) + "handover = 181\n", "kubernetes.handover: "),
        (
            api.config(1).replace("smtp-server-1", "web-1"),
            "kubernetes.pod: ",
        ),
    ] {
        let (good, said) = check(&wrong, &[]);
        assert!(!good && said.contains(reason), "{said}");
        assert_eq!(ended(&Setup::new(wrong)).status.code(), Some(78));
    }
}
