//! `cargo xtask version`: the version stands in `Cargo.toml`, and by hand in the manifests, the chart, the
//! `Containerfile` and pages, which cannot ask. What says another one is found here, and set here.
//!
//! A chart has a version of its own (`version` in `Chart.yaml`), which is raised by hand when its values or objects
//! change.

use crate::run::{cargo, root, succeeds};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What is read, with all that is in it. Changelog and decisions speak of the past.
const READ: [&str; 6] = [
    "Containerfile",
    "README.md",
    "charts",
    "docs",
    "k8s",
    "monitoring",
];
const PAST: &str = "docs/decisions";

/// What stands before the server's version.
const MARKS: [&str; 7] = [
    "smtp-server:",
    "smtp-server ",
    "newTag: ",
    "  tag: ",
    "appVersion: \"",
    "ARG VERSION=",
    "`version`: ",
];

/// A place that names a version.
struct Place {
    file: PathBuf,
    line: usize,
    at: Range<usize>,
    version: String,
}

pub(crate) fn run(args: &[String]) -> Result<bool, String> {
    match args {
        [] => {
            let wrong = disagreeing(&root(), env!("CARGO_PKG_VERSION"))?;
            for place in &wrong {
                println!("{}:{}: {}", place.file.display(), place.line, place.version);
            }
            Ok(wrong.is_empty())
        }
        [version] => set(version),
        _ => Err("one version at most".into()),
    }
}

/// Sets the version everywhere.
fn set(version: &str) -> Result<bool, String> {
    if length_of_version(version) != Some(version.len()) {
        return Err(format!("{version:?} is no version like 1.2.3"));
    }
    let io = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let manifest = root().join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).map_err(|error| io(&manifest, error))?;
    let old = format!("\nversion = \"{}\"\n", env!("CARGO_PKG_VERSION"));
    if text.matches(&old).count() != 1 {
        return Err(format!(
            "{} was changed since xtask was compiled",
            manifest.display()
        ));
    }
    let new = text.replace(&old, &format!("\nversion = \"{version}\"\n"));
    std::fs::write(&manifest, new).map_err(|error| io(&manifest, error))?;
    // From the back, so that what is before stays where it was.
    for place in disagreeing(&root(), version)?.iter().rev() {
        let path = root().join(&place.file);
        let mut text = std::fs::read_to_string(&path).map_err(|error| io(&path, error))?;
        text.replace_range(place.at.clone(), version);
        std::fs::write(&path, text).map_err(|error| io(&path, error))?;
    }
    for workspace in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let mut lock = cargo(&["update", "--quiet", "--workspace", "--offline", "--manifest-path"]);
        if !succeeds(lock.arg(root().join(workspace)))? {
            return Err(format!(
                "the lock file beside {workspace} was not brought up to date"
            ));
        }
    }
    println!("{version}; now `cargo xtask docs`, and a line in CHANGELOG.md");
    Ok(true)
}

/// Every place whose version is another one, in the order of files.
fn disagreeing(root: &Path, version: &str) -> Result<Vec<Place>, String> {
    let mut wrong = Vec::new();
    for (file, text) in files(root)? {
        let others = marked(&text)
            .into_iter()
            .filter(|at| text[at.clone()] != *version);
        wrong.extend(others.map(|at| Place {
            file: file.clone(),
            line: 1 + text[..at.start].matches('\n').count(),
            version: text[at.clone()].to_owned(),
            at,
        }));
    }
    Ok(wrong)
}

/// The texts that may name a version, by their path from the root.
fn files(root: &Path) -> Result<Vec<(PathBuf, String)>, String> {
    let mut found = Vec::new();
    let mut paths: Vec<PathBuf> = READ.iter().map(|name| root.join(name)).collect();
    while let Some(path) = paths.pop() {
        let name = path.strip_prefix(root).unwrap_or(&path).to_owned();
        let io = |error: std::io::Error| format!("{}: {error}", path.display());
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).map_err(io)?.flatten();
            paths.extend(
                entries
                    .map(|entry| entry.path())
                    .filter(|_| name != Path::new(PAST)),
            );
        } else if let Ok(text) = String::from_utf8(std::fs::read(&path).map_err(io)?) {
            found.push((name, text));
        }
    }
    found.sort();
    Ok(found)
}

/// Where in a text a version follows a mark, in the text's order.
fn marked(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = MARKS
        .iter()
        .flat_map(|mark| text.match_indices(mark).map(|(at, mark)| at + mark.len()))
        .filter_map(|start| Some(start..start + length_of_version(&text[start..])?))
        .collect();
    found.sort_by_key(|at| at.start);
    found
}

/// How long the version is that a text begins with: three numbers, and then something else.
fn length_of_version(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    // A full stop ends a sentence, not a version.
    let version = text[..end.unwrap_or(text.len())].trim_end_matches('.');
    let numbers: Vec<&str> = version.split('.').collect();
    let plain = numbers.len() == 3 && numbers.iter().all(|number| !number.is_empty());
    plain.then_some(version.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_names_the_version_of_the_workspace() {
        let wrong = disagreeing(&root(), env!("CARGO_PKG_VERSION")).expect("read");
        let wrong: Vec<String> = wrong
            .iter()
            .map(|place| format!("{}:{}: {}", place.file.display(), place.line, place.version))
            .collect();
        assert!(wrong.is_empty(), "`cargo xtask version` lists them: {wrong:#?}");
    }

    #[test]
    fn no_place_is_missed() {
        // What would be left behind when the version is raised.
        let version = env!("CARGO_PKG_VERSION");
        let mut seen = 0;
        for (file, text) in files(&root()).expect("read") {
            let known = marked(&text);
            for (at, _) in text.match_indices(version) {
                let (before, after) = (&text[..at], &text[at + version.len()..]);
                let inside = before.ends_with(|c: char| c.is_ascii_digit() || c == '.')
                    || after.starts_with(|c: char| c.is_ascii_digit());
                let of_the_chart = file.ends_with("Chart.yaml") && before.ends_with("\nversion: ");
                seen += 1;
                assert!(
                    inside || of_the_chart || known.iter().any(|known| known.start == at),
                    "{}: {version} after none of {MARKS:?}",
                    file.display()
                );
            }
        }
        assert!(seen > 10, "{seen}");
    }

    #[test]
    fn another_version_is_found_where_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in READ
            .iter()
            .filter(|name| !name.contains('.') && **name != "Containerfile")
        {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        write("Containerfile", "FROM x\nARG VERSION=1.2.3\n");
        write(
            "README.md",
            "smtp-server:1.2.4. And smtp-server:latest, smtp-server 10.1.2.3\n",
        );
        write("docs/page.md", "smtp-server 1.2.2, newTag: 1.2.3\n");
        let wrong = disagreeing(folder.path(), "1.2.3").expect("read");
        let wrong: Vec<(String, usize, String)> = wrong
            .into_iter()
            .map(|place| (place.file.display().to_string(), place.line, place.version))
            .collect();
        assert_eq!(
            wrong,
            [
                ("README.md".to_owned(), 1, "1.2.4".to_owned()),
                ("docs/page.md".to_owned(), 1, "1.2.2".to_owned())
            ]
        );
    }
}
