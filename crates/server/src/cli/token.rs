//! The commands about tokens of the admin API.

use super::{ServerArgs, seconds};
use clap::{Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it, this once
    Add {
        /// Who the log and the audit trail will say it was
        name: String,
        /// What it may do
        #[arg(long, value_enum)]
        scope: ScopeName,
        /// It is good for so long: 12h, 90d; without this until it is revoked
        #[arg(long, value_name = "TIME", value_parser = seconds)]
        expires_in: Option<u64>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List tokens
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Make a token good for nothing
    Revoke {
        /// Its name
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScopeName {
    /// Look at everything but contents of messages
    Read,
    /// And work on the queue, suspend, reload, drain, read contents
    Operate,
    /// And change who may send, what is local, keys and tokens
    Admin,
}
