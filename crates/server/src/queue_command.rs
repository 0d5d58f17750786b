//! `queue …`: the operator's work on the queue of a running server, through its admin API.

use crate::admin_client::AdminClient;
use crate::cli::{FilterArgs, QueueCommand, Selection, ServerArgs};
use crate::exit::{Exit, Failure};
use crate::output::{Output, print, remark};
use crate::queue_table as table;
use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

/// Most messages on a page, and ids in a request; the API's limit.
const PAGE: usize = 1000;

pub(crate) fn queue(command: &QueueCommand) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Temporary, e))?;
    runtime.block_on(async {
        match command {
            QueueCommand::List {
                filter,
                limit,
                server,
            } => list(filter, *limit, server).await,
            QueueCommand::Show { id, server } => show(id, server).await,
            QueueCommand::Stats { server } => stats(server).await,
            QueueCommand::Retry {
                selection,
                dry_run,
                server,
            } => change("retry", selection, *dry_run, server).await,
            QueueCommand::Release {
                selection,
                dry_run,
                server,
            } => change("release", selection, *dry_run, server).await,
            QueueCommand::Delete {
                selection,
                dry_run,
                server,
            } => change("delete", selection, *dry_run, server).await,
        }
    })
}

/// Prints page by page, so that a long queue needs no memory here.
async fn list(filter: &FilterArgs, limit: usize, server: &ServerArgs) -> Result<(), Failure> {
    let client = AdminClient::new(server)?;
    let mut left = limit;
    let mut after = None;
    let mut count = 0;
    while left > 0 {
        let mut query: Vec<(&str, String)> = filter.pairs();
        query.push(("limit", left.min(PAGE).to_string()));
        query.extend(after.take().map(|id| ("after", id)));
        let mut page = client.get(&["queue"], &query).await?;
        let messages = match page["messages"].take() {
            Json::Array(messages) => messages,
            _ => {
                return Err(Failure::new(
                    Exit::Unavailable,
                    "the answer is not a list of messages",
                ));
            }
        };
        print(
            &messages
                .iter()
                .map(|message| one(message, server.output, table::listed))
                .collect::<String>(),
        )?;
        count += messages.len();
        left = left.saturating_sub(messages.len());
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() || messages.is_empty() {
            break;
        }
    }
    if server.output == Output::Table {
        let more = if after.is_some() {
            ", and more (--limit)"
        } else {
            ""
        };
        remark(&format!("{} listed{more}", table::messages(count as u64)));
    }
    Ok(())
}

async fn show(id: &str, server: &ServerArgs) -> Result<(), Failure> {
    let message = AdminClient::new(server)?.get(&["queue", id], &[]).await?;
    print(&one(&message, server.output, table::shown))
}

async fn stats(server: &ServerArgs) -> Result<(), Failure> {
    let stats = AdminClient::new(server)?.get(&["queue", "stats"], &[]).await?;
    match server.output {
        Output::Json => print(&format!("{stats}\n")),
        Output::Table => print(&table::stats(&stats, Timestamp::now())),
    }
}

/// Retry, release and delete. Many ids go in several requests.
async fn change(
    action: &str,
    selection: &Selection,
    dry_run: bool,
    server: &ServerArgs,
) -> Result<(), Failure> {
    let requests = selection
        .requests(dry_run)
        .map_err(|reason| Failure::new(Exit::Usage, reason))?;
    let client = AdminClient::new(server)?;
    let mut total = Changed::default();
    for request in &requests {
        total.add(client.post(&["queue", action], request).await?);
    }
    match server.output {
        Output::Json => print(&format!("{}\n", total.json(action, dry_run))),
        Output::Table => total.tell(action, dry_run, selection.ids.len() as u64),
    }
}

/// What the requests of one change did.
#[derive(Default)]
struct Changed {
    touched: u64,
    still_quarantined: u64,
    /// `{"id","reason"}`.
    unreadable: Vec<Json>,
}

impl Changed {
    fn add(&mut self, mut answer: Json) {
        self.touched += answer["touched"].as_u64().unwrap_or(0);
        self.still_quarantined += answer["still_quarantined"].as_u64().unwrap_or(0);
        if let Json::Array(unreadable) = answer["unreadable"].take() {
            self.unreadable.extend(unreadable);
        }
    }

    fn json(self, action: &str, dry_run: bool) -> Json {
        let mut line = json!({"action": action, "dry_run": dry_run, "touched": self.touched});
        if action == "release" && !dry_run {
            line["still_quarantined"] = self.still_quarantined.into();
            line["unreadable"] = self.unreadable.into();
        }
        line
    }

    fn tell(&self, action: &str, dry_run: bool, ids: u64) -> Result<(), Failure> {
        let would = if dry_run { "would be " } else { "" };
        let done = match action {
            "retry" => "tried again",
            "release" if dry_run => "read again",
            "release" => "released",
            _ => "deleted",
        };
        print(&format!("{} {would}{done}\n", table::messages(self.touched)))?;
        if self.still_quarantined > 0 {
            let count = table::messages(self.still_quarantined);
            remark(&format!("still in quarantine, in whole or in part: {count}"));
            for one in &self.unreadable {
                remark(&table::unreadable(one));
            }
        }
        if self.touched + self.still_quarantined < ids {
            remark("the others are not in the queue any more, do not match, or are just being delivered");
        }
        Ok(())
    }
}

fn one(message: &Json, output: Output, table: fn(&Json, Timestamp) -> String) -> String {
    match output {
        Output::Json => format!("{message}\n"),
        Output::Table => table(message, Timestamp::now()),
    }
}

impl FilterArgs {
    /// What is given, by the names of the API.
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let state = self.state.and_then(|state| state.to_possible_value());
        let state = state.map(|value| value.get_name().to_owned());
        let all = [
            ("domain", self.domain.clone()),
            ("sender", self.sender.clone()),
            ("state", state),
        ];
        all.into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

impl Selection {
    /// The bodies of the requests. Nothing given means a mistake, not everything.
    fn requests(&self, dry_run: bool) -> Result<Vec<Json>, &'static str> {
        let mut common: serde_json::Map<String, Json> = self
            .filter
            .pairs()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        if common.is_empty() && self.ids.is_empty() && !self.all {
            return Err("which messages? Name ids, --domain, --sender or --state, or say --all");
        }
        common.insert("all".into(), self.all.into());
        common.insert("dry_run".into(), dry_run.into());
        if self.ids.is_empty() {
            return Ok(vec![common.into()]);
        }
        let with_ids = |ids: &[String]| {
            let mut body = common.clone();
            body.insert("ids".into(), ids.into());
            body.into()
        };
        Ok(self.ids.chunks(PAGE).map(with_ids).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::StateName;

    #[test]
    fn everything_has_to_be_meant() {
        assert!(Selection::default().requests(false).is_err());
        let all = Selection {
            all: true,
            ..Selection::default()
        };
        assert_eq!(
            all.requests(true).unwrap(),
            [json!({"all": true, "dry_run": true})]
        );
    }

    #[test]
    fn filters_and_ids_travel_together() {
        let filter = FilterArgs {
            domain: Some("x.example".into()),
            sender: None,
            state: Some(StateName::Deferred),
        };
        let selection = Selection {
            ids: vec!["A".into(); PAGE + 1],
            filter,
            all: false,
        };
        let requests = selection.requests(false).unwrap();
        assert_eq!(requests.len(), 2);
        assert_eq!(
            requests[1],
            json!({"all": false, "dry_run": false, "domain": "x.example", "state": "deferred", "ids": ["A"]})
        );
    }
}
