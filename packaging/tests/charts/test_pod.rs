//! The pod of `helm test`.

use crate::charts::rendering::{CHART, template};
use blackbox::server::{Server, Setup, binary};
use packaging::render::find;
use packaging::tools::root;
use serde_json::Value;
use std::process::{Command, Stdio};

/// What the containers of the test pod run ends well at a server that works, and else does not.
#[test]
fn the_test_pod_finds_out() {
    let objects = template(&root().join(CHART).join("ci/single-values.yaml"));
    let pod = &find(&objects, "Pod", "smtp-server-test")["spec"];
    let containers: Vec<&Value> = ["initContainers", "containers"]
        .iter()
        .flat_map(|list| pod[*list].as_array().expect("containers"))
        .collect();
    let names: Vec<&str> = containers.iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["ready", "starttls", "send"]);
    let call = |container: &Value, smtp: &str, http: &str| {
        let arguments: Vec<String> = container["args"]
            .as_array()
            .expect("arguments")
            .iter()
            .map(|one| one.as_str().expect("text"))
            .map(|one| {
                one.replace("smtp-server:25", smtp)
                    .replace("smtp-server:8080", http)
            })
            .collect();
        let mut client = Command::new(binary());
        client.env_clear().args(&arguments).stdin(Stdio::null());
        client.output().expect("the client")
    };
    let server = Server::start(Setup::new(
        "[[domains]]\nname = \"example.com\"\ndeliver = \"capture\"\n",
    ));
    for container in &containers {
        let output = call(container, &server.smtp.to_string(), &server.http.to_string());
        assert!(
            output.status.success(),
            "{}: {}",
            container["name"],
            String::from_utf8_lossy(&output.stderr)
        );
    }
    server.wait_event("delivery", |event| event["to"] == "postmaster@example.com");
    // Ports that nobody listens on.
    for container in &containers {
        let output = call(container, "127.0.0.1:1", "127.0.0.1:1");
        assert!(
            !output.status.success(),
            "{} ends well without a server",
            container["name"]
        );
    }
}
