//! What a template mounts.

use super::{list, number, octets, only, text};
use serde_json::Value;

#[derive(Clone, Debug)]
pub(in crate::kubelet) struct Mount {
    pub(in crate::kubelet) volume: String,
    pub(in crate::kubelet) path: String,
    pub(in crate::kubelet) read_only: bool,
}

#[derive(Clone, Debug)]
pub(in crate::kubelet) enum Volume {
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

pub(super) fn mount(mount: &Value) -> Mount {
    only(mount, "a mount", &["mountPath", "name", "readOnly"]);
    Mount {
        volume: text(&mount["name"]),
        path: text(&mount["mountPath"]),
        read_only: mount["readOnly"] == true,
    }
}

/// The volumes by their names, those of claims for each pod among them.
pub(super) fn volumes(workload: &Value) -> Vec<(String, Volume)> {
    let declared = list(&workload["spec"]["template"]["spec"]["volumes"]);
    let declared = declared.map(|volume| (text(&volume["name"]), declared_volume(volume)));
    // A claim for each pod: `NAME-POD`, completed when the pod has its name.
    let templates = list(&workload["spec"]["volumeClaimTemplates"]).map(|claim| {
        let name = text(&claim["metadata"]["name"]);
        let claim = Volume::Claim {
            name: format!("{name}-{{pod}}"),
        };
        (name, claim)
    });
    declared.chain(templates).collect()
}

fn declared_volume(volume: &Value) -> Volume {
    only(
        volume,
        "a volume",
        &["name", "configMap", "secret", "emptyDir", "persistentVolumeClaim"],
    );
    let object = |kind: &'static str, source: &Value, name: &str| {
        only(source, "a volume's source", &[name, "defaultMode"]);
        Volume::Object {
            kind,
            name: text(&source[name]),
            mode: number(&source["defaultMode"]).unwrap_or(0o644),
        }
    };
    if let Some(source) = volume.get("configMap") {
        object("ConfigMap", source, "name")
    } else if let Some(source) = volume.get("secret") {
        object("Secret", source, "secretName")
    } else if let Some(source) = volume.get("emptyDir") {
        only(source, "emptyDir", &["medium", "sizeLimit"]);
        match source["medium"] == "Memory" {
            true => Volume::Memory {
                size: octets(&source["sizeLimit"]),
            },
            false => Volume::Folder,
        }
    } else {
        let claim = &volume["persistentVolumeClaim"]["claimName"];
        Volume::Claim { name: text(claim) }
    }
}
