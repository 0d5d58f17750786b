//! What is in it.

use blackbox::tools::run;
use packaging::image::{NAME, Storage, files, said, xtask};
use packaging::tools::root;
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// Everything below a folder: its kind and mode, whose it is, its name.
fn listing(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).expect("a folder").flatten() {
            let meta = entry.metadata().expect("metadata");
            let name = entry.path();
            let name = name.strip_prefix(folder).expect("below it").display().to_string();
            let target = std::fs::read_link(entry.path());
            let target = target.map_or(String::new(), |target| format!(" -> {}", target.display()));
            let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
            found.push(format!("{name} {mode:o} {uid}:{gid}{target}"));
            if meta.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn one_program_its_names_and_its_list_and_nothing_else() {
    let storage = Storage::new();
    storage.build(NAME);
    let container = said(storage.buildah().args(["from", "--pull-never", NAME]));
    let mounted = said(storage.buildah().args(["mount", &container]));
    assert_eq!(
        listing(Path::new(&mounted)),
        [
            "data 40750 1000:1000",
            "mailq 120777 0:0 -> smtp-server",
            "sendmail 120777 0:0 -> smtp-server",
            "smtp-server 100755 0:0",
            "tmp 41777 0:0",
            "usr 40755 0:0",
            "usr/share 40755 0:0",
            "usr/share/sbom 40755 0:0",
            "usr/share/sbom/smtp-server.cdx.json 100644 0:0",
        ]
    );
    run(storage.buildah().args(["rm", &container]));
}

#[test]
fn it_says_who_it_is_and_runs_as_nobody_special() {
    let storage = Storage::new();
    storage.build(NAME);
    let inspected = said(storage.podman().args(["image", "inspect", NAME]));
    let inspected: Value = serde_json::from_str(&inspected).expect("JSON");
    let config = &inspected[0]["Config"];
    assert_eq!(config["User"], "1000:1000");
    assert_eq!(config["Entrypoint"], json!(["/smtp-server"]));
    assert_eq!(config["Env"], json!(["PATH=/", "SMTP_DB_PATH=/data/smtp.db"]));
    let ports = config["ExposedPorts"].as_object().expect("ports");
    let ports: Vec<&str> = ports.keys().map(String::as_str).collect();
    assert_eq!(ports, ["2525/tcp", "4650/tcp", "5870/tcp", "8080/tcp"]);

    let label = |name: &str| {
        let label = &config["Labels"][format!("org.opencontainers.image.{name}")];
        label
            .as_str()
            .unwrap_or_else(|| panic!("no label {name}: {config}"))
            .to_owned()
    };
    assert_eq!(
        config["Labels"].as_object().map(serde_json::Map::len),
        Some(7),
        "{config}"
    );
    assert_eq!(label("title"), "smtp-server");
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("licenses"), env!("CARGO_PKG_LICENSE"));
    assert!(!label("description").is_empty());
    assert_eq!(label("base.name"), "scratch");
    let git = |args: &[&str]| said(Command::new("git").arg("-C").arg(root()).args(args));
    let (commit, time) = (git(&["rev-parse", "HEAD"]), git(&["log", "-1", "--format=%ct"]));
    // What is not committed is not what that commit says.
    let dirty = !git(&["status", "--porcelain"]).is_empty();
    let suffix = if dirty { "-dirty" } else { "" };
    assert_eq!(label("revision"), commit + suffix);
    let time = said(Command::new("date").args(["--utc", "--date", &format!("@{time}"), "+%FT%TZ"]));
    assert_eq!(label("created"), time);
    let created = inspected[0]["Created"].as_str().expect("a time");
    assert_eq!(created, time);
    // One layer: nothing is hidden in another.
    assert_eq!(inspected[0]["RootFS"]["Layers"].as_array().map(Vec::len), Some(1));
}

#[test]
fn where_the_sources_are_is_said_by_whom_it_is_given() {
    let storage = Storage::new();
    let mut image = storage.used_by(xtask());
    image.args(["image", "--tag", NAME, "--source", "https://git.example/mail"]);
    run(image.arg("--files").arg(files()));
    let mut inspect = storage.podman();
    let labels = said(inspect.args(["image", "inspect", NAME, "--format", "{{json .Config.Labels}}"]));
    let labels: Value = serde_json::from_str(&labels).expect("JSON");
    let label = |name: &str| labels[format!("org.opencontainers.image.{name}")].clone();
    assert_eq!(label("source"), "https://git.example/mail");
    assert_eq!(label("url"), "https://git.example/mail");
    assert_eq!(label("documentation"), "https://git.example/mail#readme");
}

#[test]
fn it_starts_without_anything_around_it() {
    let storage = Storage::new();
    storage.build(NAME);
    let group = format!("--cgroup-parent=/{}", storage.group());
    let confined = [
        "run",
        &group,
        "--rm",
        "--pull=never",
        "--network=none",
        "--read-only",
        "--read-only-tmpfs=false",
        "--cap-drop=all",
        "--security-opt=no-new-privileges",
    ];
    let mut version = storage.podman();
    let version = said(version.args(confined).args([NAME, "--version"]));
    assert_eq!(version, format!("smtp-server {}", env!("CARGO_PKG_VERSION")));
    // The names of other programs are there for those who call them.
    let mut mailq = storage.podman();
    let mailq = mailq
        .args(confined)
        .args(["--entrypoint", "/mailq", NAME, "--help"]);
    assert!(said(mailq).contains("mailq"));
    // There is nothing to get a foothold with.
    for shell in ["/bin/sh", "/bin/bash", "/bin/busybox"] {
        let mut sh = storage.podman();
        let sh = sh.args(confined).args(["--entrypoint", shell, NAME]).output();
        assert_eq!(sh.expect("podman").status.code(), Some(127), "{shell}");
    }
}

#[test]
fn the_program_is_static_stripped_and_moves_in_memory() {
    let binary = files().join("rootfs/smtp-server");
    let elf = std::fs::read(&binary).expect("the binary");
    let u16_at = |at: usize| u16::from_le_bytes([elf[at], elf[at + 1]]);
    let u64_at = |at: usize| u64::from_le_bytes(elf[at..at + 8].try_into().expect("eight octets"));
    let at = |value: u64| usize::try_from(value).expect("an offset");
    assert_eq!(&elf[..5], b"\x7fELF\x02", "no ELF file of 64 bits");
    // ET_DYN: loaded where the kernel likes.
    assert_eq!(u16_at(16), 3);
    let (headers, size, count) = (at(u64_at(32)), usize::from(u16_at(54)), usize::from(u16_at(56)));
    let kinds: Vec<u32> = (0..count)
        .map(|index| headers + index * size)
        .map(|at| u32::from_le_bytes(elf[at..at + 4].try_into().expect("four octets")))
        .collect();
    // PT_INTERP names a loader, which would have to be in the image; PT_LOAD is what there is to load.
    assert!(kinds.contains(&1) && !kinds.contains(&3), "{kinds:?}");
    // SHT_SYMTAB is what strip takes away.
    let (sections, size, count) = (at(u64_at(40)), usize::from(u16_at(58)), usize::from(u16_at(60)));
    let symbols = (0..count)
        .map(|index| sections + index * size + 4)
        .filter(|at| elf[*at..*at + 4] == 2u32.to_le_bytes());
    assert_eq!(symbols.count(), 0);
}

#[test]
fn it_is_small() {
    // What ships has 0.79 times the octets of this one, by slower settings of the compiler, and `cargo xtask image` keeps it below
    // 25 MiB: docs/decisions/0011-image-size.md.
    let size = |path: &str| {
        let path = files().join("rootfs").join(path);
        std::fs::metadata(path).expect("a file").len()
    };
    let size = size("smtp-server") + size("usr/share/sbom/smtp-server.cdx.json");
    assert!(size < 30 << 20, "{size}");
}
