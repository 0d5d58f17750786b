//! The commands about the queue, and how messages are chosen.

use super::{ServerArgs, seconds};
use crate::output::Output;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value as Json;
use std::path::PathBuf;

/// Most messages on a page, and ids in a request; the API's limit.
pub(crate) const PAGE: usize = 1000;

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// List messages
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// At most this many messages
        #[arg(long, default_value_t = 1000)]
        limit: usize,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show a message: envelope, recipients with their last results, header
    Show {
        /// Queue id
        id: String,
        /// Its content too, as it is stored
        #[arg(long)]
        content: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Print figures of the queue, and how many recipients wait by domain and age
    Stats {
        /// By the senders' domains
        #[arg(long)]
        senders: bool,
        /// At most this many domains, those with most recipients first
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Try messages again now
    Retry {
        #[command(flatten)]
        selection: Selection,
        /// Only count them
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Keep messages: they are not tried until they are released
    Hold {
        #[command(flatten)]
        selection: Selection,
        /// Only count them
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Give messages up: they bounce now, and their senders are told
    Bounce {
        #[command(flatten)]
        selection: Selection,
        /// What senders are told
        #[arg(long)]
        text: Option<String>,
        /// Only count them
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Keep mail waiting from now on, without counting attempts: for a domain, from a sender or from an account
    Suspend {
        #[command(flatten)]
        whose: Whose,
        /// Why, for people
        #[arg(long, default_value = "")]
        reason: String,
        /// It ends by itself after so long: 90s, 30m, 2h, 7d
        #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
        expires_in: Option<u64>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// End a suspension: what waited is tried now
    Resume {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List what is suspended
    Suspensions {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Make held messages due; read quarantined messages again, and queue what can be read
    Release {
        #[command(flatten)]
        selection: Selection,
        /// Only count those that are held or in quarantine
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Move everything to another database: queue, directory, suspensions, tokens. No server may use either of them meanwhile
    Migrate(MigrateArgs),
    /// Delete messages; no notification is sent
    Delete {
        #[command(flatten)]
        selection: Selection,
        /// Only count them
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// From where to where everything is moved.
#[derive(Args, Clone, Debug)]
pub(crate) struct MigrateArgs {
    /// The database that is left: a file of SQLite's, or postgresql://…
    #[arg(long, value_name = "PATH|URL")]
    pub(crate) from: String,
    /// The database to move to; it may be new
    #[arg(long, value_name = "PATH|URL")]
    pub(crate) to: String,
    /// File with the password for postgresql://…, so that it need not be in the URL
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// postgresql://… leads to a pooler in transaction mode, as PgBouncer is: what storage.pooler is to servers
    #[arg(long)]
    pub(crate) pooler: bool,
    /// Folder for large messages on their way
    #[arg(long, value_name = "DIR", default_value = "/tmp/smtp-server-migrate")]
    pub(crate) scratch: PathBuf,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

/// Which messages, by what they have. What is given must all apply.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct FilterArgs {
    /// With a recipient of this domain
    #[arg(long)]
    pub(crate) domain: Option<String>,
    /// From this sender; "<>" is the null sender
    #[arg(long)]
    pub(crate) sender: Option<String>,
    /// With a recipient in this state
    #[arg(long, value_enum)]
    pub(crate) state: Option<StateName>,
    /// With this recipient
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) recipient: Option<String>,
    /// Sent by this account
    #[arg(long, value_name = "NAME")]
    pub(crate) account: Option<String>,
    /// With a recipient whose last result has this text in it
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Received so long ago or longer: 90s, 30m, 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) older_than: Option<u64>,
    /// Received since then
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) newer_than: Option<u64>,
}

/// Which messages to change: ids, a filter, both, or all; never all by omission.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Queue ids
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Every message
    #[arg(long, conflicts_with_all = [
        "ids", "domain", "sender", "state", "recipient", "account", "reason", "older_than", "newer_than",
    ])]
    pub(crate) all: bool,
}

/// States of recipients that a message in the queue can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateName {
    Queued,
    Leased,
    Deferred,
    Held,
    Delivered,
    Bounced,
    Expired,
    Quarantined,
}

/// Whose mail a suspension is about.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Whose {
    /// Recipients of this domain
    #[arg(long)]
    pub(crate) domain: Option<String>,
    /// This sender, or with @example.com all of a domain
    #[arg(long)]
    pub(crate) sender: Option<String>,
    /// This account
    #[arg(long, value_name = "NAME")]
    pub(crate) account: Option<String>,
    /// This next hop, by its name in `destinations`
    #[arg(long, value_name = "NAME")]
    pub(crate) destination: Option<String>,
}

impl FilterArgs {
    /// What is given, by the names of the API.
    pub(crate) fn pairs(&self) -> Vec<(&'static str, String)> {
        let state = self.state.and_then(|state| state.to_possible_value());
        let state = state.map(|value| value.get_name().to_owned());
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let all = [
            ("domain", self.domain.clone()),
            ("sender", self.sender.clone()),
            ("state", state),
            ("recipient", self.recipient.clone()),
            ("account", self.account.clone()),
            ("reason", self.reason.clone()),
            ("older_than", number(self.older_than)),
            ("newer_than", number(self.newer_than)),
        ];
        all.into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

impl Whose {
    /// Its kind, by the name of the API, and the name.
    pub(crate) fn parts(&self) -> (&'static str, &str) {
        let all = [
            ("domain", &self.domain),
            ("sender", &self.sender),
            ("account", &self.account),
            ("destination", &self.destination),
        ];
        let given = all
            .into_iter()
            .find_map(|(kind, name)| Some((kind, name.as_deref()?)));
        // One of them is required.
        given.unwrap_or(("domain", ""))
    }
}

impl Selection {
    /// The bodies of the requests. Nothing given means a mistake, not everything.
    pub(crate) fn requests(&self, dry_run: bool) -> Result<Vec<Json>, &'static str> {
        let mut common: serde_json::Map<String, Json> = self
            .filter
            .pairs()
            .into_iter()
            .map(|(name, value)| match value.parse::<u64>() {
                Ok(number) if name.ends_with("_than") => (name.to_owned(), number.into()),
                _ => (name.to_owned(), value.into()),
            })
            .collect();
        if common.is_empty() && self.ids.is_empty() && !self.all {
            return Err(
                "which messages? Name ids, --domain, --sender, --recipient, --account, --state, --reason or an age, or say --all",
            );
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
    use serde_json::json;

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
            state: Some(StateName::Deferred),
            older_than: Some(60),
            ..FilterArgs::default()
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
            json!({"all": false, "dry_run": false, "domain": "x.example", "state": "deferred", "older_than": 60, "ids": ["A"]})
        );
    }
}
