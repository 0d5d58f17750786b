//! The list of everything that was linked into the binary, as CycloneDX has it.
//!
//! Cargo says what it is: `cargo tree` resolves features for this one package, which `cargo metadata` does not
//! (there, what only tests need would be listed too). C code that crates bring along is listed by its own name
//! and version, since that is what advisories are about.

use super::{Place, output};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One crate of the tree.
#[derive(Clone, Default)]
struct Crate {
    name: String,
    version: String,
    licence: String,
    repository: String,
    needs: BTreeSet<String>,
}

/// CycloneDX 1.6 for a binary. The same binary and time give the same text.
pub(super) fn cyclonedx(place: &Place, binary: &Path, time: &str) -> Result<String, String> {
    let linked = tree(place, "normal,no-proc-macro")?;
    let all = tree(place, "normal,build")?;
    let checksums = checksums(place)?;
    let root = all
        .values()
        .find(|found| found.name == "smtp-server")
        .ok_or("cargo tree does not name smtp-server")?;
    let sum = output(Command::new("sha256sum").arg(binary))?;
    let sum = sum.split_whitespace().next().unwrap_or_default();
    let mut main = component(root, &checksums);
    main["type"] = json!("application");
    main["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);

    let mut components = toolchain(binary)?;
    let mut dependencies = Vec::new();
    let below = |component: &Value| component["bom-ref"].as_str().unwrap_or_default().to_owned();
    let from_toolchain: BTreeSet<String> = components.iter().map(below).collect();
    for (purl, found) in &all {
        let mut needs = found.needs.clone();
        if purl == &purl_of(root) {
            needs.extend(from_toolchain.iter().cloned());
        }
        if let Some(code) = brought_along(place, found)? {
            needs.insert(below(&code));
            components.push(code);
        }
        dependencies.push(json!({ "ref": purl, "dependsOn": needs }));
        if purl != &purl_of(root) {
            let mut component = component(found, &checksums);
            // What only ran while it was compiled is not in the binary.
            let scope = if linked.contains_key(purl) {
                "required"
            } else {
                "excluded"
            };
            component["scope"] = json!(scope);
            components.push(component);
        }
    }
    for component in &components {
        let purl = &component["bom-ref"];
        if !dependencies.iter().any(|known| known["ref"] == *purl) {
            dependencies.push(json!({ "ref": purl }));
        }
    }
    components.sort_by_key(|component| component["bom-ref"].to_string());
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": time,
            "lifecycles": [{ "phase": "build" }],
            "component": main,
        },
        "components": components,
        "dependencies": dependencies,
    });
    let text = serde_json::to_string_pretty(&document).map_err(|error| error.to_string())?;
    Ok(text + "\n")
}

/// The crates that the server needs by edges of these kinds, by package URL.
fn tree(place: &Place, edges: &str) -> Result<BTreeMap<String, Crate>, String> {
    let mut tree = place.cargo(&["tree", "--locked", "--package", "smtp-server", "--edges", edges]);
    tree.args(["--prefix", "depth", "--format", "|{p}|{l}|{r}"]);
    let text = output(&mut tree)?;
    let mut found: BTreeMap<String, Crate> = BTreeMap::new();
    // The crates that the line is below, from the root.
    let mut above: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| line.contains('|')) {
        let parts: Vec<&str> = line.splitn(4, '|').collect();
        let &[depth, package, licence, repository] = parts.as_slice() else {
            return Err(format!("cargo tree says {line:?}"));
        };
        let depth: usize = depth.parse().map_err(|_| format!("cargo tree says {line:?}"))?;
        let mut words = package.split(' ');
        let (Some(name), Some(version)) = (words.next(), words.next()) else {
            return Err(format!("cargo tree says {line:?}"));
        };
        let this = Crate {
            name: name.to_owned(),
            version: version.trim_start_matches('v').to_owned(),
            licence: licence.to_owned(),
            repository: repository.trim_end_matches(" (*)").trim().to_owned(),
            needs: BTreeSet::new(),
        };
        let purl = purl_of(&this);
        above.truncate(depth);
        if let Some(parent) = above.last().and_then(|parent| found.get_mut(parent)) {
            parent.needs.insert(purl.clone());
        }
        found.entry(purl.clone()).or_insert(this);
        above.push(purl);
    }
    Ok(found)
}

fn purl_of(found: &Crate) -> String {
    format!("pkg:cargo/{}@{}", found.name, found.version.replace('+', "%2B"))
}

fn component(found: &Crate, checksums: &BTreeMap<(String, String), String>) -> Value {
    let purl = purl_of(found);
    let mut component = json!({
        "type": "library",
        "bom-ref": purl,
        "name": found.name,
        "version": found.version,
        "purl": purl,
    });
    if !found.licence.is_empty() {
        // As crates wrote it before SPDX expressions.
        let licence = found.licence.replace('/', " OR ");
        component["licenses"] = json!([{ "expression": licence }]);
    }
    if let Some(sum) = checksums.get(&(found.name.clone(), found.version.clone())) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
    }
    if found.repository.starts_with("https://") {
        component["externalReferences"] = json!([{ "type": "vcs", "url": found.repository }]);
    }
    component
}

/// The checksums of `Cargo.lock`, by name and version.
fn checksums(place: &Place) -> Result<BTreeMap<(String, String), String>, String> {
    let path = place.root.join("Cargo.lock");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut sums = BTreeMap::new();
    for package in text.split("[[package]]") {
        let value = |key: &str| {
            let start = format!("{key} = \"");
            let line = package
                .lines()
                .find_map(|line| line.strip_prefix(start.as_str()))?;
            Some(line.trim_end_matches('"').to_owned())
        };
        if let (Some(name), Some(version), Some(sum)) = (value("name"), value("version"), value("checksum")) {
            sums.insert((name, version), sum);
        }
    }
    Ok(sums)
}

/// What comes from the toolchain: Rust's standard library and the crates in it, as the binary names them, and the C
/// library, which a static binary brings along.
fn toolchain(binary: &Path) -> Result<Vec<Value>, String> {
    let library = |purl: String, name: &str, version: &str, licence: &str| {
        json!({
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "purl": purl,
            "licenses": [{ "expression": licence }],
            "scope": "required",
        })
    };
    let generic = |name: &str, version: &str, licence: &str| {
        library(format!("pkg:generic/{name}@{version}"), name, version, licence)
    };
    let release = output(Command::new("rustc").arg("-vV"))?;
    let release = release.lines().find_map(|line| line.strip_prefix("release: "));
    let mut found = vec![generic(
        "rust-std",
        release.unwrap_or_default(),
        "MIT OR Apache-2.0",
    )];
    let libc = output(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
    let libc = libc.strip_prefix("glibc ").ok_or("the C library is not glibc")?;
    let mut glibc = generic("glibc", libc, "LGPL-2.1-or-later");
    glibc["cpe"] = json!(format!("cpe:2.3:a:gnu:glibc:{libc}:*:*:*:*:*:*:*"));
    found.push(glibc);
    let gcc = output(Command::new("cc").arg("-dumpfullversion"))?;
    found.push(generic("libgcc", &gcc, "GPL-3.0-or-later WITH GCC-exception-3.1"));
    // Where the standard library's crates were when it was built: /rust/deps/NAME-VERSION/…
    let content = std::fs::read(binary).map_err(|error| format!("{}: {error}", binary.display()))?;
    let text = String::from_utf8_lossy(&content);
    let mut crates = BTreeSet::new();
    for (place, mark) in text.match_indices("/rust/deps/") {
        let folder = text[place + mark.len()..].split('/').next().unwrap_or_default();
        let is_version = |(at, _): &(usize, &str)| folder[at + 1..].starts_with(|c: char| c.is_ascii_digit());
        if let Some((dash, _)) = folder.match_indices('-').find(is_version) {
            crates.insert((folder[..dash].to_owned(), folder[dash + 1..].to_owned()));
        }
    }
    for (name, version) in crates {
        let purl = format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"));
        // All that the standard library may use is under both, or under more than these.
        let mut component = library(purl, &name, &version, "MIT OR Apache-2.0");
        component["description"] = json!("part of Rust's standard library");
        found.push(component);
    }
    Ok(found)
}

/// The C code that a crate compiles, with the version that its own files say.
fn brought_along(place: &Place, found: &Crate) -> Result<Option<Value>, String> {
    let (name, supplier, licence, file, mark) = match found.name.as_str() {
        "libsqlite3-sys" => (
            "sqlite",
            "sqlite",
            "blessing",
            "sqlite3/sqlite3.h",
            "#define SQLITE_VERSION ",
        ),
        "aws-lc-sys" => (
            "aws-lc",
            "amazon",
            "ISC AND (Apache-2.0 OR ISC)",
            "aws-lc/include/openssl/base.h",
            "#define AWSLC_VERSION_NUMBER_STRING ",
        ),
        "tikv-jemalloc-sys" => ("jemalloc", "jemalloc", "BSD-2-Clause", "", ""),
        _ => return Ok(None),
    };
    let version = if file.is_empty() {
        // The crate's version names it: 0.7.1+5.3.1-0-g…
        let own = found.version.split_once('+').map(|(_, own)| own);
        own.and_then(|own| own.split('-').next()).map(str::to_owned)
    } else {
        let path = sources(place, found)?.join(file);
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let line = text.lines().find_map(|line| line.strip_prefix(mark));
        line.map(|line| line.trim().trim_matches('"').to_owned())
    };
    let version = version.ok_or_else(|| format!("{} does not say its version of {name}", found.name))?;
    let purl = format!("pkg:generic/{name}@{version}");
    Ok(Some(json!({
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "cpe": format!("cpe:2.3:a:{supplier}:{name}:{version}:*:*:*:*:*:*:*"),
        "licenses": [{ "expression": licence }],
        "scope": "required",
    })))
}

/// Where cargo unpacked a crate.
fn sources(place: &Place, found: &Crate) -> Result<PathBuf, String> {
    let metadata = output(&mut place.cargo(&["metadata", "--locked", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|error| error.to_string())?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages
        .filter(|package| package["name"] == *found.name && package["version"] == *found.version)
        .find_map(|package| {
            Path::new(package["manifest_path"].as_str()?)
                .parent()
                .map(Path::to_owned)
        })
        .ok_or_else(|| format!("cargo metadata does not name {}", found.name))
}
