//! What a cluster's controllers make of what was applied, once they are done: as many pods as are wanted, all of them ready, with the labels and
//! the `spec` of their template; claims; and what they say of it in `status`.

use serde_json::{Value, json};

/// Everything that comes of these objects, and the workloads as they are then.
pub(crate) fn settled(objects: &[Value]) -> Vec<Value> {
    let mut all = Vec::new();
    for object in objects {
        match object["kind"].as_str() {
            Some("Deployment") => deployment(object, wanted(object, objects), &mut all),
            Some("StatefulSet") => stateful_set(object, wanted(object, objects), &mut all),
            _ => {}
        }
    }
    all
}

/// How many pods: what the HPA has set to begin with, or what is said, or one.
fn wanted(workload: &Value, objects: &[Value]) -> u64 {
    let mut hpas = objects
        .iter()
        .filter(|object| object["kind"] == "HorizontalPodAutoscaler");
    let scaled = hpas.find_map(|hpa| {
        let target = &hpa["spec"]["scaleTargetRef"];
        let its = target["kind"] == workload["kind"] && target["name"] == workload["metadata"]["name"];
        its.then(|| hpa["spec"]["minReplicas"].as_u64()).flatten()
    });
    let said = workload["spec"]["replicas"].as_u64();
    scaled.or(said).unwrap_or(1)
}

/// A pod of a workload's template, of one revision, which is told by this label.
fn pod(workload: &Value, name: &str, revision: (&str, &str)) -> Value {
    let template = &workload["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    metadata["name"] = json!(name);
    metadata["namespace"] = workload["metadata"]["namespace"].clone();
    metadata["labels"][revision.0] = json!(revision.1);
    let container = template["spec"]["containers"][0]["name"].clone();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"],
        "status": {
            "phase": "Running", "podIP": "10.244.0.9", "hostIP": "10.0.0.9",
            "conditions": [{ "type": "Ready", "status": "True" }],
            "containerStatuses": [{ "name": container, "ready": true, "started": true, "restartCount": 0, "state": { "running": {} } }],
        },
    })
}

/// The same workload as it is when all is done: the API server counts its generations, and its controller has seen the last one.
fn done(workload: &Value, replicas: u64, status: Value) -> Value {
    let mut done = workload.clone();
    done["metadata"]["generation"] = json!(1);
    done["metadata"]["uid"] = json!("0");
    done["spec"]["replicas"] = json!(replicas);
    done["status"] = status;
    done["status"]["observedGeneration"] = json!(1);
    for count in [
        "replicas",
        "readyReplicas",
        "availableReplicas",
        "updatedReplicas",
    ] {
        done["status"][count] = json!(replicas);
    }
    done
}

fn deployment(object: &Value, replicas: u64, all: &mut Vec<Value>) {
    let name = object["metadata"]["name"].as_str().expect("a name");
    let hash = "6d9f7c5b8";
    let set = format!("{name}-{hash}");
    let mut template = object["spec"]["template"].clone();
    template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
    let mut selector = object["spec"]["selector"].clone();
    selector["matchLabels"]["pod-template-hash"] = json!(hash);
    all.push(json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": { "name": set, "namespace": object["metadata"]["namespace"], "labels": template["metadata"]["labels"] },
        "spec": { "replicas": replicas, "selector": selector, "template": template },
        "status": { "replicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas },
    }));
    for number in 0..replicas {
        all.push(pod(
            object,
            &format!("{set}-{number:05}"),
            ("pod-template-hash", hash),
        ));
    }
    let conditions = json!([{ "type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable" }, { "type": "Available", "status": "True" }]);
    all.push(done(object, replicas, json!({ "conditions": conditions })));
}

fn stateful_set(object: &Value, replicas: u64, all: &mut Vec<Value>) {
    let name = object["metadata"]["name"].as_str().expect("a name");
    let revision = format!("{name}-7c4d8f6b9");
    for number in 0..replicas {
        let name = format!("{name}-{number}");
        for claim in object["spec"]["volumeClaimTemplates"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let mut claim = claim.clone();
            let its = claim["metadata"]["name"].as_str().expect("a name");
            claim["metadata"]["name"] = json!(format!("{its}-{name}"));
            claim["metadata"]["namespace"] = object["metadata"]["namespace"].clone();
            all.push(claim);
        }
        all.push(pod(object, &name, ("controller-revision-hash", &revision)));
    }
    let status =
        json!({ "currentReplicas": replicas, "currentRevision": revision, "updateRevision": revision });
    all.push(done(object, replicas, status));
}
