//! Every line of `kubectl` and `helm` in a page, a comment or the chart's notes is one that both releases of these understand, and
//! names what there is: objects, namespaces, containers, ports, keys, files and values.

use super::cluster::Cluster;
use super::helm;
use super::kubectl::Check;
use super::options::{Known, Program};
use super::shell::{Words, commands, in_backticks, in_comments, of_blocks};
use super::tree::{files, quoted, text};
use packaging::tools::{Release, root};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Where a line stands, whether it is to be typed as it is, and its words.
struct Shown {
    place: String,
    whole: bool,
    words: Words,
}

/// The lines of every page, and of comments in manifests and values.
fn shown() -> Vec<Shown> {
    let mut found = Vec::new();
    let mut add = |place: &str, whole: bool, lines: Vec<Words>| {
        let place = place.to_owned();
        found.extend(lines.into_iter().map(|words| Shown {
            place: place.clone(),
            whole,
            words,
        }));
    };
    for file in files("") {
        let page = || text(&root().join(&file));
        if file.ends_with(".md") {
            add(&file, true, of_blocks(&page()));
            add(&file, false, in_backticks(&page()));
        } else if file.ends_with(".yaml") && (file.starts_with("k8s/") || file.starts_with("charts/")) {
            add(&file, true, in_comments(&page(), &["kubectl", "helm"]));
            add(&file, false, in_backticks(&page()));
        }
    }
    for values in NOTED {
        add(&of_notes(values), true, notes(values));
    }
    found
}

/// Values files with which the notes are read, each for what it makes: `edge` has no port of the console on its Service.
const NOTED: [&str; 6] = [
    "embedded",
    "postgresql",
    "development",
    "monitoring",
    "smarthost",
    "edge",
];

fn values_file(values: &str) -> PathBuf {
    root().join(format!("charts/smtp-server/ci/{values}-values.yaml"))
}

/// The place that notes have in what is found.
fn of_notes(values: &str) -> String {
    format!("NOTES.txt, {values}")
}

/// The commands of what Helm prints after an installation.
fn notes(values: &str) -> Vec<Words> {
    let mut helm = Release::Helm4.helm();
    let chart = root().join("charts/smtp-server");
    helm.args(["install", "smtp-server"]).arg(&chart);
    helm.args(["--namespace", "mail", "--dry-run=client", "--values"]);
    let output = blackbox::tools::run(helm.arg(values_file(values)));
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let (_, notes) = said.split_once("\nNOTES:\n").expect("notes");
    let lines = notes.lines().map(str::trim_start);
    let lines = lines.filter(|line| line.starts_with("kubectl ") || line.starts_with("helm "));
    lines.flat_map(commands).collect()
}

#[test]
fn commands_for_a_cluster_name_what_there_is() {
    let (manifests, chart) = (Cluster::of_files(), Cluster::of_the_chart());
    let noted = NOTED.map(|values| (of_notes(values), Cluster::of_values(&values_file(values))));
    let schema = helm::schema();
    let mut known = Known::new();
    let (mut wrong, mut seen) = (BTreeSet::new(), [0, 0]);
    for Shown { place, whole, words } in shown() {
        let program = match words[0].as_str() {
            "kubectl" => Program::Kubectl,
            "helm" => Program::Helm,
            _ => continue,
        };
        // The name alone, in a sentence.
        if words.len() == 1 {
            continue;
        }
        seen[usize::from(program == Program::Helm)] += 1;
        let cluster = match noted.iter().find(|(notes, _)| *notes == place) {
            Some((_, its)) => its,
            None if place.starts_with("charts/") => &chart,
            None => &manifests,
        };
        let found = match (known.read(program, &words[1..]), program) {
            // `kubectl apply -k`, in a sentence.
            (Err(text), _) if !whole && text.ends_with("wants a value") => Vec::new(),
            (Err(text), _) => vec![text],
            (Ok(line), Program::Kubectl) => Check {
                line: &line,
                cluster,
                whole,
            }
            .wrong(),
            (Ok(line), Program::Helm) => helm::wrong(&line, cluster, &schema, whole),
        };
        wrong.extend(
            found
                .iter()
                .map(|text| format!("{place}: {}: {text}", words.join(" "))),
        );
    }
    assert!(seen[0] > 150 && seen[1] > 20, "{seen:?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Options in a sentence: `--set a.b=c`.
#[test]
fn values_that_are_set_exist() {
    let schema = helm::schema();
    let (mut wrong, mut seen) = (BTreeSet::new(), 0);
    // The server has an option of this name, too, which is in its reference.
    let pages = files("")
        .into_iter()
        .filter(|file| file.ends_with(".md") && !file.starts_with("docs/reference/"));
    for file in pages {
        let page = text(&root().join(&file));
        for set in quoted(&page)
            .into_iter()
            .flat_map(|span| span.split("--set ").skip(1))
        {
            seen += 1;
            wrong.extend(helm::unknown(&schema, set).map(|text| format!("{file}: {text}")));
        }
    }
    assert!(seen > 5, "{seen}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Each kind of mistake is seen.
#[test]
fn what_a_cluster_does_not_have_is_noticed() {
    let cluster = Cluster::of_files();
    let schema = helm::schema();
    let mut known = Known::new();
    let mut said = |line: &str| -> String {
        let words = commands(line).remove(0);
        let program = if words[0] == "helm" {
            Program::Helm
        } else {
            Program::Kubectl
        };
        let found = match (known.read(program, &words[1..]), program) {
            (Err(text), _) => vec![text],
            (Ok(line), Program::Kubectl) => Check {
                line: &line,
                cluster: &cluster,
                whole: true,
            }
            .wrong(),
            (Ok(line), Program::Helm) => helm::wrong(&line, &cluster, &schema, true),
        };
        found.join("; ")
    };
    for (line, expected) in [
        ("kubectl get pods -n mail -l app=smtp-server", ""),
        ("kubectl get pods -l app=smtp-server", "says no namespace"),
        ("kubectl get pods -n post", "no namespace post"),
        ("kubectl get pods -n mail -l app=smtp", "no Pod has app=smtp"),
        (
            "kubectl get hpa smtp-hpa -n mail",
            "no HorizontalPodAutoscaler smtp-hpa",
        ),
        ("kubectl get foos -n mail", "nobody knows the kind foos"),
        (
            "kubectl exec -n mail smtp-0 -- /smtp-server check",
            "no Pod smtp-0",
        ),
        ("kubectl exec -n mail POD -- sh", "the image has no Some(\"sh\")"),
        (
            "kubectl exec -n mail POD -c smtp -- /smtp-server check",
            "no container smtp",
        ),
        ("kubectl port-forward -n mail POD 8090", "POD has no port 8090"),
        (
            "kubectl port-forward -n mail svc/smtp-server 2525:2525",
            "svc/smtp-server has no port 2525",
        ),
        (
            "kubectl delete pvc data-smtp-0 -n mail",
            "no PersistentVolumeClaim data-smtp-0",
        ),
        ("kubectl apply -f k8s/ingress.yaml", "no file k8s/ingress.yaml"),
        (
            "kubectl apply -k k8s/overlays/production",
            "nothing for kustomize in \"k8s/overlays/production\"",
        ),
        (
            "kubectl get secret smtp-tls -n mail -o jsonpath='{.data.cert}'",
            "Secret smtp-tls has no .data.cert",
        ),
        (
            "kubectl get statefulset smtp-server -n mail -o jsonpath='{.spec.pods}'",
            "StatefulSet smtp-server has no .spec.pods",
        ),
        (
            "kubectl create secret generic smtp-secrets -n mail --from-file=KEY=x",
            "nobody reads KEY of smtp-secrets",
        ),
        (
            "kubectl patch pv $volume --patch '{\"spec\": }'",
            "no JSON: {\"spec\": }",
        ),
        (
            "kubectl auth can-i get sts/smtp-server -n mail --as=system:serviceaccount:mail:smtp",
            "no account system:serviceaccount:mail:smtp",
        ),
        ("kubectl proxy", "nobody looks at `kubectl proxy`"),
        ("helm test smtp-server --namespace mail", ""),
        (
            "helm install smtp-server charts/smtp --namespace mail",
            "no chart charts/smtp",
        ),
        (
            "helm upgrade smtp-server charts/smtp-server --namespace mail --set mod=postgresql",
            "no value mod",
        ),
        (
            "helm upgrade smtp-server charts/smtp-server --namespace mail --set config.server.name=x",
            "no value config.server.name",
        ),
        (
            "helm install smtp-server charts/smtp-server --namespace mail --values x.yaml",
            "no values file x.yaml",
        ),
        ("helm install smtp-server charts/smtp-server", "says no namespace"),
    ] {
        assert_eq!(said(line), expected, "{line}");
    }
}
