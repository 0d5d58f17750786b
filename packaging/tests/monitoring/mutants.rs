//! Whether an alert's test would notice that the alert was changed: every comparison turned round, every threshold moved by half, every `for` doubled and
//! halved. A change that no test notices is one that nobody would notice either, until the night.

use super::expression::Expression;
use super::files::{alerts, promtool, string, texts, write_rules};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// An alert's file that says something else.
struct Mutant {
    what: String,
    file: Value,
}

#[test]
fn a_test_notices_every_change_of_its_alert() {
    let tests = texts("monitoring/tests", ".yaml");
    let folder = tempfile::tempdir().expect("a folder");
    let mut written = BTreeMap::new();
    for (alert, file) in alerts() {
        let mutants = mutants(&file);
        assert!(!mutants.is_empty(), "{alert} has nothing that could be changed");
        for (place, mutant) in mutants.into_iter().enumerate() {
            let rules = format!("{alert}-{place}.rules");
            write_rules(&folder.path().join(&rules), &mutant.file);
            let test = tests[&alert].replace(&format!("../alerts/{alert}.yaml"), &rules);
            assert!(test.contains(&rules), "the test of {alert} reads its alert");
            let test_name = format!("{alert}-{place}.yaml");
            std::fs::write(folder.path().join(&test_name), test).expect("test");
            written.insert(test_name, format!("{alert}: {}", mutant.what));
        }
    }
    assert!(written.len() > 150, "{} changes", written.len());
    let survivors = passing(folder.path(), &written.keys().cloned().collect::<Vec<_>>());
    let survivors: Vec<_> = survivors.iter().map(|name| &written[name]).collect();
    assert!(
        survivors.is_empty(),
        "no test notices these changes: {survivors:#?}"
    );
}

/// Every change of a file.
fn mutants(file: &Value) -> Vec<Mutant> {
    let mut found = Vec::new();
    let mut add = |rule: &str, key: &str, was: &str, is: String| {
        let mut file = file.clone();
        *file
            .pointer_mut(rule)
            .expect("the rule")
            .get_mut(key)
            .expect("the key") = json!(is);
        found.push(Mutant {
            what: format!("{key}: {} is {}", was.trim(), is.trim()),
            file,
        });
    };
    let groups = file["groups"].as_array().expect("groups");
    for (group, rules) in groups.iter().enumerate() {
        for (place, rule) in rules["rules"].as_array().expect("rules").iter().enumerate() {
            let pointer = format!("/groups/{group}/rules/{place}");
            let expr = string(rule, "expr");
            for (range, operator, number) in Expression::read(expr).comparisons {
                for other in others(&operator, &number) {
                    let changed = format!("{}{other}{}", &expr[..range.start], &expr[range.end..]);
                    add(&pointer, "expr", expr, changed);
                }
            }
            if let Some(duration) = rule["for"].as_str() {
                for other in [doubled(duration), halved(duration)] {
                    add(&pointer, "for", duration, other);
                }
            }
        }
    }
    found
}

/// What is put in place of a comparison.
fn others(operator: &str, number: &str) -> Vec<String> {
    let (turned, moved) = match operator {
        ">" => ("<", true),
        "<" => (">", true),
        ">=" => ("<", true),
        "<=" => (">", true),
        "==" => ("!=", false),
        "!=" => ("==", false),
        operator => panic!("{operator} is no comparison"),
    };
    let mut others = vec![format!("{turned} {number}")];
    let value: f64 = number.parse().expect("a number");
    if value == 0.0 && operator == ">" {
        others.push(">= 0".into());
    } else if value != 0.0 && moved {
        others.push(format!("{operator} {}", value * 1.5));
        others.push(format!("{operator} {}", value / 1.5));
    }
    others
}

fn seconds(duration: &str) -> u64 {
    let (number, unit) = duration.split_at(duration.len() - 1);
    let number: u64 = number.parse().expect("a duration");
    number
        * match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            unit => panic!("unit {unit}"),
        }
}

fn doubled(duration: &str) -> String {
    format!("{}s", seconds(duration) * 2)
}

fn halved(duration: &str) -> String {
    format!("{}s", seconds(duration) / 2)
}

/// Which of the tests in a folder pass. Two promtools share them.
fn passing(folder: &Path, tests: &[String]) -> Vec<String> {
    let half = tests.len().div_ceil(2);
    let (first, second) = tests.split_at(half);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| passing_one_after_another(folder, second));
        let mut passing = passing_one_after_another(folder, first);
        passing.extend(other.join().expect("the other half"));
        passing
    })
}

fn passing_one_after_another(folder: &Path, tests: &[String]) -> Vec<String> {
    let mut passing = Vec::new();
    let mut judged = 0;
    // In portions, so that the time limit of a program is about a portion.
    for portion in tests.chunks(20) {
        let output = promtool()
            .args(["test", "rules"])
            .args(portion)
            .current_dir(folder)
            .output()
            .expect("promtool");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut current = None;
        for line in said.lines() {
            if let Some(name) = line.strip_prefix("Unit Testing:") {
                current = Some(name.trim().to_owned());
                judged += 1;
            } else if line.trim() == "SUCCESS" {
                passing.extend(current.take());
            }
        }
        let errors = String::from_utf8_lossy(&output.stderr).into_owned() + &said;
        for wrong in ["parse error", "could not parse", "no such file"] {
            assert!(!errors.contains(wrong), "a change that is no rule: {errors}");
        }
    }
    assert_eq!(judged, tests.len(), "promtool has judged all of them");
    passing
}
