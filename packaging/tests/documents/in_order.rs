//! Commands that stand one after the other: what the second needs of the first.

use super::cluster::{Cluster, kind};
use super::promised::section;
use super::shell::{Words, by_block, commands};
use super::tree::{pages, quoted, text};
use packaging::semantic::{labels, name_of};
use packaging::tools::root;
use std::collections::BTreeSet;

/// Programs that connect to what a forward listens on.
const CLIENTS: [&str; 6] = ["curl", "wget", "swaks", "openssl", "nc", "promtool"];

/// The client that comes first after a forward in the background: that one has to come again, since the forward does not listen yet.
fn first_through(commands: &[Words]) -> Option<&Words> {
    let forward = commands
        .iter()
        .position(|words| words.iter().any(|word| word == "port-forward"))?;
    let mut behind = commands[forward + 1..].iter();
    behind.find(|words| CLIENTS.contains(&words[0].as_str()))
}

fn comes_again(client: &[String]) -> bool {
    let has = |option: &str| client.iter().any(|word| word == option);
    client[0] == "curl" && has("--retry") && has("--retry-connrefused")
}

#[test]
fn what_goes_through_a_forward_waits_for_it() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in pages() {
        let content = text(&page);
        let spans = quoted(&content).into_iter().map(commands);
        for commands in by_block(&content).into_iter().chain(spans) {
            let Some(client) = first_through(&commands) else {
                continue;
            };
            seen += 1;
            if !comes_again(client) {
                wrong.push(format!("{}: {}", page.display(), client.join(" ")));
            }
        }
    }
    assert!(seen >= 2, "{seen}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What is deleted by label is all that is applied with it; claims and Secrets stay, and so does what a Secret would go with. KEDA's
/// object goes before what it scales.
#[test]
fn what_is_uninstalled_is_all_but_mail_and_secrets() {
    const STAY: [&str; 3] = ["Namespace", "Secret", "ExternalSecret"];
    let page = text(&root().join("docs/kubernetes.md"));
    let uninstall = section(&page, "Uninstall").expect("the section");
    let mut deleted = Vec::new();
    for words in by_block(uninstall).concat() {
        if words.get(1).is_some_and(|word| word == "delete")
            && words.ends_with(&["-l".to_owned(), "app=smtp-server".to_owned()])
        {
            let kinds = words
                .iter()
                .find(|word| kind(word.split(',').next().unwrap_or_default()).is_some());
            let kinds = kinds.expect("kinds").split(',');
            deleted.extend(kinds.map(|word| kind(word).expect("a kind").0));
        }
    }
    let cluster = Cluster::of_files();
    let ours = cluster.objects.iter().filter(|object| {
        let labels = labels(&object["metadata"]["labels"]);
        labels.get("app").is_some_and(|app| app == "smtp-server")
    });
    let left: BTreeSet<String> = ours
        .filter(|object| {
            let kind = object["kind"].as_str().expect("a kind");
            !STAY.contains(&kind) && !deleted.contains(&kind)
        })
        .map(|object| format!("{} {}", object["kind"], name_of(object)))
        .collect();
    assert_eq!(left, BTreeSet::new());
    for kind in STAY.iter().chain(&["PersistentVolumeClaim"]) {
        assert!(!deleted.contains(kind), "{kind} is deleted");
    }
    let place = |wanted: &str| {
        deleted
            .iter()
            .position(|kind| *kind == wanted)
            .expect("its place")
    };
    assert!(place("ScaledObject") < place("Deployment"), "{deleted:?}");
}
