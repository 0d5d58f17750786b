//! A pod of a StatefulSet that is scaled away tries its mail once more before it goes; one that comes back, or that cannot know, does not.

use blackbox::api_server::{ApiServer, statefulset};
use blackbox::postfix::free_port;
use blackbox::server::{PASSWORD, Server, Setup, binary, ended};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::wait_for;
use blackbox::wire::{Wire, queue_id};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;

/// The pod with number 1, whose next hop is at that address.
fn pod(api: &ApiServer, next_hop: SocketAddr, more: &str) -> Server {
    let relay = format!("[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{next_hop}\"\n");
    Server::with(&format!("{relay}{}{more}", api.config(1)))
}

/// A next hop on a port that was closed before.
fn back(address: SocketAddr) -> Sink {
    Sink::on(&address.to_string(), &["PIPELINING", "8BITMIME"], |_, _| {
        Act::Default
    })
}

/// One that takes connections and is silent.
fn silent() -> Sink {
    Sink::scripted(|_, _| Act::Hang)
}

fn send(server: &Server, to: &str) -> String {
    let reply = Wire::hello(server.smtp).mail("a@x.test", &[to], "text\r\n");
    assert_eq!(reply.code, 250, "{reply:?}");
    queue_id(&reply)
}

/// So many messages that the next hop did not take.
fn deferred(server: &Server, count: usize) -> Vec<String> {
    let ids = (0..count).map(|number| send(server, &format!("b{number}@y.test")));
    let ids = ids.collect();
    wait_for("all to be deferred", || {
        server.metric("smtp_queue_recipients{state=\"deferred\"}") == count as f64
    });
    ids
}

/// The lines of one event since the drain began.
fn since_the_signal(server: &Server, event: &str) -> Vec<Value> {
    let log = server.log();
    let drain = log.iter().skip_while(|line| line["event"] != "stopping");
    drain.filter(|line| line["event"] == event).cloned().collect()
}

/// What the last line says.
fn stopped(server: &Server) -> Value {
    let last = server.wait_event("stopped", |_| true);
    json!({"queued": last["queued"], "left_behind": last["left_behind"]})
}

fn status(server: &Server) -> Value {
    server.json(&["drain", "--status"]).remove(0)
}

#[test]
fn a_pod_that_is_scaled_away_delivers_what_it_can_and_goes() {
    let (api, hop) = (ApiServer::start(2), free_port());
    let mut server = pod(&api, hop, "");
    deferred(&server, 3);
    wait_for("the question after the start", || api.asked().len() == 1);
    // The next hop is back long before anybody would try it again, and the pod is one too many.
    let sink = back(hop);
    api.has(json!({"replicas": 1}));
    assert!(server.stop().success());
    assert_eq!(stopped(&server), json!({"queued": 0, "left_behind": 0}));
    let leaves = &server.wait_event("pod_leaves", |_| true);
    assert_eq!(
        (&leaves["pod"], &leaves["messages"], &leaves["handover"]),
        (&json!("smtp-server-1"), &json!(3), &json!(180.0)),
        "{leaves}"
    );
    let nothing = server.wait_event("nothing_left_behind", |_| true);
    assert_eq!(nothing["claim"], "data-smtp-server-1");
    let path = "/apis/apps/v1/namespaces/mail/statefulsets/smtp-server".to_owned();
    assert_eq!(api.asked(), vec![(path, "Bearer first".to_owned()); 2]);
    assert_eq!(sink.count(), 3);
    let server = server.restart();
    assert_eq!(server.metric("smtp_queue_depth"), 0.0);
    assert_eq!(sink.count(), 3, "nothing came twice");
}

#[test]
fn a_queue_longer_than_what_may_be_in_hand_goes_out_whole() {
    let (api, hop) = (ApiServer::start(1), free_port());
    let mut server = pod(&api, hop, "[delivery]\nmax_in_hand = 100\n");
    let mut wire = Wire::hello(server.smtp);
    for number in 0..300 {
        let reply = wire.mail(
            "a@x.test",
            &[&format!("b{number}@y{}.test", number % 3)],
            "text\r\n",
        );
        assert_eq!(reply.code, 250, "{reply:?}");
    }
    wait_for("all to be deferred", || {
        server.metric("smtp_queue_recipients{state=\"deferred\"}") == 300.0
    });
    let sink = back(hop);
    // What there is no room for goes back for two seconds, untried: it is not forgotten.
    assert!(server.stop().success());
    assert_eq!(stopped(&server), json!({"queued": 0, "left_behind": 0}));
    assert_eq!(sink.count(), 300);
}

#[test]
fn what_its_next_hop_still_does_not_take_is_told_and_kept() {
    let (api, hop) = (ApiServer::start(0), free_port());
    let mut server = pod(&api, hop, "");
    let mut ids = deferred(&server, 3);
    assert!(server.command(&["queue", "hold", &ids[2]]).status.success());
    // Nothing is left to try long before the three minutes are over, and nobody waits for them.
    server.signal(Signal::SIGTERM);
    assert!(server.exited(60).success());
    assert_eq!(stopped(&server), json!({"queued": 3, "left_behind": 3}));
    let left = server.wait_event("left_behind", |_| true);
    assert_eq!(
        (&left["level"], &left["messages"], &left["claim"]),
        (&json!("error"), &json!(3), &json!("data-smtp-server-1")),
        "{left}"
    );
    let tried = since_the_signal(&server, "delivery");
    let mut tried: Vec<&str> = tried
        .iter()
        .map(|line| line["id"].as_str().expect("id"))
        .collect();
    tried.sort_unstable();
    ids.truncate(2);
    ids.sort_unstable();
    assert_eq!(tried, ids, "each once, and none that is held");
    // Scaled up again the claim is mounted, and everything is there.
    api.has(json!({"replicas": 2}));
    let sink = back(hop);
    let server = server.restart();
    assert_eq!(server.metric("smtp_queue_depth"), 3.0);
    assert!(server.command(&["queue", "release", "--all"]).status.success());
    assert!(server.command(&["queue", "retry", "--all"]).status.success());
    sink.wait(3);
    server.wait_empty();
    assert_eq!(sink.count(), 3, "nothing came twice");
}

#[test]
fn a_next_hop_that_hangs_does_not_keep_it_beyond_its_time() {
    let (api, hop) = (ApiServer::start(1), silent());
    let mut server = pod(&api, hop.address, "handover = 3\n");
    send(&server, "b@y.test");
    wait_for("the connection", || hop.connections() > 0);
    server.signal(Signal::SIGTERM);
    assert!(server.exited(60).success());
    assert_eq!(stopped(&server), json!({"queued": 1, "left_behind": 1}));
    server.wait_event("left_behind", |_| true);
    let server = server.restart();
    let shown = server.queue(&["list"]).remove(0);
    assert_eq!(
        shown["recipients"][0]["attempts"], 0,
        "given back uncounted: {shown}"
    );
}

#[test]
fn mail_that_is_still_coming_in_goes_out_too() {
    let (api, sink) = (ApiServer::start(1), Sink::start());
    let mut server = pod(&api, sink.address, "");
    let mut busy = Wire::hello(server.smtp);
    busy.expect("MAIL FROM:<a@x.test>", 250);
    busy.expect("RCPT TO:<b@y.test>", 250);
    busy.expect("DATA", 354);
    server.signal(Signal::SIGTERM);
    wait_for("the handover", || status(&server)["phase"] == "handover");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(
        status(&server)["phase"],
        "handover",
        "it waits for who is still sending"
    );
    busy.send("text\r\n");
    assert_eq!(busy.say(".").code, 250);
    assert!(server.exited(90).success());
    assert_eq!(stopped(&server), json!({"queued": 0, "left_behind": 0}));
    assert_eq!(sink.count(), 1);
}

#[test]
fn its_state_is_shown_and_a_second_signal_skips_the_rest() {
    let (api, hop) = (ApiServer::start(1), silent());
    let mut server = pod(&api, hop.address, "");
    send(&server, "b@y.test");
    assert_eq!(status(&server)["left"], Value::Null);
    server.signal(Signal::SIGTERM);
    wait_for("the handover", || status(&server)["phase"] == "handover");
    assert_eq!(status(&server)["left"], 1);
    assert_eq!(server.metric("smtp_messages_left_behind"), 1.0);
    assert_eq!(server.metric("smtp_draining"), 1.0);
    let said = server.command(&["drain", "--status"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.starts_with("handover for ") && said.contains("the pod does not come back, 1 messages are left"),
        "{said}"
    );
    assert!(
        server.metric("smtp_drain_seconds") < 1.0,
        "the time of the handover is not counted"
    );
    server.signal(Signal::SIGTERM);
    assert!(server.exited(30).success());
    assert_eq!(stopped(&server), json!({"queued": 1, "left_behind": 1}));
    let server = server.restart();
    assert_eq!(server.metric("smtp_queue_depth"), 1.0);
}

#[test]
fn a_pod_that_comes_back_leaves_its_mail_alone() {
    let (api, hop) = (ApiServer::start(2), free_port());
    let mut server = pod(&api, hop, "");
    deferred(&server, 2);
    wait_for("the question after the start", || api.asked().len() == 1);
    assert_eq!(server.metric("smtp_pod_fate_unknown_total"), 0.0, "it was told");
    let sink = back(hop);
    assert!(server.stop().success());
    assert_eq!(stopped(&server), json!({"queued": 2, "left_behind": null}));
    let why = server.wait_event("pod_comes_back", |_| true)["why"].clone();
    assert_eq!(
        why,
        "1 is one of the 2 replicas of the StatefulSet smtp-server from 0 on"
    );
    assert!(since_the_signal(&server, "delivery").is_empty());
    assert_eq!(sink.count(), 0);
}

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
        ("no answer in time", &|| api.behaves("never")),
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
        let output = Command::new(binary())
            .arg("check")
            .arg("--config")
            .arg(&file)
            .current_dir(folder.path())
            .env_clear()
            .envs([("SMTP_PROFILE", "testing"), ("SMTP_ADMIN_PASSWORD", PASSWORD)])
            .envs(env.iter().copied())
            .output()
            .expect("run");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
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
