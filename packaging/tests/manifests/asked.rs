//! The real server, with exactly the configuration, variables and files that a pod would have.

use crate::manifests::rendered::{all, files, overlay};
use blackbox::server::{PASSWORD, binary};
use blackbox::tools::{certificate, outcome, program, run};
use packaging::render::{find, quick_start};
use packaging::semantic::{Set, Workload};
use packaging::tools::Release;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What replaces the values in the Secrets that are made to be refused.
struct Good(BTreeMap<&'static str, String>);

impl Good {
    fn new(folder: &Path) -> Self {
        certificate(folder, &["mail.example.com"], 90);
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a file");
        let mut openssl = program("/usr/bin/openssl");
        run(openssl
            .args(["genrsa", "-out"])
            .arg(folder.join("dkim.pem"))
            .arg("2048"));
        Good(BTreeMap::from([
            ("SMTP_ADMIN_PASSWORD", PASSWORD.to_owned()),
            ("SMTP_DKIM_PRIVATE_KEY", read("dkim.pem")),
            ("SMTP_RELAY_PASSWORD", "secret".to_owned()),
            (
                "SMTP_DATABASE_URL",
                "postgresql://smtp@db.example/smtp".to_owned(),
            ),
            ("tls.crt", read("cert.pem")),
            ("tls.key", read("key.pem")),
        ]))
    }

    /// The files of a Secret, with values that are good where there are such. One that is made elsewhere has what is asked for.
    fn write(&self, secret: Option<&Value>, place: &Path) {
        let keys: BTreeMap<&str, &str> = match secret {
            Some(secret) => secret["stringData"]
                .as_object()
                .expect("stringData")
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str().expect("text")))
                .collect(),
            None => BTreeMap::from([
                ("SMTP_ADMIN_PASSWORD", ""),
                ("SMTP_DKIM_PRIVATE_KEY", ""),
                ("SMTP_DATABASE_URL", "postgresql://smtp@db.example/smtp"),
                ("SMTP_RELAY_PASSWORD", ""),
                ("tls.crt", ""),
                ("tls.key", ""),
            ]),
        };
        for (key, value) in keys {
            let value = self.0.get(key).map_or(value, String::as_str);
            std::fs::write(place.join(key), value).expect("a file");
        }
    }
}

/// A pod's files in a folder, and its variables, with paths to match.
struct Container {
    config: PathBuf,
    env: Vec<(String, String)>,
}

fn container(set: &Set, workload: Workload, good: &Good, folder: &Path) -> Container {
    let server = workload.server().expect("the server");
    let mounts: Vec<(String, String)> = server["volumeMounts"]
        .as_array()
        .expect("mounts")
        .iter()
        .map(|mount| {
            let word = |key: &str| mount[key].as_str().expect("a word").to_owned();
            (word("mountPath"), word("name"))
        })
        .collect();
    // Where a path in the pod is in the folder. In the file paths stand behind a quotation mark. In two steps, since the
    // folder itself may be below a path that is mounted.
    let here = |text: &str| {
        let marked = mounts.iter().fold(format!("\"{text}"), |text, (path, name)| {
            text.replace(&format!("\"{path}/"), &format!("\"\0{name}/"))
        });
        marked[1..].replace('\0', &format!("{}/", folder.display()))
    };
    for (_, name) in &mounts {
        std::fs::create_dir_all(folder.join(name)).expect("a folder");
    }
    for volume in workload.pod()["volumes"].as_array().expect("volumes") {
        let place = folder.join(volume["name"].as_str().expect("a name"));
        if let Some(name) = volume["configMap"]["name"].as_str() {
            let data = find(set.objects, "ConfigMap", name)["data"].as_object();
            for (key, value) in data.expect("data") {
                std::fs::write(place.join(key), here(value.as_str().expect("text"))).expect("a file");
            }
        }
        if let Some(name) = volume["secret"]["secretName"].as_str() {
            good.write(set.get("Secret", name), &place);
        }
    }
    let mut env: Vec<(String, String)> = server["env"]
        .as_array()
        .expect("variables")
        .iter()
        .map(|one| {
            let word = |value: &Value| value.as_str().expect("a word").to_owned();
            let value = match one["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.name") => format!("{}-0", workload.name()),
                _ => here(&word(&one["value"])),
            };
            (word(&one["name"]), value)
        })
        .collect();
    // As every pod has it; and where Kubernetes puts what is projected, a test cannot.
    env.push(("KUBERNETES_SERVICE_HOST".to_owned(), "10.96.0.1".to_owned()));
    for (path, name) in &mounts {
        if *path == CREDENTIALS {
            let place = folder.join(name);
            project(workload.pod(), name, good, &place);
            let place = place.display().to_string();
            env.push(("SMTP_KUBERNETES__CREDENTIALS_PATH".to_owned(), place));
        }
    }
    Container {
        config: folder.join("config/config.toml"),
        env,
    }
}

/// Where the server looks for a token by default.
const CREDENTIALS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The files of a projected volume, by its sources.
fn project(pod: &Value, name: &str, good: &Good, place: &Path) {
    let volumes = pod["volumes"].as_array().expect("volumes").iter();
    let volume = volumes
        .clone()
        .find(|volume| volume["name"] == name)
        .expect("the volume");
    for source in volume["projected"]["sources"].as_array().expect("sources") {
        let write = |file: &Value, text: &str| {
            std::fs::write(place.join(file.as_str().expect("a path")), text).expect("a file");
        };
        if source["serviceAccountToken"].is_object() {
            write(&source["serviceAccountToken"]["path"], "a token");
        }
        for item in source["configMap"]["items"].as_array().into_iter().flatten() {
            write(&item["path"], &good.0["tls.crt"]);
        }
        for item in source["downwardAPI"]["items"].as_array().into_iter().flatten() {
            write(&item["path"], "mail");
        }
    }
}

/// `smtp-server check`: whether it accepts, and what it says.
fn check(container: &Container) -> (bool, String) {
    let mut command = Command::new(binary());
    command.env_clear().envs(container.env.iter().cloned());
    outcome(command.arg("check").arg("--config").arg(&container.config))
}

#[test]
fn the_server_accepts_every_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = Good::new(folder.path());
    let look = |name: &str, objects: &[Value]| {
        let set = Set::new(objects, &[]);
        for (place, workload) in set.workloads().into_iter().enumerate() {
            let folder = folder.path().join(name.replace('/', "-")).join(place.to_string());
            let (accepted, text) = check(&container(&set, workload, &good, &folder));
            assert!(accepted, "{name}: {text}");
            // Not by what is not there: nothing is ignored, and nothing is said to be wrong but that nobody publishes
            // the key.
            for line in text.lines().filter(|line| line.starts_with("warning")) {
                assert!(line.contains("_domainkey"), "{name}: {line}");
            }
        }
    };
    for one in all(Release::Helm4) {
        look(&one.name, &one.objects);
    }
    look("quick-start", &files(&quick_start()));
}

/// Whoever applies the Secrets as they are gets no server with a password that everybody knows.
#[test]
fn each_secret_that_was_not_replaced_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for (overlay_name, key, said) in [
        ("smarthost", "SMTP_ADMIN_PASSWORD", "admin.password"),
        ("smarthost", "SMTP_DKIM_PRIVATE_KEY", "dkim.private_key"),
        ("smarthost", "SMTP_RELAY_PASSWORD", "relay.password_file"),
        ("smarthost", "tls.crt", "/tls/tls.crt: "),
        ("smarthost", "tls.key", "/tls/tls.key: "),
        ("postgresql", "SMTP_DATABASE_URL", "storage.url"),
    ] {
        let objects = overlay(overlay_name).objects;
        let set = Set::new(&objects, &[]);
        let mut good = Good::new(folder.path());
        good.0.remove(key);
        let (accepted, text) = check(&container(
            &set,
            set.workloads()[0],
            &good,
            &folder.path().join(key),
        ));
        assert!(
            !accepted && text.contains(said) && !text.contains("No such file"),
            "{key}: {text}"
        );
    }
}
