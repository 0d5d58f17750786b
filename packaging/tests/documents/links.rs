//! Where pages lead: each link to something that is there, and to each page a link.

use super::tree::{files, pages, text};
use packaging::tools::root;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The links of a page that lead into this repository: as they are written, the file, the heading or nothing.
fn links(page: &Path) -> Vec<(String, PathBuf, String)> {
    let content = text(page);
    let links = content.split("](").skip(1);
    links
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.starts_with("http"))
        .map(|link| {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.to_owned(),
                file => page.parent().expect("a folder").join(file),
            };
            (link.to_owned(), target, heading.to_owned())
        })
        .collect()
}

/// The anchor that a heading gets: small letters, hyphens for spaces, nothing else.
fn anchor(heading: &str) -> String {
    let kept = heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .collect::<String>();
    kept.replace(' ', "-")
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for page in pages() {
        for (link, target, heading) in links(&page) {
            seen += 1;
            let is_heading = |line: &str| line.starts_with('#') && anchor(line) == heading;
            let there = target.exists() && (heading.is_empty() || text(&target).lines().any(is_heading));
            if !there {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(seen > 200, "{seen} links");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The pages of `docs` that a page leads to.
fn pages_of_docs(from: &str) -> BTreeSet<String> {
    let docs = root().join("docs").canonicalize().expect("docs");
    links(&root().join(from))
        .into_iter()
        .filter_map(|(_, target, _)| {
            let target = target.canonicalize().ok()?;
            let page = target.strip_prefix(&docs).ok()?;
            Some(page.to_string_lossy().into_owned())
        })
        .collect()
}

#[test]
fn every_page_has_its_place_in_the_summary_and_in_the_list_of_pages() {
    let pages: BTreeSet<String> = files("docs")
        .into_iter()
        .filter(|file| file.ends_with(".md") && file != "docs/SUMMARY.md")
        .map(|file| file["docs/".len()..].to_owned())
        .collect();
    assert_eq!(pages_of_docs("docs/SUMMARY.md"), pages, "docs/SUMMARY.md");
    // The list for readers names folders whose pages have a list of their own, or tell by their names what they say.
    let listed = pages_of_docs("docs/README.md");
    for page in &pages {
        let folder = page.split_once('/').map_or("", |(folder, _)| folder);
        let place = match folder {
            "decisions" => "decisions".to_owned(),
            "runbooks" => "runbooks/README.md".to_owned(),
            _ if page == "README.md" => continue,
            _ => page.clone(),
        };
        assert!(listed.contains(&place), "docs/README.md does not name {page}");
    }
}
