//! The command line.

mod directory;
mod sendmail;

pub(crate) use directory::{AccountCommand, AliasCommand, AppCommand, DkimCommand, DomainCommand, KeyKind};
pub(crate) use sendmail::{FolderArgs, MailqArgs, SendmailArgs, TargetArgs};

use crate::output::Output;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A mail server: takes mail, keeps it safe, delivers it.
#[derive(Debug, Parser)]
#[command(
    name = "smtp-server",
    version,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server (the default)
    Run(SourceArgs),
    /// Read the configuration as `run` would and say what is wrong; exit 0 or 78
    Check(CheckArgs),
    /// Show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at the queue of a running server, and work on it
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Who may send through a running server
    #[command(subcommand)]
    Account(AccountCommand),
    /// What is local to a running server
    #[command(subcommand)]
    Domain(DomainCommand),
    /// Whose mail goes to others
    #[command(subcommand)]
    Alias(AliasCommand),
    /// The keys that sign mail
    #[command(subcommand)]
    Dkim(DkimCommand),
    /// Send the message on standard input, as programs expect of sendmail; also when the binary is called by that name
    #[command(disable_help_flag = true, args_override_self = true)]
    Sendmail(Box<SendmailArgs>),
    /// List the queue and what waits in the drop folder; also when the binary is called by that name
    Mailq(MailqArgs),
    /// Print the script that makes a shell complete all this
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man(ManArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Print the reference page
    #[arg(long, hide = true)]
    pub(crate) markdown: bool,
}

/// The arguments, with the command that the program's name stands for.
pub(crate) fn command_line(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut line: Vec<OsString> = args.collect();
    let called = line.first().and_then(|name| Path::new(name).file_name());
    if let Some(command @ ("sendmail" | "mailq")) = called.and_then(|name| name.to_str()) {
        let command = command.into();
        line.insert(1, command);
    }
    line
}

/// Where the configuration comes from, besides the environment.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SourceArgs {
    /// Configuration file [default: $SMTP_CONFIG, else /etc/smtp-server/config.toml if it exists]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// development, production or testing
    #[arg(long)]
    pub(crate) profile: Option<String>,
    /// Any setting; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
    /// Port for SMTP (server.port)
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Address to listen on (server.host); may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) host: Vec<IpAddr>,
    /// Port for health, metrics and admin API (http.port)
    #[arg(long, value_name = "PORT")]
    pub(crate) http_port: Option<u16>,
    /// Database of the queue (storage.path)
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().into(), value.into())),
        _ => Err("expected section.key=value".into()),
    }
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting, its value and where it came from; secrets masked
    Show {
        #[command(flatten)]
        sources: SourceArgs,
        /// The defaults of the profile instead
        #[arg(long)]
        defaults: bool,
        /// How to print
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Print a JSON Schema of the configuration file
    Schema,
    /// Print the reference page of all settings
    Reference,
}

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
    /// Show all of a message but its content
    Show {
        /// Queue id
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Print figures of the queue
    Stats {
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
    /// Read quarantined messages again, and queue what can be read
    Release {
        #[command(flatten)]
        selection: Selection,
        /// Only count those in quarantine
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
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
    #[arg(long, conflicts_with_all = ["ids", "domain", "sender", "state"])]
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

/// The running server.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// Its admin API
    #[arg(long, env = "SMTP_ADMIN_URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// File with the admin password [default: $SMTP_ADMIN_PASSWORD, else the file $SMTP_ADMIN_PASSWORD_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) admin_password_file: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_is_the_default() {
        let cli = Cli::try_parse_from(["smtp-server", "--port", "26", "--set", "a.b=c=d"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(
            (cli.sources.port, cli.sources.set),
            (Some(26), vec![("a.b".into(), "c=d".into())])
        );
    }

    #[test]
    fn deleting_everything_excludes_filters() {
        assert!(
            Cli::try_parse_from(["smtp-server", "queue", "delete", "--all", "--domain", "x.example"])
                .is_err()
        );
    }
}
