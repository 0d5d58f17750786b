//! A new version of the chart fits an installation of an old one.

use crate::charts::rendering::{CHART, copied_chart, folder, template_of};
use blackbox::server::binary;
use blackbox::tools::run;
use packaging::render::{file, find, kustomize, objects};
use packaging::semantic::Workload;
use packaging::semantic::network::{End, Policies, Protocol, Way};
use packaging::tools::{Release, python, root};
use serde_json::{Value, json};
use std::path::Path;

/// What Kubernetes lets nobody change, of the workload and the Services.
fn immutable(objects: &[Value]) -> Value {
    let mut all = serde_json::Map::new();
    for object in objects {
        let spec = &object["spec"];
        let fixed = match object["kind"].as_str() {
            Some("StatefulSet") => json!({
                "selector": spec["selector"],
                "serviceName": spec["serviceName"],
                "podManagementPolicy": spec["podManagementPolicy"],
                "volumeClaimTemplates": spec["volumeClaimTemplates"],
            }),
            Some("Deployment") => json!({"selector": spec["selector"]}),
            Some("Service") => {
                json!({"clusterIP": spec["clusterIP"], "loadBalancerClass": spec["loadBalancerClass"], "selector": spec["selector"]})
            }
            Some("PodDisruptionBudget") => json!({"selector": spec["selector"]}),
            _ => continue,
        };
        all.insert(
            format!("{}/{}", object["kind"], object["metadata"]["name"]).replace('"', ""),
            fixed,
        );
    }
    Value::Object(all)
}

fn values(mode: &str) -> std::path::PathBuf {
    root().join(CHART).join(format!("ci/{mode}-values.yaml"))
}

/// What 0.1.0 made, which installations have: changing it means that they cannot be upgraded.
#[test]
fn what_cannot_change_is_as_it_was() {
    for mode in ["embedded", "postgresql"] {
        let made = immutable(&template_of(
            Release::Helm4,
            &root().join(CHART),
            &values(mode),
            &[],
        ));
        let kept = root().join(format!("packaging/tests/charts/immutable/{mode}.json"));
        let kept: Value =
            serde_json::from_str(&std::fs::read_to_string(kept).expect("what was")).expect("JSON");
        assert_eq!(made, kept, "{mode}: {made:#}");
    }
}

/// A chart of another version, with the same server, replaces no pod.
#[test]
fn another_version_of_the_chart_restarts_nothing() {
    let folder = folder();
    let chart = copied_chart(folder.path());
    let file = chart.join("Chart.yaml");
    let text = std::fs::read_to_string(&file).expect("Chart.yaml");
    assert!(text.contains("\nversion: 0.1.0\n"), "{text}");
    std::fs::write(&file, text.replace("\nversion: 0.1.0\n", "\nversion: 0.9.9\n")).expect("written");
    for (mode, kind) in [("embedded", "StatefulSet"), ("postgresql", "Deployment")] {
        let before = template_of(Release::Helm4, &root().join(CHART), &values(mode), &[]);
        let after = template_of(Release::Helm4, &chart, &values(mode), &[]);
        assert_ne!(before, after, "the label of the chart's version");
        let spec = |objects: &[Value]| find(objects, kind, "smtp-server")["spec"].clone();
        assert_eq!(spec(&before), spec(&after));
        assert_eq!(immutable(&before), immutable(&after));
    }
}

/// The configuration alone changes its ConfigMap and no pod, unless that is asked for.
#[test]
fn a_changed_configuration_restarts_nothing_unasked() {
    let spec = |more: &[&str]| {
        let objects = template_of(Release::Helm4, &root().join(CHART), &values("embedded"), more);
        find(&objects, "StatefulSet", "smtp-server")["spec"].clone()
    };
    let change = ["--set", "config.limits.max_recipients=50"];
    assert_eq!(spec(&[]), spec(&change));
    let asked = ["--set", "rollOnConfigChange=true"];
    assert_ne!(spec(&asked), spec(&[&asked[..], &change].concat()));
}

/// What is packed: the chart, and nothing of its tests.
#[test]
fn the_package_is_the_chart() {
    let folder = folder();
    for release in Release::ALL {
        let mut helm = release.helm();
        run(helm
            .args(["package", "--destination"])
            .arg(folder.path())
            .arg(root().join(CHART)));
        let package = folder.path().join("smtp-server-0.1.0.tgz");
        let output = run(std::process::Command::new("tar").arg("tzf").arg(&package));
        let files = String::from_utf8(output.stdout).expect("UTF-8");
        let has = |file: &str| {
            files
                .lines()
                .any(|line| Path::new(line) == Path::new("smtp-server").join(file))
        };
        for file in [
            "Chart.yaml",
            "values.yaml",
            "values.schema.json",
            "README.md",
            "UPGRADING.md",
            "templates/NOTES.txt",
        ] {
            assert!(has(file), "{file}: {files}");
        }
        assert!(!files.contains("/ci/") && !has("README.head.md"), "{files}");
        assert!(
            files.contains("/files/alerts/") && files.contains("/files/dashboards/"),
            "{files}"
        );
        // It installs as well as the folder does.
        let values = values("monitoring");
        let from = |chart: &Path| template_of(release, chart, &values, &[]);
        assert_eq!(from(&package), from(&root().join(CHART)));
    }
}

/// What moves a queue to PostgreSQL, and what lets it in to a database where everything else is denied.
const JOB: &str = "k8s/jobs/migrate-queue.yaml";
const INGRESS: &str = "k8s/jobs/migrate-ingress.yaml";

/// The Job that moves a queue to PostgreSQL, which UPGRADING.md and docs/kubernetes.md send people to.
#[test]
fn the_job_that_moves_a_queue_is_one() {
    for page in [&*format!("{CHART}/UPGRADING.md"), "docs/kubernetes.md"] {
        let text = std::fs::read_to_string(root().join(page)).expect("the page");
        assert!(text.contains(JOB) && text.contains(INGRESS), "{page}");
    }
    let mut policies = file(JOB);
    let job = policies.remove(0);
    // The files deny what they do not allow.
    policies.extend(file(INGRESS));
    let folder = folder();
    let file = folder.path().join("job.yaml");
    std::fs::write(&file, job.to_string()).expect("written");
    let mut judge = python("kubernetes-validate", "kubernetes_validate");
    run(judge.args(["--strict", "-k", "1.37.0"]).arg(&file));
    // The server knows what it is told, and looks for the queue where the claim is.
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    let arguments: Vec<&str> = container["args"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(&arguments[..2], ["queue", "migrate"]);
    let help = run(std::process::Command::new(binary()).args(["queue", "migrate", "--help"]));
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    for argument in &arguments[2..] {
        let option = argument.split('=').next().expect("an option");
        assert!(help.contains(&format!("{option} <")), "{option}: {help}");
    }
    let claims = template_of(Release::Helm4, &root().join(CHART), &values("embedded"), &[]);
    let claim =
        &find(&claims, "StatefulSet", "smtp-server")["spec"]["volumeClaimTemplates"][0]["metadata"]["name"];
    let volumes = job["spec"]["template"]["spec"]["volumes"]
        .as_array()
        .expect("volumes");
    let named = volumes
        .iter()
        .filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str());
    assert_eq!(
        named.collect::<Vec<_>>(),
        [format!("{}-smtp-server-0", claim.as_str().expect("a name"))]
    );
    reaches_its_database(&job, &policies);
    // And it would be let into a namespace that is restricted, beside the overlay that it is about.
    let mut beside = objects(&kustomize(Release::Helm4, "k8s/overlays/embedded"));
    beside.push(job);
    beside.extend(policies);
    assert_eq!(
        packaging::semantic::findings_but(&beside, &OUTSIDE),
        Vec::<String>::new()
    );
}

/// Names and the database, from a namespace where nothing else is allowed; and nothing more.
fn reaches_its_database(job: &Value, policies: &[Value]) {
    let mut all = objects(&kustomize(Release::Helm4, "k8s/overlays/embedded"));
    all.extend_from_slice(policies);
    let policies = Policies::of(&all);
    let job = Workload { object: job };
    let asks = |way, other: &End, port| policies.let_through(job, way, other, Protocol::Tcp, port);
    let database = |namespace| End::pod(namespace, &[("app", "postgresql")]);
    assert!(asks(Way::Out, &database("mail"), 5432) && asks(Way::Out, &database("database"), 5432));
    assert!(asks(
        Way::Out,
        &End::pod("kube-system", &[("k8s-app", "kube-dns")]),
        53
    ));
    assert!(!asks(Way::Out, &End::address("203.0.113.9"), 25) && !asks(Way::Out, &database("shop"), 5432));
    assert!(!asks(Way::In, &End::pod("mail", &[("app", "shop")]), 2525));
    let pod = json!({"kind": "Pod", "metadata": {"name": "db", "namespace": "mail", "labels": {"app": "postgresql"}}});
    let from_it = End::Pod("mail".into(), job.labels());
    assert!(policies.let_through(Workload { object: &pod }, Way::In, &from_it, Protocol::Tcp, 5432));
}

/// What UPGRADING.md has applied beside a release of the chart, by whether its `networkPolicy.denyNamespace` is set.
fn told_to_apply(denies: bool) -> Vec<Value> {
    let page = std::fs::read_to_string(root().join(CHART).join("UPGRADING.md")).expect("the page");
    let lines = page.lines().filter_map(|line| line.split_once(" apply -f "));
    let wanted = lines.filter(|(_, rest)| denies || !rest.contains("denyNamespace"));
    let files: Vec<&str> = wanted
        .filter_map(|(_, rest)| rest.split_whitespace().next())
        .collect();
    assert_eq!(files.contains(&INGRESS), denies, "{files:?}");
    assert!(files.contains(&JOB), "{files:?}");
    files.into_iter().flat_map(file).collect()
}

/// A policy about the database's pods would shut them for everybody else where nothing denies by default: so the way in for the Job is
/// opened only where something does. Before and after, the server gets there.
#[test]
fn the_move_shuts_nobody_out_of_the_database() {
    let pod = json!({"kind": "Pod", "metadata": {"name": "db", "namespace": "mail", "labels": {"app": "postgresql"}}});
    let database = Workload { object: &pod };
    for denies in [false, true] {
        let set = format!("networkPolicy.denyNamespace={denies}");
        let chart = template_of(
            Release::Helm4,
            &root().join(CHART),
            &values("postgresql"),
            &["--set", &set],
        );
        let server = Workload {
            object: find(&chart, "Deployment", "smtp-server"),
        };
        let applied = told_to_apply(denies);
        let job = Workload {
            object: find(&applied, "Job", "smtp-server-migrate-0"),
        };
        let with = [&chart[..], &applied].concat();
        for (when, objects) in [("meanwhile", &with), ("afterwards", &chart)] {
            let policies = Policies::of(objects);
            let gets_there = |pods: Workload| {
                let from = End::Pod("mail".into(), pods.labels());
                let to = End::Pod("mail".into(), database.labels());
                policies.let_through(pods, Way::Out, &to, Protocol::Tcp, 5432)
                    && policies.let_through(database, Way::In, &from, Protocol::Tcp, 5432)
            };
            assert!(gets_there(server), "{set}: the server, {when}");
            assert!(gets_there(job) || when == "afterwards", "{set}: the Job");
            let other = End::pod("shop", &[("app", "shop")]);
            let open = policies.let_through(database, Way::In, &other, Protocol::Tcp, 5432);
            assert_eq!(open, !denies, "{set}: others' pods, {when}");
        }
    }
}

/// The claim is one that the StatefulSet made.
const OUTSIDE: [(&str, &str); 1] = [("PersistentVolumeClaim", "data-smtp-server-0")];
