//! What a template says and the kubelet does not play.

use super::ground::{Ground, HEARS, pod};
use serde_json::{Value, json};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A change to a pod's `spec`, and what is said about it.
type Refused = (fn(&mut Value), &'static str);

fn container(pod: &mut Value) -> &mut Value {
    &mut pod["containers"][0]
}

/// At each place that it reads, one thing that it does not know, or cannot do as it is said.
const REFUSED: [Refused; 21] = [
    (|pod| pod["hostPID"] = json!(true), "`hostPID` of a pod"),
    (
        |pod| pod["securityContext"]["sysctls"] = json!([]),
        "`sysctls` of a pod's securityContext",
    ),
    (
        |pod| pod["restartPolicy"] = json!("OnFailure"),
        "restartPolicy OnFailure",
    ),
    (
        |pod| pod["enableServiceLinks"] = json!(true),
        "variables of services are not played",
    ),
    (
        |pod| {
            let another = pod["containers"][0].clone();
            pod["containers"].as_array_mut().expect("a list").push(another);
        },
        "one container is played",
    ),
    (
        |pod| {
            pod["securityContext"]["runAsNonRoot"] = json!(true);
            pod["securityContext"]["runAsUser"] = json!(0);
        },
        "runAsNonRoot, and root",
    ),
    (
        |pod| pod["securityContext"]["seccompProfile"] = json!({ "type": "Localhost" }),
        "the profile Localhost",
    ),
    (
        |pod| pod["volumes"] = json!([{ "name": "v", "hostPath": {} }]),
        "`hostPath` of a volume",
    ),
    (
        |pod| pod["volumes"] = json!([{ "name": "v", "secret": { "secretName": "s", "optional": true } }]),
        "`optional` of a volume's source",
    ),
    (
        |pod| container(pod)["stdin"] = json!(true),
        "`stdin` of a container",
    ),
    (
        |pod| container(pod)["securityContext"]["procMount"] = json!("Default"),
        "`procMount` of a container's securityContext",
    ),
    (
        |pod| container(pod)["securityContext"]["privileged"] = json!(true),
        "privileged",
    ),
    (
        |pod| container(pod)["securityContext"]["capabilities"]["add"] = json!(["CHOWN"]),
        "`add` of capabilities",
    ),
    (
        |pod| container(pod)["lifecycle"]["postStart"] = json!({}),
        "`postStart` of lifecycle",
    ),
    (
        |pod| container(pod)["lifecycle"]["preStop"]["exec"] = json!({}),
        "`exec` of preStop",
    ),
    (
        |pod| container(pod)["livenessProbe"]["grpc"] = json!({}),
        "`grpc` of livenessProbe",
    ),
    (
        |pod| container(pod)["startupProbe"]["httpGet"]["httpHeaders"] = json!([]),
        "`httpHeaders` of httpGet",
    ),
    (
        |pod| container(pod)["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v", "subPath": "s" }]),
        "`subPath` of a mount",
    ),
    (
        |pod| container(pod)["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v" }]),
        "no volume v",
    ),
    (
        |pod| container(pod)["env"] = json!([{ "name": "V", "valueFrom": { "resourceFieldRef": {} } }]),
        "`resourceFieldRef` of valueFrom",
    ),
    (
        |pod| container(pod)["env"] = json!([{ "name": "V", "value": "$(OTHER)" }]),
        "references in values",
    ),
];

/// It says so, and starts nothing: what is passed over is not tested.
pub(super) fn what_it_does_not_play(ground: &Ground) {
    for (number, (change, says)) in REFUSED.iter().enumerate() {
        let name = format!("refused-{number}");
        ground.node.add(pod(&name, HEARS, change));
        let started = catch_unwind(AssertUnwindSafe(|| ground.node.start("Pod", &name, 0)));
        match started {
            Ok(pod) => panic!("{says}: {} was started", pod.name()),
            Err(panic) => {
                let said = said(panic.as_ref());
                assert!(said.contains(says), "{said:?} says nothing of {says:?}");
            }
        }
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.expect("a panic with words")
}
