//! `sendmail`: takes a message as programs have handed it to a program of that name for forty years, and hands it to the server.
//!
//! * `message` reads and completes it, `target` says which server takes it, `reasons` what a refusal means as an exit code.
//! * `drop` and `waiting` keep what the server does not take now, `flush` sends it on, `looker` is the server's turn at it.
//!
//! Promises: exit 0 only after the server's 250, or when the message is on stable storage in the drop folder, for each recipient; a
//! recipient that is refused is named on standard error with the reply, and waits nowhere.

mod drop;
mod flush;
mod looker;
mod message;
mod reasons;
mod target;
mod waiting;

pub(crate) use drop::DropFolder;
pub(crate) use looker::look;
pub(crate) use waiting::Waiting;

use crate::cli::{FolderArgs, SendmailArgs};
use crate::exit::{Exit, Failure};
use crate::output::{clean, print, remark};
use bytes::Bytes;
use flush::{Pauses, Round, Tell};
use jiff::Timestamp;
use message::{Author, Draft};
use smtp::client::Phase;
use smtp::params::xtext_encode;
use smtp::{Address, Notify, Ret};
use smtp_dkim::mailboxes_at;
use std::collections::HashSet;
use std::fmt::Display;
use std::io::{BufReader, ErrorKind};
use std::path::Path;
use target::Target;
use waiting::Recipient;

pub(crate) fn sendmail(args: &SendmailArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Temporary, e))?;
    let result = runtime.block_on(async {
        match args.mode.as_str() {
            "m" if args.flush.is_some() => flush_all(args).await,
            "m" => submit(args).await,
            "s" => dialog(args).await,
            "p" => crate::mailq::from_environment(&args.target.folder).await,
            // Aliases are the server's: there is no file of them to be read.
            "i" => Ok(()),
            other => Err(Failure::new(
                Exit::Usage,
                format_args!("-b{other} is not supported; the server is started by `smtp-server run`"),
            )),
        }
    });
    // A thread may still wait for input that nobody needs any more.
    runtime.shutdown_background();
    result
}

/// Most messages of others that a call sends on: somebody waits for its end.
const OTHERS: usize = 100;

/// `-bs`: the server's dialog on standard input and output.
async fn dialog(args: &SendmailArgs) -> Result<(), Failure> {
    let target = Target::new(&args.target)?;
    let carried = target
        .server()
        .carry(tokio::io::stdin(), tokio::io::stdout())
        .await;
    carried.map_err(|reply| Failure::new(Exit::Temporary, reply))
}

/// `-q`
async fn flush_all(args: &SendmailArgs) -> Result<(), Failure> {
    let target = Target::new(&args.target)?;
    let folder = folder(&args.target.folder)?;
    let round = flush::flush(
        &folder,
        &target.server(),
        usize::MAX,
        &mut Pauses::default(),
        &Standard,
    )
    .await
    .map_err(|e| Failure::new(Exit::Temporary, format_args!("{}: {e}", folder.path.display())))?;
    match round {
        Round { waiting: 0, .. } => Ok(()),
        Round { waiting, away } => {
            let why = away.map(|reply| format!(": {reply}")).unwrap_or_default();
            let what = format!("{waiting} waiting in {}{why}", folder.path.display());
            Err(Failure::new(Exit::Temporary, what))
        }
    }
}

pub(crate) fn folder(args: &FolderArgs) -> Result<DropFolder, Failure> {
    DropFolder::choose(args.drop_folder.as_deref()).map_err(|e| {
        let why = format!(
            "no folder for mail that has to wait: {e}; name one by --drop-folder or SMTP_SENDMAIL__DROP_PATH"
        );
        Failure::new(Exit::Temporary, why)
    })
}

/// Hands one message over. What the server does not take now waits.
async fn submit(args: &SendmailArgs) -> Result<(), Failure> {
    let target = Target::new(&args.target)?;
    let waiting = compose(args, &target.hostname)?;
    let server = target.server();
    let sent = server.send(waiting.outgoing(), waiting.content.clone()).await;
    let reached = sent.is_ok();
    // A server that was not reached, or turns us away for now, has said the same of every recipient.
    let answers = sent.unwrap_or_else(|reply| vec![(Phase::Greeting, reply); waiting.recipients.len()]);
    let mut left = Vec::new();
    let mut refused = None;
    for (recipient, (phase, reply)) in waiting.recipients.iter().zip(answers) {
        let said = format!("<{}>: {}", recipient.address, clean(&reply.to_string()));
        if args.verbose {
            print(&format!("{said}\n"))?;
        }
        if reply.is_permanent() {
            remark(&format!("smtp-server: {said}"));
            refused.get_or_insert(reasons::exit(phase, &reply));
        } else if !reply.is_positive() {
            left.push(Recipient {
                reason: reply.to_string(),
                ..recipient.clone()
            });
        }
    }
    let mut pauses = Pauses::default();
    if let Some(part) = waiting.part(left) {
        // It was tried just now.
        pauses.put_off(&keep(&args.target.folder, &part)?);
    }
    if reached && let Ok(folder) = DropFolder::choose(args.target.folder.drop_folder.as_deref()) {
        // What came before is another's message: it is no matter of this call how it fares.
        let _ = flush::flush(&folder, &server, OTHERS, &mut pauses, &Quiet).await;
    }
    match refused {
        // Each was said above.
        Some(exit) => Err(Failure::new(exit, "")),
        None => Ok(()),
    }
}

/// Gives the name under which it waits.
fn keep(args: &FolderArgs, part: &Waiting) -> Result<String, Failure> {
    let names = || {
        part.recipients
            .iter()
            .map(|to| to.address.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let folder = folder(args)?;
    let name = folder.keep(part).map_err(|e| {
        let folder = folder.path.display();
        let why = format!("not sent, and cannot be kept in {folder} ({e}), for {}", names());
        Failure::new(Exit::Temporary, why)
    })?;
    let reason = part.recipients.first().map_or("", |to| &to.reason);
    remark(&format!(
        "smtp-server: waits as {name} in {}: {}",
        folder.path.display(),
        clean(reason)
    ));
    Ok(name)
}

/// The message on standard input, and its envelope.
fn compose(args: &SendmailArgs, hostname: &str) -> Result<Waiting, Failure> {
    let sender = sender(args, hostname)?;
    let notify = notify(args)?;
    let ret = ret(args)?;
    let mut addresses = Vec::new();
    for text in &args.recipients {
        let listed = mailboxes_at(text.as_bytes(), hostname);
        addresses.extend(listed.map_err(|e| wrong(format_args!("recipient {text:?}: {e}")))?);
    }
    if addresses.is_empty() && !args.from_header {
        return Err(Failure::new(
            Exit::Usage,
            "no recipient: name some, or say -t to take them from the header",
        ));
    }
    let draft = read(args)?;
    if args.from_header {
        let named = draft.recipients(hostname);
        addresses.extend(named.map_err(|(field, e)| wrong(format_args!("the {field} field: {e}")))?);
    }
    let mut seen = HashSet::new();
    addresses.retain(|address| seen.insert(address.clone()));
    if addresses.is_empty() {
        return Err(wrong("no recipient: neither To, Cc nor Bcc names one"));
    }
    let author = Author {
        sender: sender.as_ref(),
        full_name: args.full_name.as_deref(),
        hostname,
    };
    let arrived = Timestamp::now();
    Ok(Waiting {
        arrived,
        content: Bytes::from(draft.complete(&author, arrived)),
        sender,
        ret,
        envid: args.envid.as_deref().map(xtext_encode),
        recipients: addresses
            .into_iter()
            .map(|address| Recipient::new(address, notify))
            .collect(),
    })
}

fn read(args: &SendmailArgs) -> Result<Draft, Failure> {
    let dots_are_content = args.dots_are_content || args.options.iter().any(|option| option == "i");
    message::read(BufReader::new(std::io::stdin()), !dots_are_content).map_err(|e| match e.kind() {
        ErrorKind::FileTooLarge => wrong(e),
        _ => Failure::new(Exit::Io, format_args!("cannot read the message: {e}")),
    })
}

/// `-f`, else who calls.
fn sender(args: &SendmailArgs, hostname: &str) -> Result<Option<Address>, Failure> {
    let given = args.sender.as_deref().or(args.return_path.as_deref());
    let text = match given.map(str::trim) {
        Some("" | "<>") => return Ok(None),
        Some(text) => text.to_owned(),
        None => user(),
    };
    let wrong = |why: &dyn Display| wrong(format_args!("envelope sender {text:?}: {why}"));
    let mut senders = mailboxes_at(text.as_bytes(), hostname)
        .map_err(|e| wrong(&e))?
        .into_iter();
    match (senders.next(), senders.next()) {
        (Some(sender), None) => Ok(Some(sender)),
        _ => Err(wrong(&"it must be one address")),
    }
}

/// The user who calls, by name; in a container often without one.
fn user() -> String {
    let uid = nix::unistd::getuid();
    match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => format!("uid-{uid}"),
    }
}

fn notify(args: &SendmailArgs) -> Result<Option<Notify>, Failure> {
    let read = |text: &String| {
        let expected = "-N: expected never, or some of success,failure,delay";
        Notify::parse(text).ok_or_else(|| Failure::new(Exit::Usage, expected))
    };
    args.notify.as_ref().map(read).transpose()
}

fn ret(args: &SendmailArgs) -> Result<Option<Ret>, Failure> {
    match args.ret.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None => Ok(None),
        Some("full") => Ok(Some(Ret::Full)),
        Some("hdrs") => Ok(Some(Ret::Headers)),
        Some(_) => Err(Failure::new(Exit::Usage, "-R: expected full or hdrs")),
    }
}

fn wrong(why: impl Display) -> Failure {
    Failure::new(Exit::Data, why)
}

/// Tells on standard error.
struct Standard;

impl Tell for Standard {
    fn refused(&self, file: &str, _: &Waiting, to: &Recipient) {
        remark(&format!(
            "smtp-server: {file} to <{}>: {}",
            to.address,
            clean(&to.reason)
        ));
    }
    fn ignored(&self, path: &Path, reason: &dyn Display) {
        remark(&format!(
            "smtp-server: {} is left alone: {reason}",
            path.display()
        ));
    }
}

/// Tells of refusals only.
struct Quiet;

impl Tell for Quiet {
    fn refused(&self, file: &str, waiting: &Waiting, to: &Recipient) {
        Standard.refused(file, waiting, to);
    }
    fn ignored(&self, _: &Path, _: &dyn Display) {}
}
