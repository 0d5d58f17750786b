//! `queue …`: the operator's work on the queue of a running server, through its admin API.

use crate::admin_client::{AdminClient, block_on};
use crate::cli::{FilterArgs, PAGE, QueueCommand, Selection, ServerArgs, Whose};
use crate::exit::{Exit, Failure};
use crate::migrate_command;
use crate::output::{Output, one, print, remark};
use crate::progress::Progress;
use crate::queue_table as table;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

pub(crate) fn queue(command: &QueueCommand) -> Result<(), Failure> {
    let action = |name, selection, dry_run, text| Action {
        name,
        selection,
        dry_run,
        text,
    };
    block_on(async {
        match command {
            QueueCommand::List {
                filter,
                limit,
                server,
            } => list(filter, *limit, server).await,
            QueueCommand::Show { id, content, server } => show(id, *content, server).await,
            QueueCommand::Stats {
                senders,
                limit,
                filter,
                server,
            } => stats(*senders, *limit, filter, server).await,
            QueueCommand::Retry {
                selection,
                dry_run,
                server,
            } => change(action("retry", selection, *dry_run, None), server).await,
            QueueCommand::Hold {
                selection,
                dry_run,
                server,
            } => change(action("hold", selection, *dry_run, None), server).await,
            QueueCommand::Release {
                selection,
                dry_run,
                server,
            } => change(action("release", selection, *dry_run, None), server).await,
            QueueCommand::Bounce {
                selection,
                text,
                dry_run,
                server,
            } => change(action("bounce", selection, *dry_run, text.as_deref()), server).await,
            QueueCommand::Delete {
                selection,
                dry_run,
                server,
            } => change(action("delete", selection, *dry_run, None), server).await,
            QueueCommand::Suspend {
                whose,
                reason,
                expires_in,
                server,
            } => suspend(whose, reason, *expires_in, server).await,
            QueueCommand::Resume { whose, server } => resume(whose, server).await,
            QueueCommand::Suspensions { server } => suspensions(server).await,
            QueueCommand::Migrate(args) => migrate_command::queue(args).await,
        }
    })
}

/// `audit`: who changed what, newest first.
pub(crate) fn audit(limit: usize, server: &ServerArgs) -> Result<(), Failure> {
    block_on(async {
        let client = AdminClient::new(server)?;
        let (mut left, mut before) = (limit, None);
        while left > 0 {
            let mut query = vec![("limit", left.min(PAGE).to_string())];
            query.extend(before.take().map(|number: i64| ("before", number.to_string())));
            let page = client.get(&["audit"], &query).await?;
            let entries = page["entries"].as_array().map_or(&[][..], Vec::as_slice);
            let lines = entries
                .iter()
                .map(|entry| one(entry, server.output, table::audited));
            print(&lines.collect::<String>())?;
            left = left.saturating_sub(entries.len());
            before = page["next"].as_i64();
            if before.is_none() {
                break;
            }
        }
        Ok(())
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

async fn show(id: &str, content: bool, server: &ServerArgs) -> Result<(), Failure> {
    let client = AdminClient::new(server)?;
    if content && server.output == Output::Json {
        let message =
            "--content prints the message itself: leave out --output json, or ask for the JSON without it";
        return Err(Failure::new(Exit::Usage, message));
    }
    if content {
        return client.copy(&["queue", id, "body"]).await;
    }
    let message = client.get(&["queue", id], &[]).await?;
    print(&one(&message, server.output, table::shown))
}

/// The figures, then the shape. As JSON one object: the figures, and `shape`.
async fn stats(senders: bool, limit: u16, filter: &FilterArgs, server: &ServerArgs) -> Result<(), Failure> {
    let client = AdminClient::new(server)?;
    let mut query = filter.pairs();
    query.push(("by", if senders { "sender" } else { "recipient" }.into()));
    query.push(("limit", limit.to_string()));
    let mut stats = client.get(&["queue", "stats"], &[]).await?;
    let shape = client.get(&["queue", "shape"], &query).await?;
    match server.output {
        Output::Json => {
            stats["shape"] = shape;
            print(&format!("{stats}\n"))
        }
        Output::Table => {
            let figures = table::stats(&stats, Timestamp::now());
            print(&format!("{figures}\n{}", table::shape(&shape, senders)))
        }
    }
}

async fn suspend(
    whose: &Whose,
    reason: &str,
    expires_in: Option<u64>,
    server: &ServerArgs,
) -> Result<(), Failure> {
    let (kind, name) = whose.parts();
    let mut body = json!({"kind": kind, "name": name, "reason": reason});
    if let Some(seconds) = expires_in {
        body["expires_in"] = seconds.into();
    }
    let entry = AdminClient::new(server)?.post(&["suspensions"], &body).await?;
    print(&one(&entry, server.output, table::suspended))
}

async fn resume(whose: &Whose, server: &ServerArgs) -> Result<(), Failure> {
    let (kind, name) = whose.parts();
    let client = AdminClient::new(server)?;
    let resumed = client.delete(&["suspensions", kind, name], &[]).await?;
    match server.output {
        Output::Json => print(&format!("{resumed}\n")),
        Output::Table => {
            let count = resumed["touched"].as_u64().unwrap_or(0);
            print(&format!(
                "{kind} {name} is not suspended any more; recipients that waited for it: {count}\n"
            ))
        }
    }
}

async fn suspensions(server: &ServerArgs) -> Result<(), Failure> {
    let client = AdminClient::new(server)?;
    let each = |entry: &Json| print(&one(entry, server.output, table::suspended));
    client.entries(&["suspensions"], each).await
}

/// A change of messages.
struct Action<'a> {
    name: &'static str,
    selection: &'a Selection,
    dry_run: bool,
    /// What senders are told.
    text: Option<&'a str>,
}

/// Makes a change. Many ids go in several requests, and much work takes several.
async fn change(action: Action<'_>, server: &ServerArgs) -> Result<(), Failure> {
    let requests = action
        .selection
        .requests(action.dry_run)
        .map_err(|reason| Failure::new(Exit::Usage, reason))?;
    let client = AdminClient::new(server)?;
    let mut total = Changed::default();
    let progress = match action.dry_run {
        true => Progress::none(),
        false => Progress::of(action.name, count(&client, &action, &requests)).await?,
    };
    for mut request in requests {
        if let Some(text) = action.text {
            request["text"] = text.into();
        }
        loop {
            let answer = client.post(&["queue", action.name], &request).await?;
            let next = answer["next"].as_str().map(Json::from);
            total.add(answer);
            progress.reached(total.touched);
            match next {
                Some(next) => request["after"] = next,
                None => break,
            }
        }
    }
    drop(progress);
    match server.output {
        Output::Json => print(&format!("{}\n", total.json(action.name, action.dry_run))),
        Output::Table => total.tell(&action),
    }
}

/// How many messages a change is about.
async fn count(client: &AdminClient, action: &Action<'_>, requests: &[Json]) -> Result<u64, Failure> {
    let mut count = 0;
    for request in requests {
        let mut request = request.clone();
        request["dry_run"] = true.into();
        let answer = client.post(&["queue", action.name], &request).await?;
        count += answer["touched"].as_u64().unwrap_or(0);
    }
    Ok(count)
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

    fn tell(&self, action: &Action<'_>) -> Result<(), Failure> {
        let would = if action.dry_run { "would be " } else { "" };
        let done = match action.name {
            "retry" => "tried again",
            "hold" => "held",
            "release" => "released",
            "bounce" => "bounced",
            _ => "deleted",
        };
        let ids = action.selection.ids.len() as u64;
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
