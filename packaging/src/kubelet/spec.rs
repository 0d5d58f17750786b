//! What a pod's template says, with the API's defaults.

mod network;
mod storage;

pub(super) use network::on_the_nodes_network;
pub(super) use storage::{FilesOf, Mount, Volume};

use super::probe::Probe;
use crate::semantic::quantity;
use serde_json::Value;
use std::time::Duration;

/// A pod with its one container.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) image: String,
    pub(super) command: Vec<String>,
    pub(super) args: Vec<String>,
    pub(super) variables: Vec<(String, Source)>,
    /// Whether the service account's token is mounted.
    pub(super) token: bool,
    /// Whether the container is started again when it has ended.
    pub(super) restarts: bool,
    pub(super) security: Security,
    pub(super) memory: Option<u64>,
    pub(super) cpus: Option<f64>,
    pub(super) mounts: Vec<Mount>,
    pub(super) volumes: Vec<(String, Volume)>,
    pub(super) ndots: u64,
    /// Whether it is on its node's network, with the node's addresses and ports.
    pub(super) host_network: bool,
    pub(super) pre_stop: Duration,
    pub(super) grace: Duration,
    /// Before the container is started for the third time; twice as long before each further start.
    pub(super) back_off: Duration,
    pub(super) startup: Option<Probe>,
    pub(super) live: Option<Probe>,
    pub(super) ready: Option<Probe>,
}

/// Who the container's process is, and what it may.
#[derive(Clone, Debug)]
pub(super) struct Security {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The runtime's profile.
    pub(super) seccomp: bool,
    pub(super) fs_group: Option<u32>,
    pub(super) drop: Vec<String>,
    pub(super) read_only_root: bool,
    pub(super) no_new_privileges: bool,
}

/// Where a variable's value comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Value(String),
    Field(String),
    Key {
        kind: &'static str,
        name: String,
        key: String,
    },
}

/// Panics at a field that the kubelet of the tests does not know: what is passed over is not tested.
pub(super) fn only(value: &Value, what: &str, fields: &[&str]) {
    for field in value.as_object().into_iter().flatten().map(|(field, _)| field) {
        assert!(
            fields.contains(&field.as_str()),
            "the kubelet of the tests does not play `{field}` of {what}"
        );
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value) -> Option<u32> {
    value
        .as_u64()
        .map(|value| u32::try_from(value).expect("a number"))
}

/// A quantity of octets.
fn octets(value: &Value) -> Option<u64> {
    let thousandths = quantity(value)?;
    Some(u64::try_from(thousandths / 1000).expect("octets"))
}

/// A quantity of cores.
fn cores(value: &Value) -> Option<f64> {
    let thousandths = u32::try_from(quantity(value)?).expect("cores");
    Some(f64::from(thousandths) / 1000.0)
}

/// The `spec` of an object's pods.
pub(super) fn pod(object: &Value) -> &Value {
    match object["kind"] == "Pod" {
        true => &object["spec"],
        false => &object["spec"]["template"]["spec"],
    }
}

impl Spec {
    /// Of a StatefulSet, a Deployment, a Job or a Pod. All times are divided by `pace`.
    pub(super) fn read(workload: &Value, pace: u32) -> Spec {
        let pod = pod(workload);
        played_pod(pod);
        let containers: Vec<&Value> = list(&pod["containers"]).collect();
        let &[container] = containers.as_slice() else {
            panic!("one container is played");
        };
        played_container(container);
        let security = Security::read(&pod["securityContext"], &container["securityContext"]);
        let limits = &container["resources"]["limits"];
        let seconds = |value: &Value, default| Duration::from_secs(value.as_u64().unwrap_or(default)) / pace;
        let probe = |name: &str| Some(Probe::read(container, name)?.faster(pace));
        let ndots = list(&pod["dnsConfig"]["options"]).find(|option| option["name"] == "ndots");
        let pre_stop = &container["lifecycle"]["preStop"]["sleep"]["seconds"];
        Spec {
            image: text(&container["image"]),
            command: list(&container["command"]).map(text).collect(),
            args: list(&container["args"]).map(text).collect(),
            variables: list(&container["env"]).map(variable).collect(),
            token: pod["automountServiceAccountToken"] != false,
            restarts: match pod["restartPolicy"].as_str() {
                None | Some("Always") => true,
                Some("Never") => false,
                Some(other) => panic!("the kubelet of the tests does not play restartPolicy {other}"),
            },
            security,
            memory: octets(&limits["memory"]),
            cpus: cores(&limits["cpu"]),
            mounts: list(&container["volumeMounts"]).map(storage::mount).collect(),
            volumes: storage::volumes(workload),
            ndots: ndots.map_or(5, |option| text(&option["value"]).parse().expect("ndots")),
            host_network: network::of_the_node(pod, container),
            pre_stop: seconds(pre_stop, 0),
            grace: seconds(&pod["terminationGracePeriodSeconds"], 30),
            back_off: Duration::from_secs(10) / pace,
            startup: probe("startupProbe"),
            live: probe("livenessProbe"),
            ready: probe("readinessProbe"),
        }
    }
}

/// Panics at what is not played of a pod, its containers left aside.
fn played_pod(pod: &Value) {
    only(
        pod,
        "a pod",
        &[
            // Played.
            "automountServiceAccountToken",
            "containers",
            "dnsConfig",
            "dnsPolicy",
            "enableServiceLinks",
            "hostNetwork",
            "restartPolicy",
            "securityContext",
            "terminationGracePeriodSeconds",
            "volumes",
            // A scheduler's.
            "affinity",
            "nodeSelector",
            "priorityClassName",
            "serviceAccountName",
            "tolerations",
            "topologySpreadConstraints",
            // As it is by default.
            "schedulerName",
        ],
    );
    let links = &pod["enableServiceLinks"];
    assert_eq!(*links, false, "variables of services are not played");
}

/// The same of a container, its security context left aside.
fn played_container(container: &Value) {
    only(
        container,
        "a container",
        &[
            "args",
            "command",
            "env",
            "image",
            "imagePullPolicy",
            "lifecycle",
            "livenessProbe",
            "name",
            "ports",
            "readinessProbe",
            "resources",
            "securityContext",
            "startupProbe",
            "terminationMessagePolicy",
            "volumeMounts",
        ],
    );
    only(&container["lifecycle"], "lifecycle", &["preStop"]);
    only(&container["lifecycle"]["preStop"], "preStop", &["sleep"]);
}

impl Security {
    /// Of a pod's security context and its container's, which wins.
    fn read(outer: &Value, inner: &Value) -> Security {
        only(
            outer,
            "a pod's securityContext",
            &[
                "fsGroup",
                "fsGroupChangePolicy",
                "runAsGroup",
                "runAsNonRoot",
                "runAsUser",
                "seccompProfile",
                "supplementalGroupsPolicy",
            ],
        );
        only(
            inner,
            "a container's securityContext",
            &[
                "allowPrivilegeEscalation",
                "capabilities",
                "privileged",
                "readOnlyRootFilesystem",
                "runAsGroup",
                "runAsNonRoot",
                "runAsUser",
                "seccompProfile",
            ],
        );
        only(&inner["capabilities"], "capabilities", &["drop"]);
        assert_ne!(inner["privileged"], true, "privileged");
        let context = |field: &str| match inner.get(field) {
            Some(value) => value,
            None => &outer[field],
        };
        // A kubelet confines nobody who does not say so; podman's own profile is the runtime's.
        let seccomp = match context("seccompProfile")["type"].as_str() {
            Some("RuntimeDefault") => true,
            None | Some("Unconfined") => false,
            Some(other) => panic!("the profile {other} is not played"),
        };
        let uid = number(context("runAsUser")).expect("runAsUser: the image's is not played");
        let gid = number(context("runAsGroup")).expect("runAsGroup: the image's is not played");
        let unfit = context("runAsNonRoot") == &Value::Bool(true) && uid == 0;
        assert!(!unfit, "runAsNonRoot, and root");
        Security {
            uid,
            gid,
            seccomp,
            fs_group: number(&outer["fsGroup"]),
            drop: list(&inner["capabilities"]["drop"]).map(text).collect(),
            read_only_root: inner["readOnlyRootFilesystem"] == true,
            no_new_privileges: inner["allowPrivilegeEscalation"] == false,
        }
    }
}

fn variable(variable: &Value) -> (String, Source) {
    only(variable, "a variable", &["name", "value", "valueFrom"]);
    let from = &variable["valueFrom"];
    only(
        from,
        "valueFrom",
        &["fieldRef", "configMapKeyRef", "secretKeyRef"],
    );
    let key = |kind, of: &Value| Source::Key {
        kind,
        name: text(&of["name"]),
        key: text(&of["key"]),
    };
    let source = if let Some(field) = from.get("fieldRef") {
        Source::Field(text(&field["fieldPath"]))
    } else if let Some(of) = from.get("configMapKeyRef") {
        key("ConfigMap", of)
    } else if let Some(of) = from.get("secretKeyRef") {
        key("Secret", of)
    } else {
        let value = variable["value"].as_str().unwrap_or_default();
        assert!(
            !value.contains("$("),
            "references in values are not played: {value}"
        );
        Source::Value(value.to_owned())
    };
    (text(&variable["name"]), source)
}
