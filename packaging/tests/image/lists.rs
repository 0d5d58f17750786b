//! The list of what was linked.

use blackbox::tools::program;
use packaging::image::{files, said};
use packaging::tools::{peer, root};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn list() -> Value {
    let text = std::fs::read_to_string(files().join("smtp-server.cdx.json")).expect("the list");
    serde_json::from_str(&text).expect("JSON")
}

fn purls(list: &Value, scope: &str) -> BTreeSet<String> {
    let components = list["components"].as_array().expect("components");
    let chosen = components.iter().filter(|component| component["scope"] == scope);
    chosen
        .map(|component| component["purl"].as_str().expect("a purl").to_owned())
        .collect()
}

#[test]
fn it_is_cyclonedx_and_the_same_in_the_image_as_beside_it() {
    let beside = files().join("smtp-server.cdx.json");
    let inside = files().join("rootfs/usr/share/sbom/smtp-server.cdx.json");
    let read = |path| std::fs::read(path).expect("a list");
    assert_eq!(read(&beside), read(&inside));
    let judge = "\
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
print(error if error else 'valid')
";
    let says = |path: &Path| {
        let mut python = program("/usr/bin/python3");
        python.env("PYTHONPATH", peer("cyclonedx"));
        said(python.args(["-c", judge]).arg(path))
    };
    assert_eq!(says(&beside), "valid");
    // Strict, but a wrong one is needed to know that it looks.
    let wrong = list().to_string().replace("\"library\"", "\"libary\"");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wrong.json");
    std::fs::write(&path, wrong).expect("a wrong list");
    assert_ne!(says(&path), "valid");
}

#[test]
fn it_is_of_this_binary() {
    let list = list();
    let main = &list["metadata"]["component"];
    assert_eq!(main["name"], "smtp-server");
    assert_eq!(main["version"], env!("CARGO_PKG_VERSION"));
    let sum = said(Command::new("sha256sum").arg(files().join("rootfs/smtp-server")));
    let content = main["hashes"][0]["content"].as_str().expect("a sum");
    assert!(sum.starts_with(content), "{sum}");
}

#[test]
fn every_crate_that_left_its_path_in_the_binary_is_on_it() {
    let list = list();
    let linked = purls(&list, "required");
    let binary = std::fs::read(files().join("rootfs/smtp-server")).expect("the binary");
    let text = String::from_utf8_lossy(&binary);
    // Where a panic says that it was: …/name-1.2.3/src/…
    let mut seen = BTreeSet::new();
    for (place, _) in text.match_indices("/src/") {
        let before = &text[..place];
        let folder = before.rsplit('/').next().unwrap_or_default();
        let Some((name, version)) = split(folder) else {
            continue;
        };
        seen.insert(format!("pkg:cargo/{name}@{}", version.replace('+', "%2B")));
    }
    // Enough for this to be a proof: most crates can panic somewhere.
    assert!(seen.len() > 50, "{seen:?}");
    let missing: Vec<&String> = seen.difference(&linked).collect();
    assert!(missing.is_empty(), "linked, and not on the list: {missing:?}");
}

/// `name-1.2.3` as cargo names folders.
fn split(folder: &str) -> Option<(&str, &str)> {
    let dash = folder
        .match_indices('-')
        .find(|(at, _)| folder[at + 1..].starts_with(|c: char| c.is_ascii_digit()))?
        .0;
    let (name, version) = (&folder[..dash], &folder[dash + 1..]);
    let plain = |text: &str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c))
    };
    (!name.is_empty() && version.matches('.').count() >= 2 && plain(folder)).then_some((name, version))
}

#[test]
fn everything_on_it_is_locked_and_the_c_code_goes_by_its_own_name() {
    let list = list();
    let lock: toml::Table = std::fs::read_to_string(root().join("Cargo.lock"))
        .expect("Cargo.lock")
        .parse()
        .expect("TOML");
    let locked: BTreeSet<String> = lock["package"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let text = |key: &str| package[key].as_str().expect("text").to_owned();
            format!(
                "pkg:cargo/{}@{}",
                text("name"),
                text("version").replace('+', "%2B")
            )
        })
        .collect();
    let (linked, before) = (purls(&list, "required"), purls(&list, "excluded"));
    let (crates, code): (Vec<_>, Vec<_>) = linked.iter().partition(|purl| purl.starts_with("pkg:cargo/"));
    // But for the standard library's, which came with the compiler.
    let components = list["components"].as_array().expect("components");
    let of_std = components
        .iter()
        .filter(|component| component["description"].is_string());
    let of_std: BTreeSet<&str> = of_std
        .map(|component| component["purl"].as_str().expect("a purl"))
        .collect();
    assert!(
        of_std.iter().any(|purl| purl.starts_with("pkg:cargo/gimli@")),
        "{of_std:?}"
    );
    for purl in crates.iter().copied().chain(&before) {
        assert!(
            of_std.contains(purl.as_str()) || locked.contains(purl),
            "{purl} is not in Cargo.lock"
        );
    }
    // What only tests need is not in the binary, and what derives code is not either.
    let named = |name: &str| {
        linked
            .iter()
            .any(|purl| purl.starts_with(&format!("pkg:cargo/{name}@")))
    };
    for name in ["tokio", "rustls", "rusqlite", "tokio-postgres", "smtp-queue"] {
        assert!(named(name), "{name} is not on the list");
    }
    for name in ["blackbox", "proptest", "serde_derive", "xtask"] {
        assert!(!named(name), "{name} is on the list");
    }
    assert!(
        before
            .iter()
            .any(|purl| purl.starts_with("pkg:cargo/serde_derive@")),
        "{before:?}"
    );
    let code: Vec<&str> = code
        .iter()
        .filter_map(|purl| purl.strip_prefix("pkg:generic/")?.split('@').next())
        .collect();
    assert_eq!(
        code,
        ["aws-lc", "glibc", "jemalloc", "libgcc", "rust-std", "sqlite"]
    );
    // SQLite says its version itself, in the binary.
    let sqlite = linked
        .iter()
        .find_map(|purl| purl.strip_prefix("pkg:generic/sqlite@"));
    let sqlite = format!("{}\0", sqlite.expect("SQLite"));
    let binary = std::fs::read(files().join("rootfs/smtp-server")).expect("the binary");
    assert!(
        binary
            .windows(sqlite.len())
            .any(|found| found == sqlite.as_bytes()),
        "{sqlite}"
    );
    // Each has what an audit asks for.
    for component in list["components"].as_array().expect("components") {
        let is_ours = component["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("smtp"));
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
        let sum = component["hashes"][0]["content"].is_string();
        let is_code = component["purl"]
            .as_str()
            .is_some_and(|purl| purl.starts_with("pkg:generic/"));
        let is_std = component["description"].is_string();
        assert!(sum || is_ours || is_code || is_std, "{component}");
    }
}
