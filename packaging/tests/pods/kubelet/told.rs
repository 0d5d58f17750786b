//! A container is what its template says: whose, with how much of what, and with which files.

use super::ground::{DEAF, Ground, runs};
use nix::sys::statvfs::statvfs;
use packaging::kubelet::Pod;
use serde_json::{Value, json};
use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A file on the claim that was somebody else's before.
const OLD: &str = "on the claim before\n";

pub(super) fn is_as_it_is_told(ground: &Ground) {
    ground.node.add(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "told", "namespace": "mail" },
        "stringData": { "key": "first" },
    }));
    let claim = ground.node.claim("told");
    std::fs::create_dir_all(claim.join("folder")).expect("a claim");
    let old = claim.join("folder/old");
    std::fs::write(&old, OLD).expect("a file");
    std::fs::set_permissions(&old, Permissions::from_mode(0o600)).expect("its mode");

    let script = format!("busybox hostname; echo $WORD; busybox cat /claim/folder/old; {DEAF}");
    let pod = ground.start("told", &script, template);
    runs(&pod);
    assert_eq!(pod.output(), format!("told\na word\n{OLD}here\n"));
    belongs_to_whom_it_is_told(&pod);
    has_its_share(&pod);
    has_its_volumes(&pod, &claim);
    finds_others(ground, &pod);
    follows_its_secret(ground, &pod);
}

fn template(pod: &mut Value) {
    pod["dnsConfig"] = json!({ "options": [{ "name": "ndots", "value": "2" }] });
    pod["volumes"] = json!([
        { "name": "claim", "persistentVolumeClaim": { "claimName": "told" } },
        { "name": "memory", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } },
        { "name": "secret", "secret": { "secretName": "told", "defaultMode": 0o400 } },
    ]);
    let container = &mut pod["containers"][0];
    container["env"] = json!([{ "name": "WORD", "value": "a word" }]);
    container["resources"] = json!({ "limits": { "cpu": "500m", "memory": "24Mi" } });
    container["securityContext"] = json!({ "capabilities": { "drop": ["SETUID"] } });
    container["volumeMounts"] = json!([
        { "name": "claim", "mountPath": "/claim" },
        { "name": "claim", "mountPath": "/looked-at", "readOnly": true },
        { "name": "memory", "mountPath": "/memory" },
        { "name": "secret", "mountPath": "/secret" },
    ]);
}

/// Whose it is, and what it may: what it does not drop stays within its bounds.
fn belongs_to_whom_it_is_told(pod: &Pod) {
    assert_eq!(pod.status("Uid"), "1001\t1001\t1001\t1001");
    assert_eq!(pod.status("Gid"), "1002\t1002\t1002\t1002");
    assert_eq!(pod.status("Groups"), "1002 1003");
    let bounds = u64::from_str_radix(&pod.status("CapBnd"), 16).expect("a set");
    let (chown, setuid) = (1, 1 << 7);
    assert_eq!(bounds & (chown | setuid), chown, "{bounds:x}");
}

/// What a file in its control group says, of version 1 or 2.
fn group(pod: &Pod, one: &str, two: &str) -> String {
    let folder = "sys/fs/cgroup";
    let said = pod
        .read(&format!("{folder}/{one}"))
        .or_else(|_| pod.read(&format!("{folder}/{two}")));
    said.expect("a limit").trim().to_owned()
}

/// Half a core, and so much memory and no swap.
fn has_its_share(pod: &Pod) {
    let quota = group(pod, "cpu/cpu.cfs_quota_us", "cpu.max");
    assert_eq!(quota.split(' ').next(), Some("50000"), "of 100,000 µs");
    let memory = group(pod, "memory/memory.limit_in_bytes", "memory.max");
    assert_eq!(memory, (24 << 20).to_string());
    // With swap it is the same sum, or as much swap.
    let swap = group(pod, "memory/memory.memsw.limit_in_bytes", "memory.swap.max");
    assert!(swap == memory || swap == "0", "{swap}");
}

fn has_its_volumes(pod: &Pod, claim: &Path) {
    let root = pod.root();
    let memory = statvfs(&root.join("memory")).expect("a volume");
    assert_eq!(memory.blocks() * memory.fragment_size(), 1 << 20);
    // All that is on the claim was handed over to the group.
    for path in ["", "folder", "folder/old"] {
        let meta = std::fs::metadata(claim.join(path)).expect("metadata");
        let writable = if meta.is_dir() { 0o2770 } else { 0o660 };
        assert_eq!((meta.gid(), meta.mode() & 0o2770), (1003, writable), "{path}");
    }
    std::fs::write(root.join("claim/new"), "").expect("a file");
    let written = std::fs::write(root.join("looked-at/new"), "");
    let error = written.expect_err("a file where none may be");
    assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
}

fn finds_others(ground: &Ground, pod: &Pod) {
    let (node, address) = (ground.node.address(), pod.at(0).ip());
    let resolver = pod.read("etc/resolv.conf").expect("resolv.conf");
    let expected = format!(
        "search mail.svc.cluster.local svc.cluster.local cluster.local\nnameserver {node}\noptions ndots:2\n"
    );
    assert_eq!(resolver, expected);
    let hosts = pod.read("etc/hosts").expect("hosts");
    assert!(hosts.contains(&format!("\n{address}\ttold\n")), "{hosts}");
}

/// What is in the Secret is there all at once: a folder of its own in place of the one before.
fn follows_its_secret(ground: &Ground, pod: &Pod) {
    let link = |name: &str| std::fs::read_link(pod.root().join("secret").join(name));
    assert_eq!(link("key").expect("a link"), PathBuf::from("..data/key"));
    let before = link("..data").expect("a link");
    assert_eq!(pod.read("secret/key").expect("the key"), "first");
    // The file is its group's too, whatever the mode says.
    let meta = std::fs::metadata(pod.root().join("secret").join(&before).join("key"));
    let meta = meta.expect("metadata");
    assert_eq!((meta.gid(), meta.mode() & 0o7777), (1003, 0o440));
    ground
        .node
        .change("Secret", "told", &[("key", "second"), ("more", "than before")]);
    assert_ne!(link("..data").expect("a link"), before);
    assert!(!pod.root().join("secret").join(before).exists());
    assert_eq!(pod.read("secret/key").expect("the key"), "second");
    assert_eq!(pod.read("secret/more").expect("the key"), "than before");
}
