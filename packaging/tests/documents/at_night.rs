//! What runbooks and docs/kubernetes.md tell somebody to type at 3 a.m. is typed: each command of the server against one that runs
//! and has mail that waits; and what logs are searched for is what servers write.

use super::shell::{Words, commands, of_blocks};
use super::tree::{files, quoted, text};
use blackbox::server::{PASSWORD, Server, binary};
use blackbox::wait_for;
use blackbox::wire::{Wire, queue_id};
use packaging::tools::root;
use std::collections::BTreeSet;
use std::process::{Command, Output};

/// Those that end the server, or are for one that does not run. Tests of their own run them.
const NOT_HERE: [&str; 3] = ["drain --now", "migrate", "queue migrate"];

/// The pages, with their texts.
fn pages() -> Vec<(String, String)> {
    let all = files("docs").into_iter().chain(files("charts/smtp-server"));
    let read = all.filter(|file| {
        file.starts_with("docs/runbooks/") || file == "docs/kubernetes.md" || file.ends_with("UPGRADING.md")
    });
    read.map(|file| (file.clone(), text(&root().join(&file))))
        .collect()
}

/// What is behind the server's name, in a command of the server or in one of kubectl that runs it in a pod.
fn of_the_server(words: &[String]) -> Option<&[String]> {
    let place = words
        .iter()
        .position(|word| word.trim_start_matches('/') == "smtp-server")?;
    let runs = place == 0 || words[place - 1] == "--";
    runs.then(|| &words[place + 1..])
}

/// Commands of a page: of blocks, and in sentences. In these the server's name is often left out, and so are arguments: a command
/// alone is only named.
fn typed(page: &str, names: &BTreeSet<String>) -> Vec<Words> {
    let in_sentences = quoted(page).into_iter().flat_map(commands).filter(|words| {
        let of_it = of_the_server(words).unwrap_or(words);
        let known = of_it.first().is_some_and(|first| names.contains(first));
        known && of_it.iter().any(|word| word.starts_with("--"))
    });
    let blocks = of_blocks(page)
        .into_iter()
        .filter(|words| of_the_server(words).is_some());
    let all = blocks.chain(in_sentences);
    all.map(|words| of_the_server(&words).unwrap_or(&words).to_vec())
        .filter(|words| !words.is_empty())
        .collect()
}

/// The server's commands, as its help lists them.
fn names() -> BTreeSet<String> {
    let help = Command::new(binary())
        .arg("--help")
        .output()
        .expect("the binary")
        .stdout;
    let help = String::from_utf8(help).expect("UTF-8");
    let (_, listed) = help.split_once("Commands:").expect("commands");
    let lines = listed.trim_start_matches('\n').lines();
    let names = lines.take_while(|line| line.starts_with("  "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// A server whose next hop is away, with a domain's key, an account, a webhook that nobody answers, and a message that is deferred.
fn troubled() -> Server {
    let server = Server::with(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://127.0.0.1:9\"\n\
         [[webhooks]]\nname = \"books\"\nurl = \"http://127.0.0.1:9/\"\nevents = [\"expired\"]\n\
         secret = \"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\"\n",
    );
    for words in ["dkim new y.test", "account add support --app --sender *@x.test"] {
        let words: Vec<&str> = words.split(' ').collect();
        server.done(&words);
    }
    server
}

/// Runs a command as `kubectl exec` does: where the configuration says the ports.
fn typed_in_its_pod(server: &Server, words: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command
        .args(words)
        .env_clear()
        .env("SMTP_ADMIN_PASSWORD", PASSWORD);
    command.env("SMTP_HTTP_PORT", server.http.port().to_string());
    command.output().expect("the binary")
}

/// Hands in a message and waits until it is put off; its id.
fn deferred(server: &Server) -> String {
    let reply = Wire::hello(server.smtp).mail("a@x.test", &["b@y.test"], "Subject: t\r\n\r\ntext\r\n");
    let id = queue_id(&reply);
    let waits = || {
        server
            .queue(&["list", "--state", "deferred"])
            .iter()
            .any(|one| one["id"] == id.as_str())
    };
    wait_for("the message to be deferred", waits);
    id
}

#[test]
fn commands_of_runbooks_work_on_a_running_server() {
    let (server, names) = (troubled(), names());
    let (mut seen, mut wrong) = (BTreeSet::new(), BTreeSet::new());
    for (page, content) in pages() {
        for words in typed(&content, &names) {
            let line = words.join(" ");
            if NOT_HERE.iter().any(|other| line.starts_with(other)) || !seen.insert(line.clone()) {
                continue;
            }
            let id = deferred(&server);
            let filled = words.iter().map(|word| match word.as_str() {
                "ID" => id.as_str(),
                "DOMAIN" => "y.test",
                "ADDRESS" => "b@y.test",
                "…" => "because",
                "NAME" if words[0] == "webhooks" => "books",
                "NAME" => "support",
                word => word,
            });
            let output = typed_in_its_pod(&server, &filled.collect::<Vec<_>>());
            // A key that nobody has published is what is said, by its exit code too.
            let unpublished = line.starts_with("dkim check") && output.stdout.starts_with(b"y.test");
            if !output.status.success() && !unpublished {
                let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
                wrong.insert(format!("{page}: {line}: {}: {said}", output.status));
            }
        }
    }
    assert!(seen.len() > 30, "{seen:#?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Words of the server's own (`config_refused`, `smtp_ready`) in what `grep` is to find are in the reference, or in the server's sources
/// as a value.
#[test]
fn what_logs_are_searched_for_is_written() {
    let references = ["events", "metrics", "configuration"]
        .map(|page| text(&root().join(format!("docs/reference/{page}.md"))));
    let events = &references[0];
    let sources: String = files("crates")
        .iter()
        .filter(|file| file.ends_with(".rs"))
        .map(|file| text(&root().join(file)))
        .collect();
    let mut wrong = BTreeSet::new();
    let mut seen = 0;
    for (page, content) in pages() {
        let lines = of_blocks(&content)
            .into_iter()
            .chain(quoted(&content).into_iter().flat_map(commands));
        for words in lines.filter(|words| words[0] == "grep") {
            let pattern = words[1..]
                .iter()
                .find(|word| !word.starts_with('-'))
                .expect("a pattern");
            for word in spelled(pattern) {
                seen += 1;
                let is_event = pattern.contains("\"event\":\"");
                let event = events.contains(&format!("| `{word}` |"));
                let other = references.iter().any(|page| page.contains(&format!("`{word}`")))
                    || sources.contains(&format!("\"{word}\""));
                if !(event || (other && !is_event)) {
                    wrong.insert(format!("{page}: {pattern}: nobody writes {word}"));
                }
            }
        }
    }
    assert!(seen > 25, "{seen}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The words with a low line that a pattern finds: `a_(b|c)` is two.
fn spelled(pattern: &str) -> Vec<String> {
    let alternatives: Vec<String> = match pattern
        .split_once('(')
        .and_then(|(before, rest)| Some((before, rest.split_once(')')?)))
    {
        Some((before, (inside, behind))) => {
            let head = before
                .rsplit(|c: char| !is_of_a_word(c))
                .next()
                .unwrap_or_default();
            let tail = behind
                .split(|c: char| !is_of_a_word(c))
                .next()
                .unwrap_or_default();
            inside
                .split('|')
                .map(|one| format!("{head}{one}{tail}"))
                .collect()
        }
        None => pattern.split('|').map(str::to_owned).collect(),
    };
    let words = alternatives
        .iter()
        .flat_map(|one| one.split(|c: char| !is_of_a_word(c)));
    words
        .filter(|word| word.contains('_'))
        .map(str::to_owned)
        .collect()
}

fn is_of_a_word(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

#[test]
fn patterns_are_spelled_out() {
    assert_eq!(
        spelled("\"event\":\"webhook_(down|dropped)\""),
        ["webhook_down", "webhook_dropped"]
    );
    assert_eq!(
        spelled("relay_denied|auth_failed"),
        ["relay_denied", "auth_failed"]
    );
    assert_eq!(
        spelled("\"event\":\"(store_failed|storage_awaited)\""),
        ["store_failed", "storage_awaited"]
    );
}
