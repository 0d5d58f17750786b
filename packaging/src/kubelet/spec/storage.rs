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
    /// Files that are written by the kubelet.
    Files {
        sources: Vec<FilesOf>,
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

/// Where files of a volume come from.
#[derive(Clone, Debug)]
pub(in crate::kubelet) enum FilesOf {
    /// A ConfigMap or Secret: its keys, each by the path that is given for it, or all by their names.
    Object {
        kind: &'static str,
        name: String,
        items: Option<Vec<(String, String)>>,
    },
    /// A token of the pod's account, at this path. (For how long it is good is longer than a test takes; see `Node::renew_tokens`.)
    Token(String),
    /// Fields of the pod, each with its path.
    Fields(Vec<(String, String)>),
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
    let declared = list(&super::pod(workload)["volumes"]);
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

/// A volume of files with the mode that its source says.
fn files(sources: Vec<FilesOf>, source: &Value) -> Volume {
    Volume::Files {
        sources,
        mode: number(&source["defaultMode"]).unwrap_or(0o644),
    }
}

/// One source of a projected volume.
fn projected(source: &Value) -> FilesOf {
    only(
        source,
        "a projected source",
        &["serviceAccountToken", "configMap", "secret", "downwardAPI"],
    );
    let object = |kind, of: &Value| {
        only(of, "a projected object", &["name", "items"]);
        let item = |item: &Value| {
            only(item, "an item", &["key", "path"]);
            (text(&item["key"]), text(&item["path"]))
        };
        FilesOf::Object {
            kind,
            name: text(&of["name"]),
            items: of.get("items").map(|items| list(items).map(item).collect()),
        }
    };
    if let Some(token) = source.get("serviceAccountToken") {
        // For the API server, which is the audience where none is said.
        only(token, "a token", &["path", "expirationSeconds"]);
        // Ten minutes are the least that the API server takes.
        assert!(
            number(&token["expirationSeconds"]).is_none_or(|seconds| seconds >= 600),
            "{token}"
        );
        FilesOf::Token(text(&token["path"]))
    } else if let Some(of) = source.get("configMap") {
        object("ConfigMap", of)
    } else if let Some(of) = source.get("secret") {
        object("Secret", of)
    } else {
        let fields = &source["downwardAPI"];
        only(fields, "downwardAPI", &["items"]);
        let item = |item: &Value| {
            only(item, "an item", &["path", "fieldRef"]);
            (text(&item["fieldRef"]["fieldPath"]), text(&item["path"]))
        };
        FilesOf::Fields(list(&fields["items"]).map(item).collect())
    }
}

fn declared_volume(volume: &Value) -> Volume {
    only(
        volume,
        "a volume",
        &[
            "name",
            "configMap",
            "secret",
            "projected",
            "emptyDir",
            "persistentVolumeClaim",
        ],
    );
    let object = |kind: &'static str, source: &Value, name: &str| {
        only(source, "a volume's source", &[name, "defaultMode"]);
        let whole = FilesOf::Object {
            kind,
            name: text(&source[name]),
            items: None,
        };
        files(vec![whole], source)
    };
    if let Some(source) = volume.get("configMap") {
        object("ConfigMap", source, "name")
    } else if let Some(source) = volume.get("secret") {
        object("Secret", source, "secretName")
    } else if let Some(source) = volume.get("projected") {
        only(source, "a projected volume", &["sources", "defaultMode"]);
        files(list(&source["sources"]).map(projected).collect(), source)
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
