//! The commands about what happened to messages.

use super::{ServerArgs, seconds};
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum HistoryCommand {
    /// List messages, newest first
    List {
        #[command(flatten)]
        wanted: HistoryArgs,
        /// At most this many messages
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show every step of a message
    Show {
        /// Queue id
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Which messages. What is given must all apply.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct HistoryArgs {
    /// With this Message-ID
    #[arg(long, value_name = "ID")]
    pub(crate) message_id: Option<String>,
    /// From this sender; "<>" is the null sender
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) sender: Option<String>,
    /// To this recipient, as it was sent or as an alias made it
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) recipient: Option<String>,
    /// Sent by this account
    #[arg(long, value_name = "NAME")]
    pub(crate) account: Option<String>,
    /// Received so long ago or longer: 90s, 30m, 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) older_than: Option<u64>,
    /// Received since then
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) newer_than: Option<u64>,
}
