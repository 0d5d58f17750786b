//! An API server of Kubernetes that knows one StatefulSet (`tests/receivers/api_server.py`), with an authority of its own, and the folder that
//! a pod of it has.

use crate::receiver::Receiver;
use crate::tools::certificates;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A running API server.
pub struct ApiServer {
    receiver: Receiver,
    folder: tempfile::TempDir,
}

/// The StatefulSet `smtp-server` with these members of its `spec`.
pub fn statefulset(spec: Value) -> Value {
    let mut set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "smtp-server", "namespace": "mail", "uid": "0b6f3c6e-2f2c-4d0b-9f55-1f1f5a0c7d11"},
        "spec": {"serviceName": "smtp-server-headless",
            "volumeClaimTemplates": [{"kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}]}});
    for (key, value) in spec.as_object().expect("members") {
        set["spec"][key] = value.clone();
    }
    set
}

impl ApiServer {
    /// With so many replicas, for who shows `first`, which is what the pod's folder has.
    pub fn start(replicas: u64) -> ApiServer {
        let folder = tempfile::tempdir().expect("a folder");
        certificates(folder.path());
        let pod = folder.path().join("pod");
        std::fs::create_dir(&pod).expect("folder");
        std::fs::copy(folder.path().join("ca.pem"), pod.join("ca.crt")).expect("ca.crt");
        std::fs::write(pod.join("namespace"), "mail").expect("namespace");
        write_wanted(
            folder.path(),
            "first",
            "say",
            200,
            &statefulset(json!({"replicas": replicas})),
        );
        let path = |name: &str| folder.path().join(name).display().to_string();
        let args = [path("wanted.json"), path("cert.pem"), path("key.pem")];
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let receiver = Receiver::start("api_server.py", &args, None);
        let server = ApiServer { receiver, folder };
        server.token("first");
        server
    }

    /// The folder of a pod: token, authority, namespace.
    pub fn credentials(&self) -> PathBuf {
        self.folder.path().join("pod")
    }

    /// The pod's token from now on.
    pub fn token(&self, token: &str) {
        std::fs::write(self.credentials().join("token"), token).expect("token");
    }

    /// What is answered from now on.
    pub fn answers(&self, status: u16, answer: &Value) {
        write_wanted(self.folder.path(), "first", "say", status, answer);
    }

    /// The same for the StatefulSet with these members of its `spec`.
    pub fn has(&self, spec: Value) {
        self.answers(200, &statefulset(spec));
    }

    /// Only this token is taken from now on.
    pub fn wants(&self, token: &str, spec: Value) {
        write_wanted(self.folder.path(), token, "say", 200, &statefulset(spec));
    }

    /// It misbehaves from now on.
    pub fn behaves(&self, manner: &str) {
        write_wanted(self.folder.path(), "first", manner, 200, &Value::Null);
    }

    /// What it was asked: path, and what the asker showed.
    pub fn asked(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let asked = self.receiver.with("asked");
        asked
            .iter()
            .map(|one| (text(&one["asked"]), text(&one["authorization"])))
            .collect()
    }

    /// The settings of the pod of that number.
    pub fn config(&self, pod: u64) -> String {
        format!(
            "[kubernetes]\nstatefulset = \"smtp-server\"\npod = \"smtp-server-{pod}\"\napi = \"{}\"\ncredentials_path = \"{}\"\n",
            self.receiver.url.replace("http://", "https://"),
            self.credentials().display()
        )
    }
}

fn write_wanted(folder: &Path, token: &str, manner: &str, status: u16, answer: &Value) {
    let wanted = json!({"token": token, "manner": manner, "status": status, "answer": answer});
    let new = folder.join("wanted.new");
    std::fs::write(&new, wanted.to_string()).expect("write");
    std::fs::rename(new, folder.join("wanted.json")).expect("rename");
}
