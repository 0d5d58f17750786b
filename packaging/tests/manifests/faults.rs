//! The checks can fail: each file in `faults/` breaks an overlay in one way, and says what has to be found.

use crate::manifests::rendered::customized;
use packaging::render::{file, objects};
use packaging::semantic::findings;
use packaging::tools::{Release, root};
use serde_json::Value;
use std::collections::BTreeMap;

/// A file's header: `# over: OVERLAY`, `# with: COMPONENTS`, `# finds: TEXT` as often as there are. What follows are changes: a
/// JSON Patch each, with the object that it is about (`in: KIND/NAME`), or a whole object that is added (`adds:`) or
/// taken away (`drops: KIND/NAME`).
#[test]
fn each_fault_is_found_and_nothing_else() {
    let folder = root().join("packaging/tests/manifests/faults");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("faults")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    assert!(files.len() > 50, "{}", files.len());
    let mut rendered: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
    let mut wrong = String::new();
    for path in files {
        let name = path.file_name().expect("a name").display().to_string();
        let text = std::fs::read_to_string(&path).expect("a file");
        let header = |word: &str| -> Vec<&str> {
            text.lines()
                .filter_map(|line| line.strip_prefix(&format!("# {word}: ")))
                .collect()
        };
        let (overlay, with) = (header("over")[0].to_owned(), header("with").join(" "));
        let good = rendered
            .entry((overlay.clone(), with.clone()))
            .or_insert_with(|| {
                let components: Vec<String> = with
                    .split_whitespace()
                    .map(|name| match name {
                        "monitoring" => name.to_owned(),
                        _ => format!("components/{name}"),
                    })
                    .collect();
                let components: Vec<&str> = components.iter().map(String::as_str).collect();
                objects(&customized(Release::Helm4, &overlay, &components))
            });
        let mut broken = good.clone();
        for change in objects(&text)
            .iter()
            .flat_map(|document| document.as_array().expect("changes"))
        {
            apply(&mut broken, change, &name);
        }
        let found = findings(&broken);
        let mut expected = header("finds");
        expected.sort_unstable();
        assert!(!expected.is_empty(), "{name}");
        if found != expected {
            wrong += &format!("{name}:\n  found    {found:#?}\n  expected {expected:#?}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn apply(broken: &mut Vec<Value>, change: &Value, name: &str) {
    let is = |object: &Value, called: &str| {
        let (kind, name) = called.split_once('/').expect("KIND/NAME");
        object["kind"] == kind && object["metadata"]["name"] == name
    };
    if let Some(called) = change["drops"].as_str() {
        let before = broken.len();
        broken.retain(|object| !is(object, called));
        assert_eq!(broken.len() + 1, before, "{name}: no {called}");
    } else if change["adds"].is_object() {
        broken.push(change["adds"].clone());
    } else {
        let called = change["in"].as_str().expect("in");
        let object = broken.iter_mut().find(|object| is(object, called));
        patch(
            object.unwrap_or_else(|| panic!("{name}: no {called}")),
            change,
            name,
        );
    }
}

/// `add`, `replace` and `remove` of RFC 6902.
fn patch(object: &mut Value, change: &Value, name: &str) {
    let path = change["path"].as_str().expect("a path");
    let (parent, last) = path.rsplit_once('/').expect("a path");
    let last = last.replace("~1", "/").replace("~0", "~");
    let parent = object
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("{name}: no {path}"));
    let value = change["value"].clone();
    let there = match parent {
        Value::Object(map) => map.contains_key(&last),
        Value::Array(array) => last.parse().is_ok_and(|place: usize| place < array.len()),
        _ => panic!("{name}: {path} is in no object"),
    };
    match (change["op"].as_str().expect("op"), parent) {
        ("add", Value::Object(map)) => assert!(map.insert(last, value).is_none(), "{name}: {path} is there"),
        ("add", Value::Array(array)) if last == "-" => array.push(value),
        ("replace", parent) if there => match parent {
            Value::Object(map) => drop(map.insert(last, value)),
            Value::Array(array) => array[last.parse::<usize>().expect("a place")] = value,
            _ => unreachable!(),
        },
        ("remove", Value::Object(map)) if there => drop(map.remove(&last)),
        ("remove", Value::Array(array)) if there => drop(array.remove(last.parse().expect("a place"))),
        (op, _) => panic!("{name}: {op} of {path}"),
    }
}

/// The guide's manifests, as they were written. What is wrong with them is in `guide.findings`, a line each, under the row (`# …`) of
/// `docs/kubernetes.md`, "What is not as in other guides", that says what is done in its place, and why.
#[test]
fn the_guides_own_faults_are_found_and_the_page_has_a_row_for_each() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect(path);
    let text = read("packaging/tests/manifests/guide.findings");
    let found = findings(&file("packaging/tests/manifests/guide.yaml"));
    let mut expected: Vec<&str> = text.lines().filter(|line| !line.starts_with("# ")).collect();
    expected.sort_unstable();
    assert_eq!(found, expected, "{}", found.join("\n"));
    assert!(text.starts_with("# "), "each is under a row");
    let page = read("docs/kubernetes.md");
    let (_, table) = page
        .split_once("\n## What is not as in other guides\n")
        .expect("the section");
    let (table, _) = table.split_once("\n## ").expect("another after it");
    for row in text.lines().filter_map(|line| line.strip_prefix("# ")) {
        assert!(table.contains(&format!("\n| {row} | ")), "no row: {row}");
    }
}
