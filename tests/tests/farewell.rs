//! A pod of a StatefulSet that is scaled away tries its mail once more before it goes; one that comes back does not.

use blackbox::api_server::ApiServer;
use blackbox::disk::Shut;
use blackbox::ports::free_port;
use blackbox::server::Server;
use blackbox::sink::{Act, Sink};
use blackbox::wire::{Wire, queue_id};
use blackbox::{wait_for, wait_for_secs};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The pod with number 1, whose next hop is at that address.
pub(crate) fn pod(api: &ApiServer, next_hop: SocketAddr, more: &str) -> Server {
    let relay = format!("[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{next_hop}\"\n");
    Server::with(&format!("{relay}{}{more}", api.config(1)))
}

/// A next hop on a port that was closed before.
pub(crate) fn back(address: SocketAddr) -> Sink {
    Sink::on(&address.to_string(), &["PIPELINING", "8BITMIME"], |_, _| {
        Act::Default
    })
}

/// One that takes connections and is silent.
fn silent() -> Sink {
    Sink::scripted(|_, _| Act::Hang)
}

pub(crate) fn send(server: &Server, to: &str) -> String {
    let reply = Wire::hello(server.smtp).mail("a@x.test", &[to], "text\r\n");
    assert_eq!(reply.code, 250, "{reply:?}");
    queue_id(&reply)
}

/// So many messages that the next hop did not take.
pub(crate) fn deferred(server: &Server, count: usize) -> Vec<String> {
    let ids = (0..count).map(|number| send(server, &format!("b{number}@y.test")));
    let ids = ids.collect();
    wait_for("all to be deferred", || {
        server.metric("smtp_queue_recipients{state=\"deferred\"}") == count as f64
    });
    ids
}

/// The lines of one event since the drain began.
pub(crate) fn since_the_signal(server: &Server, event: &str) -> Vec<Value> {
    let log = server.log();
    let drain = log.iter().skip_while(|line| line["event"] != "stopping");
    drain.filter(|line| line["event"] == event).cloned().collect()
}

/// What the last line says.
pub(crate) fn stopped(server: &Server) -> Value {
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
    server.done(&["queue", "hold", &ids[2]]);
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
    server.done(&["queue", "release", "--all"]);
    server.done(&["queue", "retry", "--all"]);
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
    std::thread::sleep(Duration::from_millis(500));
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
fn of_a_store_that_hangs_it_is_said_in_time_that_nothing_is_known() {
    let (api, sink) = (ApiServer::start(1), Sink::start());
    let mut server = pod(&api, sink.address, "handover = 2\n");
    send(&server, "b@y.test");
    sink.wait(1);
    server.wait_empty();
    // A read takes ten seconds now before it fails.
    let shut = Shut::up(&server.data());
    let began = Instant::now();
    server.signal(Signal::SIGTERM);
    let leaves = server.wait_event("pod_leaves", |_| true);
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    assert_eq!(leaves["messages"], Value::Null, "{leaves}");
    wait_for("the handover to be over", || {
        status(&server)["phase"] != "handover"
    });
    let mut left = Value::Null;
    wait_for_secs("the last word", 60, || {
        left = server.events("left_behind").pop().unwrap_or_default();
        !left.is_null()
    });
    assert_eq!(
        (&left["messages"], &left["webhook_calls"], &left["claim"]),
        (&Value::Null, &Value::Null, &json!("data-smtp-server-1")),
        "{left}"
    );
    assert!(
        server.events("nothing_left_behind").is_empty(),
        "nobody counted: the claim is not to be deleted"
    );
    drop(shut);
    assert!(server.exited(60).success());
    assert_eq!(stopped(&server), json!({"queued": null, "left_behind": null}));
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
    let said = server.done(&["drain", "--status"]);
    assert!(
        said.starts_with("handover for ") && said.contains("the pod does not come back, 1 messages are left"),
        "{said}"
    );
    // The question about the pod, before the handover, is counted.
    let before = server.metric("smtp_drain_seconds");
    std::thread::sleep(Duration::from_secs(1));
    let counted = server.metric("smtp_drain_seconds") - before;
    assert!(
        before > 0.0 && counted < 0.5,
        "{before} s, and {counted} s of the handover"
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
