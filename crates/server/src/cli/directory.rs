//! The commands about domains, accounts, aliases and keys.

use super::ServerArgs;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What an account has besides its name.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AccountArgs {
    /// An address it may send as: a@example.com, *@example.com, *@*.example.com or *; may be repeated
    #[arg(long = "sender", value_name = "PATTERN")]
    pub(crate) senders: Vec<String>,
    /// A name by which tokens or certificates mean it: oauth:SUBJECT or cert:NAME; may be repeated
    #[arg(long = "identity", value_name = "IDENTITY")]
    pub(crate) identities: Vec<String>,
    /// How much it may send: 100/hour, recipients:1000/day (minute, hour or day); may be repeated
    #[arg(long, value_name = "QUOTA")]
    pub(crate) quota: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Make an account; one named like an address of a local domain is a mailbox too
    Add {
        /// What it logs in as
        name: String,
        /// Make a secret for an application and print it, this once
        #[arg(long, conflicts_with = "new_password")]
        app: bool,
        /// File with its password, or a hash of it ($argon2id$…); - for standard input
        #[arg(id = "new_password", long = "password-file", value_name = "FILE")]
        password: Option<PathBuf>,
        #[command(flatten)]
        account: AccountArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List accounts
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show an account
    Show {
        /// Its name
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Set what an account may do; what is given replaces what it had, and '' takes all of it away
    Set {
        /// Its name
        name: String,
        #[command(flatten)]
        account: AccountArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Set an account's password, or take it away
    Password {
        /// Its name
        name: String,
        /// File with the new password, or a hash of it ($argon2id$…); - for standard input
        #[arg(
            id = "new_password",
            long = "password-file",
            value_name = "FILE",
            required_unless_present = "none"
        )]
        password: Option<PathBuf>,
        /// It has no password any more
        #[arg(long, conflicts_with = "new_password")]
        none: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Let an account log in again
    Enable {
        /// Its name
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Let an account log in no more; its mailbox still takes mail
    Disable {
        /// Its name
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Secrets of an account for applications
    #[command(subcommand)]
    App(AppCommand),
    /// Remove an account; mail in its mailbox stays
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AppCommand {
    /// Make a secret and print it, this once
    Add {
        /// The account
        name: String,
        /// What it is for
        label: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove a secret
    Remove {
        /// The account
        name: String,
        /// Its label or id
        label: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DomainCommand {
    /// Make a domain local
    Add {
        /// The domain
        name: String,
        /// Where its mail goes: maildir:/path/{domain}/{local}, lmtp:host:port, smtp:host:port or capture
        #[arg(long)]
        deliver: String,
        /// Which of its addresses exist: any, known or verify
        #[arg(long)]
        recipients: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List domains
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Change a domain
    Set {
        /// The domain
        name: String,
        /// Where its mail goes
        #[arg(long)]
        deliver: Option<String>,
        /// Which of its addresses exist: any, known or verify
        #[arg(long)]
        recipients: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Make a domain no longer local
    Remove {
        /// The domain
        name: String,
        /// Also when it has accounts or aliases
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AliasCommand {
    /// Make an alias
    Add {
        /// sales@example.com, or @example.com for every address that nothing else knows
        name: String,
        /// To whom its mail goes
        #[arg(required = true, value_name = "ADDRESS")]
        to: Vec<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List aliases
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Set an alias's targets
    Set {
        /// The alias
        name: String,
        /// To whom its mail goes
        #[arg(required = true, value_name = "ADDRESS")]
        to: Vec<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove an alias
    Remove {
        /// The alias
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// A kind of DKIM key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyKind {
    Rsa,
    Ed25519,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DkimCommand {
    /// Make keys for a domain and print the DNS records to publish
    New {
        /// The domain
        domain: String,
        /// RSA or Ed25519 alone instead of both
        #[arg(long, value_enum)]
        algorithm: Option<KeyKind>,
        /// Selector of the one key
        #[arg(long, requires = "algorithm")]
        selector: Option<String>,
        /// Sign only after so many seconds: time to publish the records
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        after: u64,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Make new keys that take over from the old ones after an overlap; print the DNS records to publish
    Rotate {
        /// The domain
        domain: String,
        /// Seconds until the new keys sign
        #[arg(long, value_name = "SECONDS", default_value_t = 172_800)]
        overlap: u64,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List keys
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Compare a domain's keys with what DNS has; exit 78 when a signature could not be verified
    Check {
        /// The domain
        domain: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove a key
    Remove {
        /// Its domain
        domain: String,
        /// Its selector
        selector: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}
