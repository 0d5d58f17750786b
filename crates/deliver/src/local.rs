//! Delivery on this machine: into Maildirs, and into the capture folder.
//!
//! The promise: when a delivery returns `Ok`, the message is on stable storage under a name that mail readers
//! see. A delivery that fails leaves nothing that they see. Failures are always transient: the mail waits
//! until an operator has mended what the reply names.
//!
//! Two trace lines are written above the content: for a Maildir `Return-Path:` (RFC 5321 4.4) and
//! `Delivered-To:`, for a capture `X-Envelope-From:` and `Delivered-To:`. A `Return-Path:` that the message
//! came with is kept below. Lines end in LF in the file, as every reader of Maildirs expects and every other
//! server writes; only BINARYMIME content, whose line ends may be data, keeps every octet.

mod folder;
mod maildir;

use maildir::{Delivery, TraceStyle};
use smtp::{Address, BodyType, Enhanced, Reply};
use smtp_queue::{Body, Message};
use std::io;
use std::path::{Path, PathBuf};

/// Delivers into the Maildir of `recipient`. Gives what the log shows as relay. The error is
/// always transient: it tells an operator what to mend.
///
/// In `template`, `{domain}` and `{local}` stand for the recipient's domain (A-label, lower case) and local
/// part (lower case, without the subaddress that `separator` begins); both are encoded so that no address
/// leaves the folder. An empty `separator` keeps subaddresses. Missing folders are made, with mode 0700.
pub(crate) async fn deliver_maildir(
    template: &str,
    separator: &str,
    message: &Message,
    recipient: &Address,
    body: &Body,
    hostname: &str,
) -> Result<String, Reply> {
    let folder = folder::expand(template, separator, recipient);
    let relay = format!("maildir:{}", folder.display());
    deliver(folder, TraceStyle::Maildir, message, recipient, body, hostname)
        .await
        .map(|()| relay)
}

/// Delivers into the capture folder, a Maildir that keeps each message once per recipient.
pub(crate) async fn deliver_capture(
    folder: &Path,
    message: &Message,
    recipient: &Address,
    body: &Body,
    hostname: &str,
) -> Result<String, Reply> {
    let relay = "capture".to_owned();
    deliver(
        folder.to_owned(),
        TraceStyle::Capture,
        message,
        recipient,
        body,
        hostname,
    )
    .await
    .map(|()| relay)
}

/// The capture folder: `capture` beside the database.
pub fn capture_folder(config: &smtp_config::Config) -> PathBuf {
    config
        .storage
        .path
        .parent()
        .unwrap_or(Path::new(""))
        .join("capture")
}

async fn deliver(
    folder: PathBuf,
    style: TraceStyle,
    message: &Message,
    recipient: &Address,
    body: &Body,
    hostname: &str,
) -> Result<(), Reply> {
    let delivery = Delivery {
        trace: style.lines(message.sender.as_ref(), recipient),
        keep_line_ends: message.options.body_type == BodyType::BinaryMime,
        body: body.clone(),
        hostname: hostname.to_owned(),
        folder,
    };
    match tokio::task::spawn_blocking(move || delivery.run()).await {
        Ok(result) => result,
        // Only a stopping runtime cancels blocking work.
        Err(_) => Err(Reply::new(451, Enhanced(4, 3, 2), "delivery was interrupted")),
    }
}

/// What an operator reads when `action` failed on `path`.
fn failed(action: &str, path: &Path, error: &io::Error) -> Reply {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Reply::with(
                452,
                Enhanced(4, 2, 2),
                format!("cannot {action} {path}: {error}; free space on its disk or raise its quota"),
            )
        }
        io::ErrorKind::PermissionDenied => Reply::with(
            451,
            Enhanced(4, 3, 0),
            format!("cannot {action} {path}: {error}; let the server's user write there"),
        ),
        io::ErrorKind::ReadOnlyFilesystem => Reply::with(
            451,
            Enhanced(4, 3, 0),
            format!("cannot {action} {path}: {error}; mount it writable"),
        ),
        _ => Reply::with(451, Enhanced(4, 3, 0), format!("cannot {action} {path}: {error}")),
    }
}

#[cfg(test)]
mod tests;
