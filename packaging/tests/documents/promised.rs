//! What somebody comes to a page with: each question has its section, and in it the words that an answer cannot do without.

use super::tree::text;
use packaging::tools::root;

/// A page, a heading of it, and what has to be said below.
const PROMISED: [(&str, &str, &[&str]); 16] = [
    (
        "kubernetes.md",
        "Embedded or PostgreSQL",
        &["StatefulSet", "Deployment"],
    ),
    (
        "kubernetes.md",
        "Certificates",
        &["cert-manager", "smtp-tls", "SMTPCertificateExpiry"],
    ),
    (
        "kubernetes.md",
        "Client addresses",
        &["externalTrafficPolicy: Local", "PROXY v2", "relay.networks"],
    ),
    (
        "kubernetes.md",
        "Outbound addresses",
        &["PTR", "SPF", "block port 25", "smarthost"],
    ),
    ("kubernetes.md", "Upgrades", &["kubectl"]),
    (
        "kubernetes.md",
        "Node loss and orphaned claims",
        &["out-of-service", "claim"],
    ),
    (
        "kubernetes.md",
        "Sizing",
        &[
            "CPU request",
            "Memory request",
            "8 times as much",
            "performance.md",
        ],
    ),
    (
        "kubernetes.md",
        "Troubleshooting",
        &["kubectl debug", "health ready"],
    ),
    ("kubernetes.md", "What is not as in other guides", &["| why |"]),
    (
        "postgresql.md",
        "How it is reached",
        &["verify-full", "password", "PGHOST"],
    ),
    ("postgresql.md", "When something breaks", &["451", "standby"]),
    ("postgresql.md", "What can arrive twice", &["killed"]),
    ("postgresql.md", "From SQLite and back", &["queue migrate"]),
    (
        "postgresql.md",
        "The database",
        &[
            "synchronous_standby_names",
            "Index Only Scan",
            "Backup",
            "CloudNativePG",
        ],
    ),
    (
        "postgresql.md",
        "How much, how fast",
        &["10⁸ messages a day", "assum"],
    ),
    ("postgresql.md", "Upgrades", &["migrate"]),
];

/// A page's section of that name, with what is below it.
pub(super) fn section<'p>(page: &'p str, heading: &str) -> Option<&'p str> {
    let (level, rest) = ["##", "###"].into_iter().find_map(|level| {
        let (_, rest) = page.split_once(&format!("\n{level} {heading}\n"))?;
        Some((level, rest))
    })?;
    Some(rest.split(&format!("\n{level} ")).next().unwrap_or(rest))
}

#[test]
fn each_question_has_its_answer() {
    let mut missing = Vec::new();
    for (page, heading, words) in PROMISED {
        let page_text = text(&root().join("docs").join(page));
        let Some(section) = section(&page_text, heading) else {
            missing.push(format!("{page}: no section {heading:?}"));
            continue;
        };
        let silent = words.iter().filter(|word| !section.contains(**word));
        missing.extend(silent.map(|word| format!("{page}, {heading:?}: nothing about {word:?}")));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
