//! `helm test`: the pod that the chart renders for it, run beside a pod of the same release, under the release's policies.

use super::around::{Around, named, of_the_workload};
use super::stage::released;
use blackbox::wait_for;
use packaging::kubelet::{Pod, Ran};
use packaging::net::addresses::{pod as pod_addresses, service as service_addresses};
use packaging::net::cluster::Host;
use packaging::net::policy;
use packaging::net::service;
use packaging::render::find;
use packaging::semantic::{Set, Workload};
use serde_json::{Value, json};
use std::sync::Arc;

/// Its name: `RELEASE-test`.
const TEST: &str = "smtp-server-test";

/// A release with one pod, and a host for that of `helm test`.
struct Release {
    pod: Pod,
    host: Arc<Host>,
    tester: Arc<Host>,
    around: Around,
    objects: Vec<Value>,
}

impl Release {
    /// With a domain of its own, so that the test has somebody to write to.
    fn new() -> Release {
        let domains = r#"config.domains=[{"name": "example.com", "deliver": "smtp:mailboxes.mail.svc.cluster.local:25", "recipients": "any"}]"#;
        let objects = released("embedded", &["--set-json", domains]);
        let around = Around::new(objects.clone());
        let host = Arc::new(around.cluster.host(&pod_addresses(1)));
        let tester = Arc::new(around.cluster.host(&pod_addresses(2)));
        around.cluster.claim(&service_addresses(1));
        around.knows("smtp-server.mail.svc.cluster.local", service_addresses(1)[0]);
        let pod = around.node.start_on(&host, "StatefulSet", "smtp-server", 0);
        pod.wait_ready();
        Release {
            pod,
            host,
            tester,
            around,
            objects,
        }
    }

    /// `helm test`: the hooks of lower weight first, which are the policies, then the pod. `served`: where the Service leads.
    fn test(&self, objects: &[Value], served: &[policy::Pod]) -> Ran {
        self.test_and(objects, served, |_| {})
    }

    /// The same; `ended` is called with each exit code of a container.
    fn test_and(&self, objects: &[Value], served: &[policy::Pod], ended: impl FnMut(i32)) -> Ran {
        let set = Set::new(objects, &[]);
        let tester: Workload<'_> = *set
            .all_pods()
            .iter()
            .find(|one| one.name() == TEST)
            .expect("its pod");
        let server = of_the_workload(&self.host, &self.objects);
        let tester = named(&self.tester, tester.namespace(), tester.labels());
        self.around.enforce(objects, &[server, tester]);
        let rendered = find(objects, "Service", "smtp-server");
        let services = service::of(rendered, &service_addresses(1), served);
        self.around.cluster.serve(&services);
        self.around.node.run_pod(&self.tester, TEST, ended)
    }

    /// The pods that are ready, which a Service leads to.
    fn ready(&self) -> Vec<policy::Pod> {
        let server = of_the_workload(&self.host, &self.objects);
        self.pod
            .timeline()
            .is_ready()
            .then_some(server)
            .into_iter()
            .collect()
    }

    /// It fails, by its first container, for this reason, as often as it is tried.
    fn fails(&self, objects: &[Value], served: &[policy::Pod], reason: &str) {
        let ran = self.test(objects, served);
        assert!(!ran.succeeded, "{ran:?}");
        let [first] = &ran.containers[..] else {
            panic!("one container, and no further: {ran:?}")
        };
        assert_eq!(first.name, "ready", "{ran:?}");
        let tried = &first.codes;
        assert!(
            !tried.is_empty() && tried.iter().all(|code| *code != 0),
            "{ran:?}"
        );
        assert!(first.output.contains(reason), "{reason:?}: {ran:?}");
    }
}

#[test]
fn helm_test_passes_while_the_release_works_and_fails_when_it_does_not() {
    let release = Release::new();
    let ran = release.test(&release.objects, &release.ready());
    assert!(ran.succeeded, "{ran:?}");
    let names: Vec<&str> = ran.containers.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["ready", "starttls", "send"]);
    let messages = release.around.sink.wait(1);
    assert_eq!(messages[0].to, ["<postmaster@example.com>"]);

    // From here on it is not waited for as long: as `tests.timeoutSeconds: 2` renders it.
    release.around.node.edit("Pod", TEST, |pod| {
        assert_eq!(pod["spec"]["activeDeadlineSeconds"], 120);
        pod["spec"]["activeDeadlineSeconds"] = json!(2);
    });
    // Without the policies that come with it nothing lets it through.
    let mut without = release.objects.clone();
    without.retain(|object| {
        let hook = object["metadata"]["annotations"]["helm.sh/hook"] == "test";
        !(hook && object["kind"] == "NetworkPolicy")
    });
    assert_eq!(without.len() + 2, release.objects.len());
    release.fails(&without, &release.ready(), "smtp-server");
    // The Service points to nothing.
    let mut astray = release.objects.clone();
    let service = astray
        .iter_mut()
        .find(|object| object["kind"] == "Service" && object["metadata"]["name"] == "smtp-server");
    service.expect("the Service")["spec"]["selector"]["app"] = json!("smtp-sever");
    release.fails(&astray, &release.ready(), "refused");
    // The server is not ready: it cannot take mail, so that the Service leaves it out.
    // What is left of 1 GiB is less than `storage.min_free`, 64 MiB, and enough for the files of another pod.
    let filler = release.around.node.claim("filler");
    std::fs::write(&filler, vec![1; 1000 << 20]).expect("a file");
    wait_for("the pod to be taken out", || release.ready().is_empty());
    release.fails(&release.objects, &release.ready(), "refused");
    // And where the Service has not heard of it yet, the pod says so itself.
    let server = of_the_workload(&release.host, &release.objects);
    release.fails(&release.objects, std::slice::from_ref(&server), "storage");
    assert_eq!(release.around.sink.count(), 1);

    // A container that fails is started again: a server that gets ready meanwhile passes, as the chart renders the time for it.
    release.around.node.edit("Pod", TEST, |pod| {
        pod["spec"]["activeDeadlineSeconds"] = json!(120);
    });
    let ran = release.test_and(&release.objects, &[server], |_| {
        if filler.exists() {
            std::fs::remove_file(&filler).expect("remove");
        }
    });
    assert!(ran.succeeded, "{ran:?}");
    let [failed @ .., 0] = &ran.containers[0].codes[..] else {
        panic!("{ran:?}")
    };
    assert!(!failed.is_empty() && !failed.contains(&0), "{ran:?}");
    release.around.sink.wait(2);
}
