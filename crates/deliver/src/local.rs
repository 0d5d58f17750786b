//! Delivery on this machine: into Maildirs, and into the capture folder.

use smtp::{Address, Reply};
use smtp_queue::{Body, Message};
use std::path::{Path, PathBuf};

/// Delivers into the Maildir of `recipient`. Gives what the log shows as relay. The error is
/// always transient: it tells an operator what to mend.
pub async fn deliver_maildir(
    template: &str,
    separator: &str,
    message: &Message,
    recipient: &Address,
    body: &Body,
    hostname: &str,
) -> Result<String, Reply> {
    let _ = (template, separator, message, recipient, body, hostname);
    todo!()
}

/// Delivers into the capture folder, a Maildir that keeps each message once per recipient.
pub async fn deliver_capture(
    folder: &Path,
    message: &Message,
    recipient: &Address,
    body: &Body,
    hostname: &str,
) -> Result<String, Reply> {
    let _ = (folder, message, recipient, body, hostname);
    todo!()
}

/// The capture folder: `capture` beside the database.
pub fn capture_folder(config: &smtp_config::Config) -> PathBuf {
    let _ = config;
    todo!()
}
