//! `history …`: what happened to messages, asked of a running server.

use crate::admin_client::{AdminClient, block_on};
use crate::cli::{HistoryArgs, HistoryCommand, ServerArgs};
use crate::exit::Failure;
use crate::output::{clean, one, print};
use crate::queue_table::{text, time};
use jiff::Timestamp;
use serde_json::Value as Json;
use std::fmt::Write;

/// Most messages on a page; the API's limit.
const PAGE: usize = 1000;

pub(crate) fn history(command: &HistoryCommand) -> Result<(), Failure> {
    block_on(async {
        match command {
            HistoryCommand::List {
                wanted,
                limit,
                server,
            } => list(wanted, *limit, server).await,
            HistoryCommand::Show { id, server } => {
                let message = AdminClient::new(server)?.get(&["history", id], &[]).await?;
                print(&one(&message, server.output, shown))
            }
        }
    })
}

/// Prints page by page; a page may be empty and not the last.
async fn list(wanted: &HistoryArgs, limit: usize, server: &ServerArgs) -> Result<(), Failure> {
    let client = AdminClient::new(server)?;
    let (mut left, mut before) = (limit, None);
    while left > 0 {
        let mut query = wanted.pairs();
        query.push(("limit", left.min(PAGE).to_string()));
        query.extend(before.take().map(|id| ("before", id)));
        let page = client.get(&["history"], &query).await?;
        let entries = page["entries"].as_array().map_or(&[][..], Vec::as_slice);
        let lines = entries.iter().map(|entry| one(entry, server.output, listed));
        print(&lines.collect::<String>())?;
        left = left.saturating_sub(entries.len());
        before = page["next"].as_str().map(str::to_owned);
        if before.is_none() {
            break;
        }
    }
    Ok(())
}

impl HistoryArgs {
    /// What is given, by the names of the API.
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let all = [
            ("message_id", self.message_id.clone()),
            ("sender", self.sender.clone()),
            ("recipient", self.recipient.clone()),
            ("account", self.account.clone()),
            ("older_than", number(self.older_than)),
            ("newer_than", number(self.newer_than)),
        ];
        all.into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

/// A message in a list: when it came, its id, its sender; below it each recipient and what became of it.
fn listed(entry: &Json, _: Timestamp) -> String {
    let at = time(&entry["received_at"]).map_or("-".into(), |at| format!("{at:.0}"));
    let sender = entry["sender"]
        .as_str()
        .map_or("-".into(), |sender| format!("<{}>", clean(sender)));
    let end = match entry["ended_at"].is_null() {
        true => "in the queue",
        false => "done",
    };
    let mut lines = format!("{at}  {}  {sender}  {end}\n", text(entry, "id"));
    for (address, fate) in entry["recipients"].as_object().into_iter().flatten() {
        // Writing to a String does not fail.
        let _ = writeln!(
            lines,
            "    {}  {}: {}",
            clean(address),
            text(fate, "status"),
            text(fate, "text")
        );
    }
    lines
}

/// Every step, a line each: its time, what it was, and what is known of it.
fn shown(entry: &Json, now: Timestamp) -> String {
    let mut lines = listed(entry, now);
    lines.push('\n');
    for step in entry["steps"].as_array().into_iter().flatten() {
        let mut words = format!("{}  {}", text(step, "ts"), text(step, "event"));
        for (name, value) in step.as_object().into_iter().flatten() {
            if !["ts", "level", "event", "id"].contains(&name.as_str())
                || (name == "id" && step["id"] != entry["id"])
            {
                let value = value.as_str().map_or_else(|| value.to_string(), clean);
                let _ = write!(words, "  {}={value}", clean(name));
            }
        }
        lines.push_str(&words);
        lines.push('\n');
    }
    if let Some(omitted) = entry["omitted"].as_u64().filter(|omitted| *omitted > 0) {
        let _ = writeln!(lines, "({omitted} more attempts are not kept)");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_message_is_a_line_for_each_step() {
        let entry = json!({
            "id": "01J", "received_at": "2025-01-01T00:00:00.5Z", "ended_at": "2025-01-01T00:00:02Z", "sender": "", "omitted": 2,
            "recipients": {"b@y.test": {"status": "sent", "text": "250 ok\u{1b}"}},
            "steps": [{"ts": "t1", "level": "info", "event": "received", "id": "01J", "size": 5},
                      {"ts": "t2", "level": "info", "event": "dsn_queued", "id": "01K", "to": "x"}],
        });
        assert_eq!(
            shown(&entry, Timestamp::default()),
            "2025-01-01T00:00:00Z  01J  <>  done\n    b@y.test  sent: 250 ok?\n\n\
             t1  received  size=5\nt2  dsn_queued  id=01K  to=x\n(2 more attempts are not kept)\n"
        );
        assert!(!shown(&json!([1]), Timestamp::default()).is_empty());
    }
}
