//! The guide's quick start, line by line, and what else docs/kubernetes.md looks with, by the real `kubectl`.

use crate::manifests::api_server::ApiServer;
use crate::manifests::rendered::overlay;
use blackbox::tools::outcome;
use packaging::render::{QUICK_START, quick_start};
use packaging::semantic::findings;
use packaging::tools::{Release, root};
use serde_json::Value;
use std::collections::BTreeSet;

/// A `kubectl` with an API server of its own.
struct Kubectl {
    release: Release,
    server: ApiServer,
    home: tempfile::TempDir,
}

impl Kubectl {
    fn new(release: Release) -> Kubectl {
        Kubectl {
            release,
            server: ApiServer::start(),
            home: tempfile::tempdir().expect("a folder"),
        }
    }

    /// Whether a line succeeds, and what it says.
    fn try_line(&self, line: &str) -> (bool, String) {
        let mut words = line.split_whitespace().map(|word| word.trim_matches('\''));
        assert_eq!(words.next(), Some("kubectl"));
        let mut kubectl = self.release.kubectl();
        kubectl.current_dir(root()).env("HOME", self.home.path());
        kubectl.arg(format!("--server=http://{}", self.server.address));
        outcome(kubectl.args(words))
    }

    fn run(&self, line: &str) -> String {
        let (success, text) = self.try_line(line);
        assert!(success, "{:?}: {line}: {text}", self.release);
        text
    }

    /// The names of the pods that `-l app=smtp-server` chooses.
    fn pods(&self) -> Vec<String> {
        let names = self.run("kubectl get pods -n mail -l app=smtp-server -o name");
        let names = names.lines().filter_map(|name| name.strip_prefix("pod/"));
        names.map(str::to_owned).collect()
    }
}

/// Each line succeeds, those that change something twice in a row but for the first, and what is there then is the overlay. Once its pods
/// run, the last lines find them: by the namespace, by the Deployment's name, by the label.
#[test]
fn the_quick_start_works_line_by_line() {
    for release in Release::ALL {
        let kubectl = Kubectl::new(release);
        // Nothing gets in before the namespace is there.
        assert!(!kubectl.try_line("kubectl apply -f k8s/configmap.yaml").0);
        let (change, look) = QUICK_START.split_at(1 + quick_start().len());
        let (namespace, apply) = (change[0], &change[1..]);
        kubectl.run(namespace);
        for line in apply {
            kubectl.run(line);
        }
        for line in apply {
            let text = kubectl.run(line);
            assert!(!text.contains(" created"), "{release:?}: {line}: {text}");
        }
        assert_eq!(
            sorted(kubectl.server.objects()),
            sorted(overlay("postgresql").objects),
            "{release:?}"
        );
        kubectl.server.settles();
        let &[all, rollout, logs] = look else {
            panic!("three lines that look: {look:?}")
        };
        finds_all(&kubectl, all);
        let text = kubectl.run(rollout);
        assert!(text.contains("successfully rolled out"), "{release:?}: {text}");
        follows_the_logs(&kubectl, logs);
    }
}

/// The HPA's three pods, and what is around them.
fn finds_all(kubectl: &Kubectl, line: &str) {
    let text = kubectl.run(line);
    let named = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    for (start, count) in [
        ("pod/smtp-server-", 3),
        ("service/smtp-server ", 1),
        ("service/smtp-server-lb ", 1),
        ("service/smtp-server-submission ", 1),
        ("deployment.apps/smtp-server ", 1),
        ("replicaset.apps/smtp-server-", 1),
        ("horizontalpodautoscaler.autoscaling/smtp-server-hpa ", 1),
    ] {
        assert_eq!(named(start), count, "{start}: {text}");
    }
}

/// Of each pod the server's container, which is not asked for by name. Of more than five only when that is said, as docs/kubernetes.md does.
fn follows_the_logs(kubectl: &Kubectl, line: &str) {
    let logs = |text: &str| {
        let mut logs: Vec<String> = text.lines().map(str::to_owned).collect();
        logs.sort();
        logs
    };
    let of_all = || -> Vec<String> {
        let pods = kubectl.pods().into_iter();
        pods.map(|pod| format!("log of smtp-server in {pod}")).collect()
    };
    assert_eq!(logs(&kubectl.run(line)), of_all());
    assert_eq!(of_all().len(), 3);
    kubectl
        .run(r#"kubectl patch hpa smtp-server-hpa -n mail --type merge --patch {"spec":{"minReplicas":6}}"#);
    kubectl.server.settles();
    let (success, text) = kubectl.try_line(line);
    assert!(
        !success && text.contains("maximum allowed concurrency is 5"),
        "{text}"
    );
    let option = "--max-log-requests 18";
    assert!(page().contains(option), "the page says nothing of {option}");
    assert_eq!(logs(&kubectl.run(&format!("{line} {option}"))), of_all());
    assert_eq!(of_all().len(), 6);
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/kubernetes.md")).expect("docs/kubernetes.md")
}

/// What the page and the runbooks look with that finds pods, or what belongs to them by its name or label. Not what others' controllers make:
/// a Job's pods, nodes, events, figures.
const LOOKS: [&str; 11] = [
    "exec",
    "get configmap",
    "get networkpolicy",
    "get pod ",
    "get pods -n mail",
    "get pods,pvc",
    "get pvc",
    "get statefulset",
    "get svc",
    "logs",
    "rollout status",
];

/// Such lines as one reads them there, each once: what stands for a pod is one that there is, and what it is piped into is left out.
fn looks(pod: &str, last: &str) -> BTreeSet<String> {
    let runbooks = std::fs::read_dir(root().join("docs/runbooks")).expect("runbooks");
    let pages =
        runbooks.map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).expect("a page"));
    let all: Vec<String> = pages.chain([page()]).collect();
    let lines = all.iter().flat_map(|page| page.lines().map(str::trim_start));
    let lines = lines.filter(|line| {
        let command = line.strip_prefix("kubectl ").unwrap_or_default();
        LOOKS.iter().any(|look| command.starts_with(look)) && !command.contains(" job/")
    });
    let alone = |line: &str| {
        let line = line.split("  #").next().unwrap_or_default();
        let line = line.split(" | ").next().unwrap_or_default().trim_end();
        let line = format!("{line} ").replace(" POD ", &format!(" {pod} "));
        line.replace("smtp-server-2", last).trim_end().to_owned()
    };
    lines.map(alone).collect()
}

/// Everything that the pages look with finds somebody: a pod by its workload, by its own name, by the label; and in it the server.
#[test]
fn what_the_pages_look_with_finds_the_server() {
    let kubectl = Kubectl::new(Release::Helm4);
    for line in &QUICK_START[..=quick_start().len()] {
        kubectl.run(line);
    }
    kubectl.server.settles();
    let embedded = Kubectl::new(Release::Helm4);
    embedded.run("kubectl create namespace mail");
    embedded.run("kubectl apply -k k8s/overlays/embedded");
    embedded.server.settles();
    for name in ["statefulset/smtp-server", "sts/smtp-server"] {
        let text = embedded.run(&format!("kubectl rollout status {name} -n mail"));
        assert!(text.contains("complete"), "{text}");
    }
    let (of_many, of_each) = (kubectl.pods(), embedded.pods());
    assert_eq!(of_each, ["smtp-server-0", "smtp-server-1"]);
    let mut executed = 0;
    for line in looks(&of_many[0], &of_each[1]) {
        let its_own = [of_each[1].as_str(), "pvc", "statefulset"];
        let its_own = its_own.iter().any(|word| line.contains(word));
        let (kubectl, pods) = if its_own {
            (&embedded, &of_each)
        } else {
            (&kubectl, &of_many)
        };
        let text = kubectl.run(&line);
        let found = match line.contains(" exec ") || line.contains(" logs ") || line.contains("pods") {
            true => pods.iter().any(|pod| text.contains(pod.as_str())),
            false => !text.trim().is_empty() && !text.contains("No resources found"),
        };
        assert!(found, "{line}: {text}");
        if let Some((_, command)) = line.split_once(" -- ") {
            let command = command.replace('\'', "");
            let said = format!("{command} in smtp-server in {}", pods[0]);
            let of_another = format!("{command} in smtp-server in {}", pods[pods.len() - 1]);
            assert!(
                text.contains(&said) || text.contains(&of_another),
                "{line}: {text}"
            );
            executed += 1;
        }
    }
    assert!(executed > 20, "{executed} commands");
    lets_a_shell_in(&embedded, &of_each[0]);
}

/// The shell beside the server: Pod Security lets it in as the page makes it, and not as others would.
fn lets_a_shell_in(kubectl: &Kubectl, pod: &str) {
    let page = page();
    let line = page.lines().find(|line| line.starts_with("kubectl debug "));
    let line = line.expect("kubectl debug").replace(" POD ", &format!(" {pod} "));
    // There is nobody to talk to.
    let line = line.replacen(" -it ", " --attach=false ", 1);
    let refused = |line: &str| {
        kubectl.run(line);
        let objects = kubectl.server.objects();
        let its = objects
            .into_iter()
            .filter(|object| object["kind"] == "Namespace" || object["metadata"]["name"] == pod);
        let its: Vec<Value> = its.collect();
        let debugged = its
            .iter()
            .find(|object| object["kind"] == "Pod")
            .expect("the pod");
        let shells = debugged["spec"]["ephemeralContainers"]
            .as_array()
            .expect("a shell");
        assert_eq!(shells[0]["targetContainerName"], "smtp-server");
        findings(&its)
            .iter()
            .any(|one| one.contains("refused by Pod Security"))
    };
    assert!(!refused(&line), "{line}");
    assert!(refused(
        &line.replace("--profile=restricted", "--profile=general")
    ));
}

fn sorted(mut objects: Vec<Value>) -> Vec<Value> {
    objects.sort_by_key(|object| format!("{} {}", object["kind"], object["metadata"]["name"]));
    objects
}
