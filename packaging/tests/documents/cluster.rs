//! What a cluster has when everything of the files, or of the chart, is applied: which names a command may use.

use packaging::render::{chart, customized, file, kustomize, objects, released};
use packaging::semantic::{Set, labels, list, name_of, namespace_of, selects};
use packaging::tools::Release;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Kinds by the words that kubectl takes for them, and whether they are in a namespace.
static KINDS: [(&str, &[&str], bool); 29] = [
    ("Pod", &["pod", "pods", "po"], true),
    ("Deployment", &["deployment", "deployments", "deploy"], true),
    ("StatefulSet", &["statefulset", "statefulsets", "sts"], true),
    ("Job", &["job", "jobs"], true),
    ("Service", &["service", "services", "svc"], true),
    ("ConfigMap", &["configmap", "configmaps", "cm"], true),
    ("Secret", &["secret", "secrets"], true),
    (
        "ServiceAccount",
        &["serviceaccount", "serviceaccounts", "sa"],
        true,
    ),
    ("Role", &["role", "roles"], true),
    ("RoleBinding", &["rolebinding", "rolebindings"], true),
    (
        "NetworkPolicy",
        &["networkpolicy", "networkpolicies", "netpol"],
        true,
    ),
    ("PodDisruptionBudget", &["poddisruptionbudget", "pdb"], true),
    (
        "HorizontalPodAutoscaler",
        &["horizontalpodautoscaler", "hpa"],
        true,
    ),
    (
        "PersistentVolumeClaim",
        &["persistentvolumeclaim", "persistentvolumeclaims", "pvc"],
        true,
    ),
    (
        "ResourceQuota",
        &["resourcequota", "resourcequotas", "quota"],
        true,
    ),
    ("LimitRange", &["limitrange", "limitranges", "limits"], true),
    ("Certificate", &["certificate", "certificates"], true),
    ("ExternalSecret", &["externalsecret", "externalsecrets"], true),
    ("ScaledObject", &["scaledobject", "scaledobjects"], true),
    ("PodMonitor", &["podmonitor", "podmonitors"], true),
    ("ServiceMonitor", &["servicemonitor", "servicemonitors"], true),
    ("PrometheusRule", &["prometheusrule", "prometheusrules"], true),
    ("TCPRoute", &["tcproute", "tcproutes"], true),
    ("EndpointSlice", &["endpointslice", "endpointslices"], true),
    ("Event", &["event", "events"], true),
    ("", &["all"], true),
    ("Node", &["node", "nodes", "no"], false),
    ("PersistentVolume", &["persistentvolume", "pv"], false),
    ("Namespace", &["namespace", "namespaces", "ns"], false),
];

/// What others bring: kind, name or label, namespace.
const OUTSIDE: [(&str, &str, &str); 5] = [
    ("Service", "kubernetes", "default"),
    (
        "EndpointSlice",
        "kubernetes.io/service-name=kubernetes",
        "default",
    ),
    ("Pod", "k8s-app=kube-dns", "kube-system"),
    ("Deployment", "coredns", "kube-system"),
    ("Pod", "cnpg.io/cluster", "database"),
];

/// A kind by one of its words.
pub(crate) fn kind(word: &str) -> Option<(&'static str, bool)> {
    let known = KINDS.iter().find(|(_, words, _)| words.contains(&word))?;
    Some((known.0, known.2))
}

/// Words that stand for something of the reader's: `POD`, `$claim`, `…`.
pub(crate) fn is_placeholder(word: &str) -> bool {
    let spelled = word
        .chars()
        .all(|c| c.is_ascii_uppercase() || c == '-' || c == '_' || c.is_ascii_digit());
    word.contains(['…', '$', '<']) || (spelled && word.contains(|c: char| c.is_ascii_uppercase()))
}

pub(crate) struct Cluster {
    pub(crate) objects: Vec<Value>,
}

impl Cluster {
    /// All overlays, and the components that bring objects.
    pub(crate) fn of_files() -> Cluster {
        let mut all = file("k8s/jobs/migrate-queue.yaml");
        all.extend(file("k8s/jobs/migrate-ingress.yaml"));
        for overlay in ["dev", "edge", "embedded", "postgresql", "smarthost"] {
            all.extend(objects(&kustomize(
                Release::Helm4,
                &format!("k8s/overlays/{overlay}"),
            )));
        }
        let both = [
            "cert-manager",
            "external-secrets",
            "gateway-api",
            "limits",
            "admin-port",
        ];
        let with = |own: &[&str]| -> Vec<String> {
            let all = both.iter().chain(own).map(|name| format!("components/{name}"));
            all.chain(["monitoring".to_owned()]).collect()
        };
        for (overlay, own) in [("embedded", "scale-aware"), ("postgresql", "keda")] {
            let components = with(&[own]);
            let components: Vec<&str> = components.iter().map(String::as_str).collect();
            all.extend(objects(&customized(Release::Helm4, overlay, &components)));
        }
        // In place of the PodMonitor.
        all.extend(file("k8s/monitoring/servicemonitor.yaml"));
        Cluster { objects: all }
    }

    /// What Helm makes of the chart with one of its values files for CI.
    pub(crate) fn of_values(file: &Path) -> Cluster {
        let mut all = objects(&chart(Release::Helm4, Some(file), "1.37.0", &[]));
        all.push(json!({"kind": "Namespace", "metadata": {"name": "mail"}}));
        Cluster { objects: all }
    }

    /// The chart as it is installed in its pages, both modes.
    pub(crate) fn of_the_chart() -> Cluster {
        let mut all = Vec::new();
        for values in [
            json!({"mode": "embedded"}),
            json!({"mode": "postgresql", "autoscaling": {"enabled": true}}),
            json!({"mode": "postgresql", "keda": {"enabled": true}}),
        ] {
            let mut values = values;
            values["config"] = json!({"server": {"hostname": "mail.example.com"}});
            all.extend(released("smtp-server", "mail", &values));
        }
        // Which is made before.
        all.push(json!({"kind": "Namespace", "metadata": {"name": "mail"}}));
        Cluster { objects: all }
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// Namespaces that commands may look into.
    pub(crate) fn namespaces(&self) -> BTreeSet<&str> {
        let outside = OUTSIDE.iter().map(|(_, _, namespace)| *namespace);
        self.of_kind("Namespace").map(name_of).chain(outside).collect()
    }

    /// An object of this name, in the namespace if one is given; of a pod, what its workload makes it of.
    pub(crate) fn get(&self, kind: &str, name: &str, namespace: Option<&str>) -> Option<&Value> {
        let within = |object: &&Value| namespace.is_none_or(|namespace| namespace_of(object) == namespace);
        match kind {
            "Pod" => {
                let pods = self
                    .objects
                    .iter()
                    .filter(|one| one["kind"] == "StatefulSet" || one["kind"] == "Deployment");
                let mut named = pods.filter(|one| is_placeholder(name) || is_ordinal(name, name_of(one)));
                named.find(within).map(|one| &one["spec"]["template"])
            }
            "PersistentVolumeClaim" => self.of_kind("StatefulSet").find_map(|one| {
                let mut claims = list(&one["spec"]["volumeClaimTemplates"]).iter();
                claims.find(|claim| is_ordinal(name, &format!("{}-{}", name_of(claim), name_of(one))))
            }),
            "Job" => self.of_kind(kind).find(|job| {
                name_of(job).trim_end_matches('0') == name.trim_end_matches(|c: char| c.is_ascii_digit())
            }),
            _ => self
                .of_kind(kind)
                .filter(within)
                .find(|object| name_of(object) == name),
        }
    }

    pub(crate) fn is_outside(&self, kind: &str, name: &str, namespace: Option<&str>) -> bool {
        OUTSIDE
            .iter()
            .any(|one| (one.0, one.1) == (kind, name) && namespace.is_none_or(|namespace| namespace == one.2))
    }

    /// Whether something of a kind has these labels (`a=b,c=d`).
    pub(crate) fn labelled(&self, kind: &str, selector: &str, namespace: Option<&str>) -> bool {
        let pairs = selector.split(',').filter_map(|pair| pair.split_once('='));
        let wanted: BTreeMap<&str, &str> = pairs.collect();
        let wanted = json!({"matchLabels": wanted});
        let set = Set::new(&self.objects, &[]);
        let within = |object: &Value| namespace.is_none_or(|namespace| namespace_of(object) == namespace);
        let has = |labels_of: &Value| selects(&wanted, &labels(labels_of));
        self.is_outside(kind, selector, namespace)
            || match kind {
                "" => true,
                "Pod" => set
                    .workloads()
                    .iter()
                    .any(|one| within(one.object) && has(&one.template()["metadata"]["labels"])),
                // The claims of a StatefulSet get the labels that select its pods too.
                "PersistentVolumeClaim" => self
                    .of_kind("StatefulSet")
                    .any(|one| within(one) && has(&one["spec"]["selector"]["matchLabels"])),
                _ => self
                    .of_kind(kind)
                    .any(|one| within(one) && has(&one["metadata"]["labels"])),
            }
    }

    /// Ports, by number and name, of what a command forwards to: of a Service its own, else those of pods.
    pub(crate) fn ports(&self, target: &str) -> BTreeSet<String> {
        let (service, name) = match target.split_once('/') {
            Some((word, name)) => (kind(word).is_some_and(|(kind, _)| kind == "Service"), name),
            None => (false, target),
        };
        let mut ports = BTreeSet::new();
        let mut add = |port: &Value, key: &str| {
            ports.insert(port[key].to_string());
            ports.extend(port["name"].as_str().map(str::to_owned));
        };
        if service {
            let services = self.of_kind("Service").filter(|one| name_of(one) == name);
            services
                .flat_map(|one| list(&one["spec"]["ports"]))
                .for_each(|port| add(port, "port"));
        } else {
            for workload in Set::new(&self.objects, &[]).workloads() {
                let ports = workload
                    .containers()
                    .flat_map(|container| list(&container["ports"]));
                ports.for_each(|port| add(port, "containerPort"));
            }
        }
        ports
    }

    /// Names of the containers of all pods.
    pub(crate) fn containers(&self) -> BTreeSet<&str> {
        let templates = self
            .objects
            .iter()
            .map(|object| &object["spec"]["template"]["spec"]["containers"]);
        templates
            .flat_map(list)
            .filter_map(|one| one["name"].as_str())
            .collect()
    }
}

/// `data-smtp-server-2` for `data-smtp-server`.
fn is_ordinal(name: &str, of: &str) -> bool {
    let number = name.strip_prefix(of).and_then(|rest| rest.strip_prefix('-'));
    number.is_some_and(|number| number.parse::<u16>().is_ok())
}
