//! Nothing that was acknowledged is lost.

use super::deployment::Deployment;
use super::load::Load;
use super::prometheus::Prometheus;
use super::scene::Scene;
use blackbox::{wait_for, wait_for_secs};
use packaging::net::addresses::service;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

/// Clients at once.
const CLIENTS: usize = 9;

/// Waits until everything that was acknowledged has arrived, and the queue is empty.
fn wait_arrived(scene: &Scene, acknowledged: &BTreeSet<String>) -> BTreeMap<String, usize> {
    wait_for_secs("everything to arrive", 100, || {
        let copies = scene.copies();
        acknowledged.iter().all(|name| copies.contains_key(name))
    });
    wait_for_secs("the queue to be empty", 60, || {
        scene.sql("SELECT count(*) FROM messages") == "0"
    });
    scene.copies()
}

#[test]
fn pods_are_replaced_under_load_and_every_message_arrives_once() {
    let scene = Scene::new();
    let prometheus = Prometheus::start(&scene.prometheus, scene.deployment.monitor(), &scene.targets);
    let load = Load::start(&scene.client, &service(1), CLIENTS);
    wait_for("some load", || load.acknowledged() > 100);
    let before = scene.pods();
    scene.deployment.restart();
    let during = load.acknowledged();
    wait_for("some more load", || load.acknowledged() > during + 100);
    let after = scene.pods();
    assert!(
        before.len() == 3 && after.len() == 3 && before.is_disjoint(&after),
        "{before:?} {after:?}"
    );
    let ledger = load.end();
    assert_eq!(ledger.permanent, Vec::<String>::new(), "nobody is told never");
    // kube-proxy follows within the preStop hook's time, so a pod that is in its set serves.
    assert_eq!(ledger.refused, 0, "connections refused though pods were ready");
    assert_eq!(
        ledger.not_greeted, 0,
        "connections that were turned away, or broke"
    );
    // A pod that stops answers what it was sent, and tells clients that stay to come again.
    assert_eq!(ledger.unanswered, BTreeMap::new());
    assert!(ledger.put_off > 0, "no pod was stopped while a client was there");
    let copies = wait_arrived(&scene, &ledger.acknowledged);
    let acknowledged: BTreeMap<String, usize> =
        ledger.acknowledged.iter().map(|name| (name.clone(), 1)).collect();
    assert!(
        copies == acknowledged,
        "each message that was acknowledged arrives once, and no other does"
    );
    assert!(
        copies.len() > 500,
        "too few messages to mean anything: {}",
        copies.len()
    );
    prometheus.assert_rules_evaluate();
    assert_eq!(
        prometheus.fired(),
        BTreeSet::new(),
        "a restart in order alarms nobody"
    );
    eprintln!("{} messages, {} put off", copies.len(), ledger.put_off);
}

/// The subjects of what a server has in hand, by the name of its pod.
fn in_hand(scene: &Scene, pod: &str) -> BTreeSet<String> {
    let text = scene.sql(&format!(
        "SELECT substring(convert_from(m.content, 'LATIN1') FROM 'Subject: ([^\\r\\n]*)') FROM messages m
         JOIN recipients r ON r.message = m.key JOIN servers s ON s.id = r.owner WHERE r.state = 1 AND s.name LIKE '{pod} (%)'"
    ));
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_pod_is_killed_under_load_and_only_what_it_had_in_hand_may_come_twice() {
    let scene = Scene::new();
    let prometheus = Prometheus::start(&scene.prometheus, scene.deployment.monitor(), &scene.targets);
    let load = Load::start(&scene.client, &service(1), CLIENTS);
    wait_for("some load", || load.acknowledged() > 300);
    let pods = scene.deployment.pods();
    let killed = &pods[1];
    // When the next hop has taken mail of its and not said so yet.
    let host = killed.host.v4();
    let hold = |whom| *scene.hold.whom.lock().expect("whom") = whom;
    hold(Some(host));
    wait_for("replies to be waited for", || {
        scene.hold.messages.load(Ordering::Relaxed) >= 1
    });
    Deployment::kill(killed);
    hold(None);
    let in_hand = in_hand(&scene, killed.name());
    let before = scene.arrived.lock().expect("arrivals").len();
    // It stays away for a while, as in CrashLoopBackOff; the others take the mail.
    let down = ("SMTPPodDown".to_owned(), killed.name().to_owned());
    wait_for_secs("the alert", 60, || prometheus.firing().contains(&down));
    let meanwhile = load.acknowledged();
    wait_for("mail by the others", || load.acknowledged() > meanwhile + 100);
    scene.deployment.start_again(killed);
    wait_for_secs("the alert to end", 60, || prometheus.firing().is_empty());
    let ledger = load.end();
    assert_eq!(ledger.permanent, Vec::<String>::new(), "nobody is told never");
    let copies = wait_arrived(&scene, &ledger.acknowledged);
    let arrivals = scene.arrived.lock().expect("arrivals").clone();
    let mut twice = 0;
    for (name, count) in &copies {
        // A client that got no reply sends its message again: that is another one.
        let sent = 1 + ledger.unanswered.get(name).copied().unwrap_or(0);
        if *count <= sent {
            continue;
        }
        twice += 1;
        // What was given to the next hop and not yet written down when the pod was killed.
        assert!(
            in_hand.contains(name),
            "{name} came {count} times, and was in nobody's hand"
        );
        assert_eq!(*count, sent + 1, "{name}");
        let first = arrivals[..before].iter().find(|arrival| arrival.name == *name);
        assert_eq!(
            first.map(|arrival| arrival.from),
            Some(host),
            "{name} was not first brought by the killed pod"
        );
    }
    // The next hop cannot know that it is asked for the second time.
    assert!(
        (1..=in_hand.len()).contains(&twice),
        "{twice} came twice of {}",
        in_hand.len()
    );
    prometheus.assert_rules_evaluate();
    assert_eq!(prometheus.fired(), BTreeSet::from(["SMTPPodDown".to_owned()]));
    // Then all of them: nobody is left to take mail.
    for pod in &pods {
        Deployment::kill(pod);
    }
    let nobody = ("SMTPServerDown".to_owned(), String::new());
    wait_for_secs("the alert for all", 60, || prometheus.firing().contains(&nobody));
    eprintln!(
        "{} messages, {} in hand, {twice} came twice; {} connections refused, {} put off, {} without a reply",
        copies.len(),
        in_hand.len(),
        ledger.refused,
        ledger.put_off,
        ledger.unanswered.len()
    );
}
