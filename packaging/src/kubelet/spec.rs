//! What a pod's template says, with the API's defaults.

use super::probe::Probe;
use serde_json::Value;
use std::time::Duration;

/// A pod with its one container.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) image: String,
    pub(super) command: Vec<String>,
    pub(super) args: Vec<String>,
    pub(super) variables: Vec<(String, Source)>,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) fs_group: Option<u32>,
    pub(super) drop: Vec<String>,
    pub(super) read_only_root: bool,
    pub(super) no_new_privileges: bool,
    pub(super) memory: Option<u64>,
    pub(super) cpus: Option<f64>,
    pub(super) mounts: Vec<Mount>,
    pub(super) volumes: Vec<(String, Volume)>,
    pub(super) ndots: u64,
    pub(super) pre_stop: Duration,
    pub(super) grace: Duration,
    pub(super) startup: Option<Probe>,
    pub(super) live: Option<Probe>,
    pub(super) ready: Option<Probe>,
}

/// Where a variable's value comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Value(String),
    Field(String),
    Key {
        kind: &'static str,
        name: String,
        key: String,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Mount {
    pub(super) volume: String,
    pub(super) path: String,
    pub(super) read_only: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Volume {
    /// A ConfigMap or Secret.
    Object {
        kind: &'static str,
        name: String,
        mode: u32,
    },
    Folder,
    Memory {
        size: Option<u64>,
    },
    Claim {
        name: String,
    },
}

/// Panics at a field that the kubelet of the tests does not know: what is passed over is not tested.
pub(super) fn only(value: &Value, what: &str, fields: &[&str]) {
    for field in value.as_object().into_iter().flatten().map(|(field, _)| field) {
        assert!(
            fields.contains(&field.as_str()),
            "the kubelet of the tests does not play `{field}` of {what}"
        );
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value) -> Option<u32> {
    value
        .as_u64()
        .map(|value| u32::try_from(value).expect("a number"))
}

/// The octets, or cores, of a quantity.
pub(super) fn quantity(value: &Value) -> Option<f64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let units = [
        ("Ki", 1024.0),
        ("Mi", 1024.0 * 1024.0),
        ("Gi", 1024.0 * 1024.0 * 1024.0),
        ("m", 0.001),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("", 1.0),
    ];
    let (figure, unit) = units
        .iter()
        .find_map(|(unit, octets)| Some((text.strip_suffix(unit)?, octets)))?;
    Some(
        figure
            .parse::<f64>()
            .unwrap_or_else(|_| panic!("no quantity: {text}"))
            * unit,
    )
}

impl Spec {
    /// Of a StatefulSet or a Deployment.
    pub(super) fn read(workload: &Value) -> Spec {
        let pod = &workload["spec"]["template"]["spec"];
        only(
            pod,
            "a pod",
            &[
                // Played.
                "automountServiceAccountToken",
                "containers",
                "dnsConfig",
                "enableServiceLinks",
                "securityContext",
                "terminationGracePeriodSeconds",
                "volumes",
                // A scheduler's.
                "affinity",
                "nodeSelector",
                "priorityClassName",
                "serviceAccountName",
                "tolerations",
                "topologySpreadConstraints",
                // As they are by default.
                "dnsPolicy",
                "restartPolicy",
                "schedulerName",
            ],
        );
        assert_eq!(
            pod["enableServiceLinks"], false,
            "variables of services are not played"
        );
        assert_eq!(
            pod["automountServiceAccountToken"], false,
            "tokens are not played"
        );
        let containers: Vec<&Value> = list(&pod["containers"]).collect();
        let &[container] = containers.as_slice() else {
            panic!("one container is played");
        };
        only(
            container,
            "a container",
            &[
                "args",
                "command",
                "env",
                "image",
                "imagePullPolicy",
                "lifecycle",
                "livenessProbe",
                "name",
                "ports",
                "readinessProbe",
                "resources",
                "securityContext",
                "startupProbe",
                "terminationMessagePolicy",
                "volumeMounts",
            ],
        );
        let (outer, inner) = (&pod["securityContext"], &container["securityContext"]);
        only(
            outer,
            "a pod's securityContext",
            &[
                "fsGroup",
                "fsGroupChangePolicy",
                "runAsGroup",
                "runAsNonRoot",
                "runAsUser",
                "seccompProfile",
                "supplementalGroupsPolicy",
            ],
        );
        only(
            inner,
            "a container's securityContext",
            &[
                "allowPrivilegeEscalation",
                "capabilities",
                "privileged",
                "readOnlyRootFilesystem",
                "runAsGroup",
                "runAsNonRoot",
                "runAsUser",
                "seccompProfile",
            ],
        );
        only(&inner["capabilities"], "capabilities", &["drop"]);
        assert_ne!(inner["privileged"], true, "privileged");
        let context = |field: &str| match inner.get(field) {
            Some(value) => value,
            None => &outer[field],
        };
        // podman has the same profile by default, and no other is played.
        let seccomp = &context("seccompProfile")["type"];
        assert_eq!(seccomp, "RuntimeDefault", "seccompProfile");
        let uid = number(context("runAsUser")).expect("runAsUser: the image's is not played");
        let gid = number(context("runAsGroup")).expect("runAsGroup: the image's is not played");
        assert!(
            context("runAsNonRoot") != &Value::Bool(true) || uid != 0,
            "runAsNonRoot, and root"
        );
        only(&container["lifecycle"], "lifecycle", &["preStop"]);
        only(&container["lifecycle"]["preStop"], "preStop", &["sleep"]);
        let limits = &container["resources"]["limits"];
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let octets = |value: f64| value as u64;
        let ndots = list(&pod["dnsConfig"]["options"]).find(|option| option["name"] == "ndots");
        Spec {
            image: text(&container["image"]),
            command: list(&container["command"]).map(text).collect(),
            args: list(&container["args"]).map(text).collect(),
            variables: list(&container["env"]).map(variable).collect(),
            uid,
            gid,
            fs_group: number(&outer["fsGroup"]),
            drop: list(&inner["capabilities"]["drop"]).map(text).collect(),
            read_only_root: inner["readOnlyRootFilesystem"] == true,
            no_new_privileges: inner["allowPrivilegeEscalation"] == false,
            memory: quantity(&limits["memory"]).map(octets),
            cpus: quantity(&limits["cpu"]),
            mounts: list(&container["volumeMounts"]).map(mount).collect(),
            volumes: volumes(workload),
            ndots: ndots.map_or(5, |option| text(&option["value"]).parse().expect("ndots")),
            pre_stop: Duration::from_secs(
                container["lifecycle"]["preStop"]["sleep"]["seconds"]
                    .as_u64()
                    .unwrap_or(0),
            ),
            grace: Duration::from_secs(pod["terminationGracePeriodSeconds"].as_u64().unwrap_or(30)),
            startup: Probe::read(container, "startupProbe"),
            live: Probe::read(container, "livenessProbe"),
            ready: Probe::read(container, "readinessProbe"),
        }
    }
}

fn variable(variable: &Value) -> (String, Source) {
    only(variable, "a variable", &["name", "value", "valueFrom"]);
    let from = &variable["valueFrom"];
    only(
        from,
        "valueFrom",
        &["fieldRef", "configMapKeyRef", "secretKeyRef"],
    );
    let key = |kind, of: &Value| Source::Key {
        kind,
        name: text(&of["name"]),
        key: text(&of["key"]),
    };
    let source = if let Some(field) = from.get("fieldRef") {
        Source::Field(text(&field["fieldPath"]))
    } else if let Some(of) = from.get("configMapKeyRef") {
        key("ConfigMap", of)
    } else if let Some(of) = from.get("secretKeyRef") {
        key("Secret", of)
    } else {
        let value = variable["value"].as_str().unwrap_or_default();
        assert!(
            !value.contains("$("),
            "references in values are not played: {value}"
        );
        Source::Value(value.to_owned())
    };
    (text(&variable["name"]), source)
}

fn mount(mount: &Value) -> Mount {
    only(mount, "a mount", &["mountPath", "name", "readOnly"]);
    Mount {
        volume: text(&mount["name"]),
        path: text(&mount["mountPath"]),
        read_only: mount["readOnly"] == true,
    }
}

fn volumes(workload: &Value) -> Vec<(String, Volume)> {
    let declared = list(&workload["spec"]["template"]["spec"]["volumes"]).map(|volume| {
        let object = |kind: &'static str, source: &Value, name: &str| {
            only(source, "a volume's source", &[name, "defaultMode"]);
            Volume::Object {
                kind,
                name: text(&source[name]),
                mode: number(&source["defaultMode"]).unwrap_or(0o644),
            }
        };
        only(
            volume,
            "a volume",
            &["name", "configMap", "secret", "emptyDir", "persistentVolumeClaim"],
        );
        let source = if let Some(source) = volume.get("configMap") {
            object("ConfigMap", source, "name")
        } else if let Some(source) = volume.get("secret") {
            object("Secret", source, "secretName")
        } else if let Some(source) = volume.get("emptyDir") {
            only(source, "emptyDir", &["medium", "sizeLimit"]);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let size = quantity(&source["sizeLimit"]).map(|size| size as u64);
            match source["medium"] == "Memory" {
                true => Volume::Memory { size },
                false => Volume::Folder,
            }
        } else {
            let claim = &volume["persistentVolumeClaim"]["claimName"];
            Volume::Claim { name: text(claim) }
        };
        (text(&volume["name"]), source)
    });
    // A claim for each pod: `NAME-POD`, completed when the pod has its name.
    let templates = list(&workload["spec"]["volumeClaimTemplates"]).map(|claim| {
        let name = text(&claim["metadata"]["name"]);
        (
            name.clone(),
            Volume::Claim {
                name: format!("{name}-{{pod}}"),
            },
        )
    });
    declared.chain(templates).collect()
}
