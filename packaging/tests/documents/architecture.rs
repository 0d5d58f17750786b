//! `ARCHITECTURE.md`: what it names is there, and every file of the crates is named.

use super::tree::{files, quoted, text};
use packaging::tools::root;
use std::collections::{BTreeMap, BTreeSet};

fn page() -> String {
    text(&root().join("ARCHITECTURE.md"))
}

/// Files and folders (which end with a slash) of the workspace.
fn paths() -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for file in files("") {
        let slashes = file.match_indices('/').map(|(at, _)| file[..=at].to_owned());
        paths.extend(slashes);
        paths.insert(file);
    }
    paths
}

/// `a/{b,c}.rs` as two paths; without `…/`, which stands for what the path before begins with.
fn spelled_out(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("…/");
    match path.split_once('{').zip(path.split_once('}')) {
        Some(((before, rest), (_, after))) => {
            let names = rest.split('}').next().unwrap_or_default().split(',');
            names.map(|name| format!("{before}{name}{after}")).collect()
        }
        None => vec![path.to_owned()],
    }
}

/// Every file or folder that is named anywhere is one of the workspace, or the end of one's path.
#[test]
fn files_and_folders_that_it_names_exist() {
    const ENDINGS: [&str; 7] = [".rs", ".md", ".yaml", ".json", ".toml", ".sql", "/"];
    let paths = paths();
    let ends = |name: &str| {
        let end = format!("/{name}");
        paths.contains(name) || paths.iter().any(|path| path.ends_with(&end))
    };
    let page = page();
    let mut seen = 0;
    let mut missing = Vec::new();
    for named in quoted(&page) {
        // A command, or an address of the API.
        if named.contains([' ', '*']) || !ENDINGS.iter().any(|ending| named.ends_with(ending)) {
            continue;
        }
        for path in spelled_out(named) {
            seen += 1;
            if !ends(&path) {
                missing.push(path);
            }
        }
    }
    assert!(seen > 300, "{seen} files");
    assert!(missing.is_empty(), "{missing:?}");
}

/// The rows about a crate's files, by crate: the first cell of each, which has the names.
fn rows(page: &str) -> BTreeMap<String, Vec<Vec<String>>> {
    let mut rows: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    let mut of = None;
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("### `") {
            of = heading.split('`').next();
            rows.entry(of.expect("a name").to_owned()).or_default();
        } else if line.starts_with("## ") {
            of = None;
        } else if let (Some(of), true) = (of, line.starts_with("| `")) {
            let cell = line.split('|').nth(1).expect("a cell");
            let names = quoted(cell).into_iter().map(str::to_owned).collect();
            rows.get_mut(of).expect("its heading").push(names);
        } else if let (Some(of), true) = (of, line.starts_with('`')) {
            // A crate of one file has a line and no table.
            let names = quoted(line).into_iter().take(1).map(str::to_owned).collect();
            rows.get_mut(of).expect("its heading").push(names);
        }
    }
    rows
}

/// The files that a row names, from the crate's folder. A name is one of the folder that the name before it was in, or of
/// `src`, or stands beside it.
fn named(of: &str, row: &[String], paths: &BTreeSet<String>) -> Vec<String> {
    let mut folder = String::new();
    let mut found = Vec::new();
    for name in row {
        let places = [format!("src/{folder}{name}"), format!("src/{name}"), name.clone()];
        let place = places
            .into_iter()
            .find(|place| paths.contains(&format!("crates/{of}/{place}")));
        let place = place.unwrap_or_else(|| panic!("{of} has no {name}: {row:?}"));
        if let Some((before, _)) = name.trim_end_matches('/').rsplit_once('/') {
            folder = format!("{before}/");
        }
        found.push(place);
    }
    found
}

/// Files of tests, or for tests: the section on tests says what there is.
fn is_of_tests(file: &str) -> bool {
    const STEMS: [&str; 3] = ["tests", "testing", "fake"];
    file.trim_end_matches(".rs")
        .split('/')
        .any(|part| STEMS.contains(&part))
}

#[test]
fn every_file_of_every_crate_has_its_row() {
    let (page, paths) = (page(), paths());
    let rows = rows(&page);
    let crates: BTreeSet<&str> = paths
        .iter()
        .filter_map(|path| path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml"))
        .collect();
    assert_eq!(rows.keys().map(String::as_str).collect::<BTreeSet<_>>(), crates);
    let mut missing = Vec::new();
    for (of, rows) in &rows {
        let named: BTreeSet<String> = rows.iter().flat_map(|row| named(of, row, &paths)).collect();
        let sources = format!("crates/{of}/src/");
        for file in paths
            .iter()
            .filter(|path| path.starts_with(&sources) && path.ends_with(".rs"))
        {
            let file = &file[sources.len() - "src/".len()..];
            let in_folder = || {
                named
                    .iter()
                    .any(|name| name.ends_with('/') && file.starts_with(name))
            };
            if file != "src/lib.rs" && !is_of_tests(file) && !named.contains(file) && !in_folder() {
                missing.push(format!("{of}: {file}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter(|word| !word.is_empty())
}

/// `Owner::item` is in a file that has both: the owner is a type of that file or the file's name or folder.
#[test]
fn functions_that_it_names_exist() {
    let sources: Vec<(String, String)> = files("crates")
        .into_iter()
        .filter(|file| file.ends_with(".rs"))
        .map(|file| (text(&root().join(&file)), file))
        .collect();
    // A type in the line that declares it, or one of its blocks.
    let is_owner = |line: &str, owner: &str| {
        let kinds = ["impl", "struct", "enum", "trait"];
        words(line).any(|word| kinds.contains(&word)) && words(line).any(|word| word == owner)
    };
    // A function, a type, a variant or a field that others may see, in the line that declares it.
    let is_item = |line: &str, item: &str| {
        let kinds = ["fn", "struct", "enum", "trait"];
        let declared = words(line).zip(words(line).skip(1));
        let line = line.trim_start();
        let variant = item.starts_with(char::is_uppercase) && line.starts_with(item);
        let field = line.starts_with("pub") && line.contains(&format!(" {item}: "));
        variant
            || field
            || declared
                .into_iter()
                .any(|(kind, word)| kinds.contains(&kind) && word == item)
    };
    let page = page();
    let mut missing = Vec::new();
    let mut seen = 0;
    for name in quoted(&page).into_iter().filter(|name| name.contains("::")) {
        seen += 1;
        let parts: Vec<&str> = name.rsplit("::").collect();
        let (item, owner) = (parts[0], parts[1]);
        let there = sources
            .iter()
            .filter(|(text, _)| text.contains(item))
            .any(|(text, file)| {
                let owned = if owner.starts_with(char::is_uppercase) {
                    text.lines().any(|line| is_owner(line, owner))
                } else {
                    file.trim_end_matches(".rs").split('/').any(|part| part == owner)
                };
                owned && text.lines().any(|line| is_item(line, item))
            });
        if !there {
            missing.push(name);
        }
    }
    assert!(seen > 50, "{seen} functions");
    assert!(missing.is_empty(), "{missing:?}");
}

/// Which of ours a crate depends on, as its manifest says: without what only tests need.
fn dependencies(of: &str) -> BTreeSet<String> {
    let manifest: toml::Table = text(&root().join(format!("crates/{of}/Cargo.toml")))
        .parse()
        .expect("TOML");
    let names = manifest["dependencies"].as_table().expect("a table").keys();
    names
        .filter(|name| *name == "smtp" || name.starts_with("smtp-"))
        .map(|name| name.trim_start_matches("smtp-").to_owned())
        .collect()
}

#[test]
fn who_knows_whom_is_as_the_manifests_say() {
    let page = page();
    let (_, section) = page.split_once("## Who may know whom").expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').collect();
        let of: Vec<String> = quoted(cells[2]).into_iter().map(str::to_owned).collect();
        for name in quoted(cells[1]) {
            // Those above it in the table, so that no arrow goes back.
            for other in &of {
                assert!(known.contains_key(other), "{name} stands above {other}");
            }
            known.insert(name.to_owned(), of.iter().cloned().collect());
        }
    }
    let crates: BTreeMap<String, BTreeSet<String>> = rows(&page)
        .into_keys()
        .map(|name| (name.clone(), dependencies(&name)))
        .collect();
    assert_eq!(known, crates);
}
