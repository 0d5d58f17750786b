//! What the pages about Kubernetes say, held against what there is.

use super::tree::{quoted, text};
use blackbox::server::binary;
use blackbox::tools::run;
use packaging::render::QUICK_START;
use packaging::tools::root;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

/// Every page that is about Kubernetes.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![
        root().join("docs/kubernetes.md"),
        root().join("docs/monitoring.md"),
        root().join("charts/smtp-server/README.md"),
        root().join("charts/smtp-server/UPGRADING.md"),
    ];
    let runbooks = std::fs::read_dir(root().join("docs/runbooks")).expect("docs/runbooks");
    pages.extend(runbooks.flatten().map(|entry| entry.path()));
    pages.sort();
    pages
}

/// The lines of a page within fenced blocks of `bash`, `sh` or `console`, without prompts and comments.
fn commands(page: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in page.lines() {
        let line = line.trim_start();
        if let Some(fence) = line.strip_prefix("```") {
            inside = !inside && ["bash", "sh", "console"].contains(&fence.trim());
        } else if inside {
            let line = line.strip_prefix("$ ").unwrap_or(line);
            let line = line.split("  #").next().unwrap_or(line).trim();
            if !line.is_empty() && !line.starts_with('#') {
                found.push(line.to_owned());
            }
        }
    }
    found
}

#[test]
fn the_quick_start_is_what_was_promised() {
    let said = commands(&text(&root().join("docs/kubernetes.md")));
    assert_eq!(&said[..QUICK_START.len()], QUICK_START);
}

#[test]
fn paths_exist() {
    let mut missing = BTreeSet::new();
    let mut seen = 0;
    for page in pages() {
        let content = text(&page);
        let words = content.split(|c: char| c.is_whitespace() || "`()|,:;\"'".contains(c));
        for word in words {
            let word = word.trim_end_matches(['.', '/']);
            let ours = ["k8s/", "charts/smtp-server/", "monitoring/", "docs/"];
            if ours.iter().any(|folder| word.starts_with(folder)) && !word.contains(['<', '*', '{', '$']) {
                seen += 1;
                if !root().join(word).exists() {
                    missing.insert(format!("{}: {word}", page.display()));
                }
            }
        }
    }
    assert!(seen > 20, "{seen} paths");
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Each command of the binary that a page shows, with the options that it shows, is in the binary's help.
#[test]
fn commands_of_the_binary_exist() {
    let mut wrong = BTreeSet::new();
    let mut seen = 0;
    for page in pages() {
        let content = text(&page);
        let inline = quoted(&content).into_iter().map(str::to_owned);
        for line in commands(&content).into_iter().chain(inline) {
            let Some((_, rest)) = line.split_once("smtp-server ") else {
                continue;
            };
            let begins = line.starts_with("smtp-server ") || line.contains("/smtp-server ");
            let words: Vec<&str> = rest
                .split_whitespace()
                .take_while(|word| !["|", "&&", ";", "&", "…", "\\"].contains(word))
                .collect();
            let names: Vec<&str> = words
                .iter()
                .copied()
                .take_while(|word| {
                    word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-')
                })
                .collect();
            if !begins || names.is_empty() || line.starts_with("helm") || line.contains("charts/smtp-server ")
            {
                continue;
            }
            seen += 1;
            // The longest of the names that is a command; what follows are its arguments.
            let help = (1..=names.len()).rev().find_map(|count| {
                let output = Command::new(binary())
                    .args(&names[..count])
                    .arg("--help")
                    .env_clear()
                    .output()
                    .expect("the binary");
                output
                    .status
                    .success()
                    .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
            });
            let Some(help) = help else {
                wrong.insert(format!("{}: {line}", page.display()));
                continue;
            };
            for option in words
                .iter()
                .filter(|word| word.starts_with("--") && word.len() > 2)
            {
                let option = option.split('=').next().unwrap_or(option);
                if !help.contains(option) {
                    wrong.insert(format!("{}: {line}: no {option}", page.display()));
                }
            }
        }
    }
    assert!(seen > 15, "{seen} commands");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn alerts_and_metrics_exist() {
    let metrics = text(&root().join("docs/reference/metrics.md"));
    let alerts = root().join("monitoring/alerts");
    let mut wrong = BTreeSet::new();
    for page in pages() {
        for word in quoted(&text(&page)) {
            let alert = word.starts_with("SMTP")
                && word.len() > 4
                && word[4..].chars().all(|c| c.is_ascii_alphanumeric());
            if alert && !alerts.join(format!("{word}.yaml")).exists() {
                wrong.insert(format!("{}: {word}", page.display()));
            }
            let name: String = word
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_')
                .collect();
            let plain = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(&name);
            if name.starts_with("smtp_")
                && !word.contains(':')
                && !metrics.contains(&format!("`{name}`"))
                && !metrics.contains(&format!("`{plain}`"))
            {
                wrong.insert(format!("{}: {word}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Values of the chart that docs/kubernetes.md names: after "chart:", in backticks.
#[test]
fn values_of_the_chart_exist() {
    let values = packaging::render::file("charts/smtp-server/values.yaml");
    let schema: serde_json::Value =
        serde_json::from_str(&text(&root().join("charts/smtp-server/values.schema.json")))
            .expect("the schema");
    let page = text(&root().join("docs/kubernetes.md"));
    let mut seen = 0;
    for part in page.split("chart: ").skip(1) {
        let named = part.split(')').next().unwrap_or_default();
        for path in quoted(named) {
            seen += 1;
            let pointer = format!("/{}", path.replace('.', "/"));
            let known = values[0].pointer(&pointer).is_some();
            let described = schema
                .pointer(&format!("/properties/{}", path.replace('.', "/properties/")))
                .is_some();
            assert!(known || described, "no value {path}");
        }
    }
    assert!(seen >= 3, "{seen} values");
}

#[test]
fn the_binary_is_the_one_that_is_documented() {
    let version = run(Command::new(binary()).arg("--version")).stdout;
    let version = String::from_utf8_lossy(&version)
        .trim()
        .replace("smtp-server ", "");
    let chart = packaging::render::file("charts/smtp-server/Chart.yaml");
    assert_eq!(chart[0]["appVersion"], version.as_str());
}
