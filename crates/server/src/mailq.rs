//! `mailq`: the queue as those read it who know Postfix, and what waits in the drop folder for a server.

use crate::admin_client::AdminClient;
use crate::cli::{Cli, Command, FolderArgs, MailqArgs, ServerArgs};
use crate::exit::{Exit, Failure};
use crate::output::{Output, clean, print, remark};
use crate::sendmail::{DropFolder, Waiting, folder};
use clap::Parser;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};
use std::fmt::Write;

/// Most messages on a page; the API's limit.
const PAGE: usize = 1000;
const HEADING: &str = "-Queue ID------------------ --Size-- ----Arrival Time---- -Sender/Recipient-------";
/// What stands left of a recipient.
const MARGIN: usize = 57;

pub(crate) fn mailq(args: &MailqArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Temporary, e))?;
    runtime.block_on(show(args))
}

/// For `sendmail -bp`, which has none of the options.
pub(crate) async fn from_environment(folder: &FolderArgs) -> Result<(), Failure> {
    match Cli::try_parse_from(["smtp-server", "mailq"]) {
        Ok(Cli {
            command: Some(Command::Mailq(mut args)),
            ..
        }) => {
            args.folder = folder.clone();
            show(&args).await
        }
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(Exit::Usage, error)),
    }
}

async fn show(args: &MailqArgs) -> Result<(), Failure> {
    let mut list = List {
        output: args.server.output,
        messages: 0,
        octets: 0,
    };
    // What waits for a server is shown even if none can be asked.
    let asked = queue(&args.server, &mut list).await;
    dropped(&folder(&args.folder)?, &mut list)?;
    match asked {
        Ok(()) => list.end(),
        Err(failure) => {
            if list.messages > 0 {
                list.end()?;
            }
            Err(failure)
        }
    }
}

/// Page by page, so that a long queue needs no memory here.
async fn queue(server: &ServerArgs, list: &mut List) -> Result<(), Failure> {
    let client = AdminClient::new(server)?;
    let mut after = None;
    loop {
        let mut query = vec![("limit", PAGE.to_string())];
        query.extend(after.take().map(|id| ("after", id)));
        let page = client.get(&["queue"], &query).await?;
        let messages = page["messages"].as_array().ok_or_else(|| {
            Failure::new(
                Exit::Unavailable,
                "the answer is not a list of messages; is that an smtp-server?",
            )
        })?;
        for message in messages {
            list.add(message)?;
        }
        match page["next"].as_str() {
            Some(next) if !messages.is_empty() => after = Some(next.to_owned()),
            _ => return Ok(()),
        }
    }
}

fn dropped(folder: &DropFolder, list: &mut List) -> Result<(), Failure> {
    let (names, _) = match folder.list() {
        Ok(found) => found,
        Err(error) => {
            remark(&format!("smtp-server: {}: {error}", folder.path.display()));
            return Ok(());
        }
    };
    for name in names {
        match folder.look(&name) {
            Ok(Some(waiting)) => list.add(&entry(&name, &waiting, &folder.path))?,
            Ok(None) => {}
            Err(error) => remark(&format!(
                "smtp-server: {}: {error}",
                folder.path.join(&name).display()
            )),
        }
    }
    Ok(())
}

/// In the shape that the API gives messages of the queue.
fn entry(name: &str, waiting: &Waiting, folder: &std::path::Path) -> Json {
    let recipients = waiting
        .recipients
        .iter()
        .map(|to| json!({"address": to.address.as_str(), "state": "dropped", "last_result": to.reason}));
    json!({
        "id": name,
        "received_at": waiting.arrived.to_string(),
        "sender": waiting.sender.as_ref().map_or("", |sender| sender.as_str()),
        "size": waiting.content.len(),
        "drop_folder": folder.to_string_lossy(),
        "recipients": recipients.collect::<Json>(),
    })
}

/// What was shown so far.
struct List {
    output: Output,
    messages: u64,
    octets: u64,
}

impl List {
    fn add(&mut self, message: &Json) -> Result<(), Failure> {
        let heading = match self.messages {
            0 => format!("{HEADING}\n"),
            _ => String::new(),
        };
        self.messages += 1;
        self.octets = self.octets.saturating_add(message["size"].as_u64().unwrap_or(0));
        match self.output {
            Output::Json => print(&format!("{message}\n")),
            Output::Table => print(&(heading + &shown(message))),
        }
    }

    fn end(&self) -> Result<(), Failure> {
        let (messages, kbytes) = (self.messages, self.octets.div_ceil(1024));
        match self.output {
            Output::Json => Ok(()),
            Output::Table if messages == 0 => print("Mail queue is empty\n"),
            Output::Table => {
                let s = if messages == 1 { "" } else { "s" };
                print(&format!("-- {kbytes} Kbytes in {messages} Request{s}.\n"))
            }
        }
    }
}

/// A message: id with `*` where it is being delivered or `!` where it is held, size, arrival, sender; its recipients, each reason
/// above those that it keeps.
fn shown(message: &Json) -> String {
    let text = |object: &Json, key: &str| clean(object[key].as_str().unwrap_or_default());
    let recipients: Vec<&Json> = message["recipients"].as_array().into_iter().flatten().collect();
    let is = |state: &str| recipients.iter().any(|to| to["state"] == state);
    let mark = match () {
        () if is("leased") => '*',
        () if is("held") || is("quarantined") => '!',
        () => ' ',
    };
    let arrival = text(message, "received_at").parse::<Timestamp>().map(|at| {
        at.to_zoned(TimeZone::UTC)
            .strftime("%a %b %e %H:%M:%S")
            .to_string()
    });
    let sender = match text(message, "sender") {
        sender if sender.is_empty() => "MAILER-DAEMON".to_owned(),
        sender => sender,
    };
    // Writing to a String does not fail.
    let mut lines = String::new();
    let _ = writeln!(
        lines,
        "{:<26}{mark} {:>8} {:<20} {sender}",
        text(message, "id"),
        message["size"].as_u64().unwrap_or(0),
        arrival.unwrap_or_default(),
    );
    let open = |to: &&&Json| !matches!(to["state"].as_str(), Some("delivered" | "bounced" | "expired"));
    let mut waiting: Vec<(String, String)> = recipients
        .iter()
        .filter(open)
        .map(|to| (text(to, "last_result"), text(to, "address")))
        .collect();
    waiting.sort();
    let mut before = String::new();
    for (reason, address) in waiting {
        if reason != before {
            let _ = writeln!(lines, "{:>80}", format!("({reason})"));
        }
        let _ = writeln!(lines, "{:MARGIN$} {address}", "");
        before = reason;
    }
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_looks_as_in_postfix() {
        let message = json!({
            "id": "01JDABCDEFGHJKMNPQRSTVWXYZ", "received_at": "2025-01-02T03:04:05Z", "sender": "", "size": 1234,
            "recipients": [
                {"address": "d@y.test", "state": "delivered", "last_result": "250 ok"},
                {"address": "b@y.test", "state": "deferred", "last_result": "451 no\u{1b} room"},
                {"address": "a@y.test", "state": "deferred", "last_result": "451 no\u{1b} room"},
                {"address": "c@y.test", "state": "leased", "last_result": null},
            ],
        });
        let margin = " ".repeat(MARGIN);
        assert_eq!(
            shown(&message),
            format!(
                "01JDABCDEFGHJKMNPQRSTVWXYZ*     1234 Thu Jan  2 03:04:05  MAILER-DAEMON\n\
                 {margin} c@y.test\n{:>80}\n{margin} a@y.test\n{margin} b@y.test\n\n",
                "(451 no? room)"
            )
        );
    }

    #[test]
    fn an_answer_of_another_shape_is_no_panic() {
        for answer in [json!(null), json!([]), json!({"recipients": [1]}), json!("text")] {
            assert!(!shown(&answer).is_empty());
        }
    }
}
