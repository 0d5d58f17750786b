//! A pod of the StatefulSet with what `k8s/components/scale-aware` and the chart's `scaleAware` add: its token and its Role open the way to one
//! answer, on which its last mail depends.

use super::stage::{Mode, Stage, bring, released, subjects};
use packaging::kubelet::{Asked, Pod};
use packaging::render::{customized, objects};
use packaging::tools::Release;
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;

/// What a pod asks.
const PATH: &str = "/apis/apps/v1/namespaces/mail/statefulsets/smtp-server";
/// Where its token is.
const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// As kustomize makes it.
fn by_kustomize() -> Vec<Value> {
    let yaml = customized(Release::Helm4, "embedded", &["components/scale-aware"]);
    objects(&yaml)
}

fn by_chart() -> Vec<Value> {
    released("scale-aware", &[])
}

/// A stage whose StatefulSet has two pods, and whose API server can be asked.
fn stage(objects: Vec<Value>) -> Stage {
    let stage = Stage::of(Mode::Embedded, objects);
    stage.node.serve();
    replicas(&stage, 2);
    stage
}

/// `kubectl scale statefulset smtp-server --replicas=…`
fn replicas(stage: &Stage, count: u32) {
    stage.node.edit("StatefulSet", "smtp-server", |set| {
        set["spec"]["replicas"] = json!(count);
    });
}

/// The second pod, with a message that its next hop puts off.
fn with_mail(stage: &Stage) -> Pod {
    stage.put_off(true);
    let pod = stage.start(1);
    pod.wait_ready();
    bring(&pod, "kept");
    pod.wait_event("delivery", |line| line["status"] == "deferred");
    stage.put_off(false);
    pod
}

/// Deletes it, which it takes in good order. Gives its log from then on.
fn deleted(pod: &Pod) -> Vec<Value> {
    let before = pod.log().len();
    let ended = pod.delete();
    assert_eq!((ended.code, ended.killed), (0, false), "{ended:?}");
    pod.log().split_off(before)
}

fn events<'l>(log: &'l [Value], event: &str) -> Vec<&'l Value> {
    log.iter().filter(|line| line["event"] == event).collect()
}

fn only<'l>(log: &'l [Value], event: &str) -> &'l Value {
    let found = events(log, event);
    assert_eq!(found.len(), 1, "{event}: {log:?}");
    found[0]
}

#[test]
fn scaled_away_it_asks_flushes_its_mail_and_says_its_last_word() {
    for objects in [by_kustomize(), by_chart()] {
        let stage = stage(objects);
        let pod = with_mail(&stage);
        // Not by its host name, which is the node's where it is on the node's network.
        let shown = pod.done(&["smtp-server", "config", "show", "--output", "json"]);
        assert!(shown.contains("\"env SMTP_KUBERNETES__POD\""), "{shown}");
        // Nobody else's: the server's user may read it, and its group.
        let token = pod.root().join(&FOLDER[1..]).join("..data/token");
        let meta = std::fs::metadata(&token).expect("the token");
        assert_eq!(
            (meta.uid(), meta.gid(), meta.mode() & 0o7777),
            (1000, 1000, 0o640)
        );
        // An hour later there is another one, and the old one is worth nothing.
        let first = std::fs::read_to_string(&token).expect("the token");
        stage.node.renew_tokens();
        let second = pod.read(&format!("{FOLDER}/token"));
        let second = second.expect("the token");
        assert_ne!(first, second);
        replicas(&stage, 1);
        let log = deleted(&pod);

        let leaves = only(&log, "pod_leaves");
        assert_eq!(
            (&leaves["pod"], &leaves["messages"]),
            (&json!("smtp-server-1"), &json!(1))
        );
        let nothing = only(&log, "nothing_left_behind");
        assert_eq!(nothing["claim"], "data-smtp-server-1");
        let stopped = only(&log, "stopped");
        assert_eq!(
            (&stopped["queued"], &stopped["left_behind"]),
            (&json!(0), &json!(0))
        );
        assert_eq!(subjects(&stage.sink), ["kept"]);
        // Once when it started, once when it ended.
        let asked = [first, second].map(|token| Asked {
            path: PATH.into(),
            authorization: format!("Bearer {token}"),
        });
        assert_eq!(stage.node.asked(), asked);
    }
}

#[test]
fn restarted_only_it_says_no_farewell() {
    let stage = stage(by_kustomize());
    let pod = with_mail(&stage);
    let log = deleted(&pod);
    let back = only(&log, "pod_comes_back");
    assert_eq!(back["pod"], "smtp-server-1");
    for event in ["pod_leaves", "nothing_left_behind", "left_behind", "delivery"] {
        assert_eq!(events(&log, event), [&Value::Null; 0], "{event}");
    }
    let stopped = only(&log, "stopped");
    assert_eq!(
        (&stopped["queued"], &stopped["left_behind"]),
        (&json!(1), &Value::Null)
    );
    assert_eq!(stage.node.asked().len(), 2);
    assert_eq!(subjects(&stage.sink), [""; 0]);
    drop(pod);
    // It does come back, with its mail.
    let pod = stage.start(1);
    pod.wait_ready();
    assert_eq!(pod.metric("smtp_queue_depth"), 1.0);
}

/// Everything that the component adds, taken out: the pod cannot know, and says why at its start.
#[test]
fn each_of_its_parts_is_needed() {
    let stage = stage(by_kustomize());
    let objects = by_kustomize();
    let whole = |kind: &str, name: &str| packaging::render::find(&objects, kind, name).clone();
    let container = |set: &mut Value, list: &str, name: &str| {
        let all = &mut set["spec"]["template"]["spec"]["containers"][0][list];
        without(all, |one| one["name"] == name);
    };
    let source = |set: &mut Value, kind: &str| {
        let volumes = set["spec"]["template"]["spec"]["volumes"].as_array_mut();
        let mut volumes = volumes.expect("volumes").iter_mut();
        let volume = volumes.find(|volume| volume["name"] == "kubernetes");
        let sources = &mut volume.expect("the volume")["projected"]["sources"];
        without(sources, |one| one[kind].is_object());
    };
    let set = ("StatefulSet", "smtp-server");
    let (role, binding) = (("Role", "smtp-server"), ("RoleBinding", "smtp-server"));
    type Change<'c> = &'c dyn Fn(&mut Value);
    let parts: [((&str, &str), Change, &str); 9] = [
        (
            set,
            &|set| container(set, "volumeMounts", "kubernetes"),
            "namespace: No such file",
        ),
        (
            set,
            &|set| source(set, "serviceAccountToken"),
            "token: No such file",
        ),
        (set, &|set| source(set, "configMap"), "ca.crt: No such file"),
        (set, &|set| source(set, "downwardAPI"), "namespace: No such file"),
        (
            role,
            &|role| role["rules"][0]["verbs"] = json!(["list"]),
            "cannot get resource",
        ),
        (
            role,
            &|role| role["rules"][0]["resources"] = json!(["deployments"]),
            "cannot get resource",
        ),
        (
            role,
            &|role| role["rules"][0]["resourceNames"] = json!(["other"]),
            "cannot get resource",
        ),
        (
            role,
            &|role| role["rules"][0]["apiGroups"] = json!([""]),
            "cannot get resource",
        ),
        (
            binding,
            &|binding| binding["subjects"] = json!([]),
            "cannot get resource",
        ),
    ];
    for ((kind, name), change, reason) in parts {
        stage.node.edit(kind, name, |object| change(object));
        let pod = stage.start(1);
        let unknown = pod.wait_event("pod_fate_unknown", |_| true);
        let error = unknown["error"].as_str().expect("text");
        assert!(error.contains(reason), "{error} says nothing of {reason:?}");
        drop(pod);
        stage.node.edit(kind, name, |object| *object = whole(kind, name));
    }
    // Without the name of its StatefulSet it is a pod like any other.
    stage.edit(|pod| {
        without(&mut pod["containers"][0]["env"], |one| {
            one["name"] == "SMTP_KUBERNETES__STATEFULSET"
        })
    });
    let asked = stage.node.asked().len();
    let pod = stage.start(1);
    pod.wait_ready();
    drop(pod);
    assert_eq!(stage.node.asked().len(), asked);
    stage
        .node
        .edit(set.0, set.1, |object| *object = whole(set.0, set.1));
    // A token that is good for another cluster is good for nothing here.
    let pod = stage.start(1);
    pod.wait_event("ready", |_| true);
    stage.node.expire_tokens();
    let log = deleted(&pod);
    let unknown = only(&log, "pod_fate_unknown");
    assert!(
        unknown["error"].as_str().expect("text").contains("answered 401"),
        "{unknown}"
    );
}

/// Takes one element out of a list.
fn without(list: &mut Value, is_it: impl Fn(&Value) -> bool) {
    let list = list.as_array_mut().expect("a list");
    let before = list.len();
    list.retain(|one| !is_it(one));
    assert_eq!(list.len() + 1, before);
}
