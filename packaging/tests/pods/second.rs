//! A second opinion on the template: podman's, which reads Pods by itself.

use super::stage::{Mode, Stage};
use blackbox::tools::run;
use blackbox::wait_for;
use packaging::image::said;
use packaging::kubelet::contents;
use serde_json::{Value, json};

/// The StatefulSet's pod with what it mounts, as podman 4.3 can read it: its claim by name, no ports (each would be
/// published on this machine), and Secrets as ConfigMaps (it mounts those with the base64 still on).
fn documents(stage: &Stage) -> String {
    let set = stage.node.object("StatefulSet", "smtp-server");
    let mut spec = set["spec"]["template"]["spec"].clone();
    let mut documents = Vec::new();
    for (kind, name) in [
        ("ConfigMap", "smtp-config"),
        ("Secret", "smtp-secrets"),
        ("Secret", "smtp-tls"),
    ] {
        let content = contents(&stage.node.object(kind, name));
        let data: serde_json::Map<String, Value> = content
            .into_iter()
            .map(|(key, octets)| (key, json!(String::from_utf8(octets).expect("UTF-8"))))
            .collect();
        documents.push(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data,
        }));
    }
    let container = &mut spec["containers"][0];
    container["image"] = json!(packaging::image::NAME);
    container["ports"].take();
    for volume in spec["volumes"].as_array_mut().expect("volumes") {
        if volume["secret"].is_object() {
            let secret = volume["secret"].take();
            volume["configMap"] = json!({ "name": secret["secretName"] });
        }
    }
    let claim = json!({ "name": "data", "persistentVolumeClaim": { "claimName": "data-smtp-server-0" } });
    spec["volumes"].as_array_mut().expect("volumes").push(claim);
    documents.push(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "smtp-server-0" }, "spec": spec,
    }));
    let documents: Vec<String> = documents.iter().map(Value::to_string).collect();
    documents.join("\n---\n")
}

#[test]
fn podman_confines_the_pod_as_the_kubelet_does() {
    let stage = Stage::new(Mode::Embedded);
    let storage = stage.node.storage();
    let file = storage.path().join("pod.yaml");
    std::fs::write(&file, documents(&stage)).expect("pod.yaml");
    let mut play = storage.podman();
    run(play
        .args(["kube", "play", "--build=false", "--network=none"])
        .arg(&file));
    let name = "smtp-server-0-smtp-server";
    let inspect = |format: &str| said(storage.podman().args(["inspect", "--format", format, name]));
    wait_for("the server to be ready", || {
        let mut logs = storage.podman();
        said(logs.args(["logs", name])).contains("\"event\":\"ready\"")
    });
    let pid = inspect("{{.State.Pid}}");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    for line in [
        "Uid:\t1000\t1000\t1000\t1000",
        "Gid:\t1000\t1000\t1000\t1000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.lines().any(|found| found == line), "{line}\n{status}");
    }
    let written = std::fs::write(format!("/proc/{pid}/root/intruder"), "");
    let error = written.expect_err("a read-only root");
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(inspect("{{.HostConfig.Memory}}"), (512 << 20).to_string());
    let mut mailq = storage.podman();
    run(mailq.args(["exec", name, "mailq"]));
    run(storage
        .podman()
        .args(["pod", "rm", "--force", "--time", "0", "--all"]));
    // The one control group whose name cannot be chosen here; it goes if nobody else is in it.
    packaging::image::end_group_if_empty("libpod_parent");
}
