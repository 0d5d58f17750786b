//! The guide's quick start, line by line, by the real `kubectl`.

use crate::manifests::api_server::ApiServer;
use crate::manifests::rendered::overlay;
use packaging::render::{QUICK_START, quick_start};
use packaging::tools::{Release, root};
use serde_json::Value;
use std::process::Command;

/// Each line succeeds, twice in a row but for the first, and what is there in the end is the overlay.
#[test]
fn the_quick_start_works_line_by_line() {
    for release in Release::ALL {
        let server = ApiServer::start();
        let home = tempfile::tempdir().expect("a folder");
        let run = |line: &str| {
            let mut words = line.split_whitespace();
            assert_eq!(words.next(), Some("kubectl"));
            let mut kubectl: Command = release.kubectl();
            kubectl.current_dir(root()).env("HOME", home.path());
            kubectl
                .arg(format!("--server=http://{}", server.address))
                .args(words);
            let output = kubectl.output().expect("kubectl");
            let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(output.status.success(), "{release:?}: {line}: {text}");
            text
        };
        // Nothing gets in before the namespace is there.
        let early = release
            .kubectl()
            .current_dir(root())
            .env("HOME", home.path())
            .arg(format!("--server=http://{}", server.address))
            .args(["apply", "-f", "k8s/configmap.yaml"])
            .output()
            .expect("kubectl");
        assert!(!early.status.success());
        // What changes something; the last three lines look.
        let (namespace, apply) = (QUICK_START[0], &QUICK_START[1..=quick_start().len()]);
        run(namespace);
        for line in apply {
            run(line);
        }
        for line in apply {
            let text = run(line);
            assert!(!text.contains(" created"), "{release:?}: {line}: {text}");
        }
        assert_eq!(
            sorted(server.objects()),
            sorted(overlay("postgresql").objects),
            "{release:?}"
        );
    }
}

fn sorted(mut objects: Vec<Value>) -> Vec<Value> {
    objects.sort_by_key(|object| format!("{} {}", object["kind"], object["metadata"]["name"]));
    objects
}
