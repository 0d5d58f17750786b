//! The options of `sendmail` and `mailq`: those that programs have passed to these names for forty years.

use super::ServerArgs;
use clap::{ArgAction, Args};
use smtp_config::TlsPolicy;
use std::path::PathBuf;

#[derive(Args, Clone, Debug)]
pub(crate) struct SendmailArgs {
    /// Take recipients from To, Cc and Bcc too
    #[arg(short = 't')]
    pub(crate) from_header: bool,
    /// A line with a single dot does not end the message; also -oi
    #[arg(short = 'i')]
    pub(crate) dots_are_content: bool,
    /// Envelope sender; empty or <> for none [default: user@host]
    #[arg(short = 'f', value_name = "ADDRESS", allow_hyphen_values = true)]
    pub(crate) sender: Option<String>,
    /// The same as -f
    #[arg(short = 'r', value_name = "ADDRESS", allow_hyphen_values = true, hide = true)]
    pub(crate) return_path: Option<String>,
    /// Full name in the From field, where the message has none
    #[arg(short = 'F', value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) full_name: Option<String>,
    /// m: send a message (default); s: speak SMTP on standard input and output; p: list the queue; i: nothing
    #[arg(
        short = 'b',
        value_name = "MODE",
        default_value = "m",
        hide_default_value = true
    )]
    pub(crate) mode: String,
    /// Say what the server answered for each recipient
    #[arg(short = 'v')]
    pub(crate) verbose: bool,
    /// Reports wanted: never, or some of success,failure,delay (RFC 3461)
    #[arg(short = 'N', value_name = "WHEN")]
    pub(crate) notify: Option<String>,
    /// What a report returns: full or hdrs
    #[arg(short = 'R', value_name = "WHAT")]
    pub(crate) ret: Option<String>,
    /// Envelope id that reports repeat
    #[arg(short = 'V', value_name = "ID", allow_hyphen_values = true)]
    pub(crate) envid: Option<String>,
    /// Send on what waits in the drop folder
    #[arg(short = 'q', value_name = "INTERVAL", num_args = 0..=1)]
    pub(crate) flush: Option<Option<String>>,
    /// Only -oi means something
    #[arg(short = 'o', value_name = "OPTION", action = ArgAction::Append, allow_hyphen_values = true)]
    pub(crate) options: Vec<String>,
    /// Means nothing: the body type is looked at
    #[arg(short = 'B', value_name = "TYPE", hide = true)]
    body: Option<String>,
    #[command(flatten)]
    ignored: IgnoredArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Recipients; a name without a domain is one of this host
    #[arg(value_name = "RECIPIENT", trailing_var_arg = true)]
    pub(crate) recipients: Vec<String>,
}

/// What other sendmails have and this one has no use for.
#[derive(Args, Clone, Debug)]
struct IgnoredArgs {
    #[arg(short = 'G', hide = true)]
    gateway: bool,
    #[arg(short = 'n', hide = true)]
    no_aliases: bool,
    #[arg(short = 'U', hide = true)]
    initial: bool,
    #[arg(short = 'm', hide = true)]
    me_too: bool,
    #[arg(short = 'x', hide = true)]
    x: bool,
    #[arg(short = 'I', hide = true)]
    new_aliases: bool,
    #[arg(short = 'e', hide = true, allow_hyphen_values = true)]
    errors: Option<String>,
    #[arg(short = 'h', hide = true)]
    hops: Option<String>,
    #[arg(short = 'p', hide = true)]
    protocol: Option<String>,
    #[arg(short = 'L', hide = true)]
    label: Option<String>,
    #[arg(short = 'X', hide = true)]
    log: Option<String>,
    #[arg(short = 'C', hide = true)]
    config: Option<String>,
    #[arg(short = 'A', hide = true)]
    cf: Option<String>,
    #[arg(short = 'O', hide = true)]
    option: Vec<String>,
}

/// The server that takes the mail, and where mail waits while there is none.
#[derive(Args, Clone, Debug)]
pub(crate) struct TargetArgs {
    /// The server: smtp://, smtps:// or lmtp://[user@]host[:port] [default: smtp://127.0.0.1, port $SMTP_PORT or 2525]
    #[arg(long, value_name = "URL", env = "SMTP_SENDMAIL_URL", hide_env_values = true)]
    pub(crate) server: Option<String>,
    /// File with the password of the server's user
    #[arg(long, value_name = "FILE", env = "SMTP_SENDMAIL_PASSWORD_FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// TLS towards the server: none, opportunistic, required or verified [default: opportunistic; verified with a user]
    #[arg(long, value_name = "POLICY", env = "SMTP_SENDMAIL_TLS", value_parser = policy)]
    pub(crate) tls: Option<TlsPolicy>,
    /// Authorities that `verified` trusts instead of the built-in ones (PEM)
    #[arg(long, value_name = "FILE", env = "SMTP_SENDMAIL_CA_FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Domain of addresses that have none, and name in EHLO [default: the system's name]
    #[arg(long, value_name = "NAME", env = "SMTP_HOSTNAME")]
    pub(crate) hostname: Option<String>,
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct FolderArgs {
    /// Where mail waits while no server takes it [default: /var/spool/smtp-server/drop if it can be written, else
    /// ~/.local/state/smtp-server/drop]
    #[arg(long, value_name = "FOLDER", env = "SMTP_SENDMAIL__DROP_PATH")]
    pub(crate) drop_folder: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct MailqArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

fn policy(text: &str) -> Result<TlsPolicy, String> {
    [
        ("none", TlsPolicy::None),
        ("opportunistic", TlsPolicy::Opportunistic),
        ("required", TlsPolicy::Required),
        ("verified", TlsPolicy::Verified),
    ]
    .into_iter()
    .find(|(name, _)| *name == text)
    .map(|(_, policy)| policy)
    .ok_or_else(|| "expected none, opportunistic, required or verified".into())
}
