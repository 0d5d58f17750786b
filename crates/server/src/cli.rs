//! The command line.

mod directory;
mod history;
mod queue;
mod sendmail;
mod token;

pub(crate) use directory::{AccountCommand, AliasCommand, AppCommand, DkimCommand, DomainCommand, KeyKind};
pub(crate) use history::{HistoryArgs, HistoryCommand};
pub(crate) use queue::{FilterArgs, MigrateArgs, PAGE, QueueCommand, Selection, Whose};
pub(crate) use sendmail::{FolderArgs, MailqArgs, SendmailArgs, TargetArgs};
pub(crate) use token::TokenCommand;

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
    /// Ask a running server whether it lives or is ready, without a password; exit 0 or 69. For probes that run a command
    Health(HealthArgs),
    /// Bring the schema of a PostgreSQL database up to date, as a start does
    Migrate {
        #[command(flatten)]
        sources: SourceArgs,
        /// Only print what would be done, after trying it in a transaction that is rolled back
        #[arg(long)]
        dry_run: bool,
    },
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
    /// What happened to messages, those that are not in the queue any more too
    #[command(subcommand)]
    History(HistoryCommand),
    /// A running server at a glance: what it does, and how fast
    Status {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// The SMTP sessions in progress on a running server, oldest first
    Sessions {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// The servers that share the queue: version, since when, last heard of, what they have in hand
    Servers {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// The next hops that a running server works with: up or down, connections, back-off, last error
    Destinations {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// The webhooks of a running server: how their receivers stand, and what waits for them
    Webhooks {
        /// Make what waits for this one now
        #[arg(long, value_name = "NAME")]
        retry: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// End a running server in good order, as SIGTERM does, and tell what still holds it up until it is gone
    Drain {
        /// Only tell what holds it up, or would
        #[arg(long, conflicts_with = "now")]
        status: bool,
        /// Wait for nothing: what is under way breaks off, and mail after its final dot may be delivered twice
        #[arg(long)]
        now: bool,
        /// Do not wait until it is gone
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Tokens for the admin API: who may read, operate or administer without the password
    #[command(subcommand)]
    Token(TokenCommand),
    /// Who changed what on a running server, newest first
    Audit {
        /// At most this many changes
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        server: ServerArgs,
    },
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

/// What is asked of a server's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Probe {
    /// Whether it makes progress: restart it when not
    Live,
    /// Whether it can take mail now
    #[default]
    Ready,
}

#[derive(Args, Debug)]
pub(crate) struct HealthArgs {
    /// What to ask
    #[arg(value_enum, default_value_t)]
    pub(crate) probe: Probe,
    /// The server [default: this machine, by http.host and http.port as `run` would have them]
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// Longest time for everything, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,
    /// How to print; json is the answer as it came
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
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

/// A length of time as operators write it.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "expected a number and s, m, h or d: 90s, 30m, 2h, 7d".to_owned();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

/// The running server.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// Its admin API [default: this machine, by the configuration that `run` would have: http.admin_host and http.admin_port, else
    /// http.host and http.port]
    #[arg(long, env = "SMTP_ADMIN_URL")]
    pub(crate) url: Option<String>,
    /// File with the admin password, or with a token [default: $SMTP_ADMIN_TOKEN, $SMTP_ADMIN_PASSWORD, else the file that
    /// $SMTP_ADMIN_TOKEN_FILE or $SMTP_ADMIN_PASSWORD_FILE names]
    #[arg(long, value_name = "FILE", visible_alias = "admin-token-file")]
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
    fn lengths_of_time_have_units() {
        for (text, expected) in [
            ("90", 90),
            ("90s", 90),
            ("30m", 1800),
            ("2h", 7200),
            ("7d", 604_800),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "h", "2w", "-1s", "1.5h", "99999999999999999999d"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn deleting_everything_excludes_filters() {
        assert!(
            Cli::try_parse_from(["smtp-server", "queue", "delete", "--all", "--domain", "x.example"])
                .is_err()
        );
    }
}
