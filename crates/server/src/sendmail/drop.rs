//! The drop folder: mail that no server has taken yet, one file for each message.
//!
//! A file is written under a temporary name, synced, given its name, and the folder is synced: after that it survives a power cut. It
//! holds a line that says what it is, a line with the envelope in JSON, and the content.
//!
//! The folder may be one that every user can write to (mode 1733 or 3733). So nothing in it is believed: only regular files with one name are
//! opened, no link is followed, nothing waits for a pipe, and what is not whole is left alone. Whoever sends a file on holds a lock on
//! it, and looks whether it still has its name once the lock is there: two never send the same.

use super::waiting::{MARK, Recipient, Waiting};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{AccessFlags, access, geteuid};
use smtp_queue::QueueId;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Of the whole machine, where an administrator made it.
const COMMON: &str = "/var/spool/smtp-server/drop";
/// Of one user, below the home folder.
const OWN: &str = ".local/state/smtp-server/drop";
/// Before the names of files that are being written.
const TEMPORARY: &str = "tmp-";
/// What is left of a writer that was killed goes after this time.
const STALE: Duration = Duration::from_secs(86_400);
/// Largest file: the largest message and its envelope.
const LARGEST: u64 = 2 * super::message::MOST as u64;
/// Most files looked at in one round.
const MOST_FILES: usize = 10_000;
/// The folder for what was refused, in the drop folder.
const FAILED: &str = "failed";

/// A folder.
#[derive(Clone, Debug)]
pub(crate) struct DropFolder {
    pub(crate) path: PathBuf,
}

/// A file that nobody else sends on meanwhile.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) waiting: Waiting,
    path: PathBuf,
    /// Locked until it is dropped.
    _file: Flock<File>,
}

impl DropFolder {
    /// The given folder, else the machine's where it can be written, else the user's own.
    ///
    /// # Errors
    /// There is neither of them.
    pub(crate) fn choose(given: Option<&Path>) -> io::Result<DropFolder> {
        let common = Path::new(COMMON);
        let path = match given {
            Some(path) => path.to_owned(),
            None if access(common, AccessFlags::W_OK | AccessFlags::X_OK).is_ok() => common.to_owned(),
            None => match std::env::home_dir() {
                Some(home) if home.is_absolute() => home.join(OWN),
                _ => return Err(io::Error::new(ErrorKind::NotFound, "there is no home folder")),
            },
        };
        Ok(DropFolder { path })
    }

    /// Keeps a message durably; gives its name.
    ///
    /// # Errors
    /// Nothing is kept of it.
    pub(crate) fn keep(&self, waiting: &Waiting) -> io::Result<String> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        let name = QueueId::generate().to_string();
        write(&self.path, &name, waiting)?;
        Ok(name)
    }

    /// The names of what waits, oldest first, and paths of what is something else. Removes what writers left that were killed.
    ///
    /// # Errors
    /// The folder cannot be listed. That it is not there is none.
    pub(crate) fn list(&self) -> io::Result<(Vec<String>, Vec<PathBuf>)> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Default::default()),
            entries => entries?,
        };
        let (mut names, mut foreign) = (Vec::new(), Vec::new());
        for entry in entries.flatten() {
            match entry.file_name().to_str() {
                Some(name) if QueueId::parse(name).is_some() => names.push(name.to_owned()),
                Some(FAILED) => {}
                Some(name) if name.starts_with(TEMPORARY) => remove_stale(&entry.path()),
                _ if foreign.len() < MOST_FILES => foreign.push(entry.path()),
                _ => {}
            }
            if names.len() >= MOST_FILES {
                break;
            }
        }
        names.sort_unstable();
        Ok((names, foreign))
    }

    /// Takes a file in hand. `None` when somebody else has it, or sent it meanwhile.
    ///
    /// # Errors
    /// It is no mail of ours, or cannot be read.
    pub(crate) fn take(&self, name: &str) -> io::Result<Option<Held>> {
        let path = self.path.join(name);
        let Some(file) = open(&path)? else { return Ok(None) };
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, error)) => return Err(error.into()),
        };
        if !is_still(&file, &path) {
            return Ok(None);
        }
        if !self.may_remove(&file)? {
            let why = "only its owner or the folder's may remove it, so it is not sent on";
            return Err(io::Error::new(ErrorKind::PermissionDenied, why));
        }
        let waiting = content_of(&mut file)?;
        Ok(Some(Held {
            waiting,
            path,
            _file: file,
        }))
    }

    /// What could not be removed afterwards would be sent again and again.
    fn may_remove(&self, file: &File) -> io::Result<bool> {
        let (folder, us) = (fs::metadata(&self.path)?, geteuid());
        let sticky = folder.mode() & 0o1000 != 0;
        let ours = us.is_root() || [folder.uid(), file.metadata()?.uid()].contains(&us.as_raw());
        Ok(access(&self.path, AccessFlags::W_OK | AccessFlags::X_OK).is_ok() && (ours || !sticky))
    }

    /// What a file holds, whoever has it in hand.
    ///
    /// # Errors
    /// It is no mail of ours, or cannot be read.
    pub(crate) fn look(&self, name: &str) -> io::Result<Option<Waiting>> {
        let file = open(&self.path.join(name))?;
        file.map(|mut file| content_of(&mut file)).transpose()
    }
}

impl Held {
    /// Ends the work on it: what still waits stays under its name, what was refused is kept in `failed/`, the rest goes.
    ///
    /// # Errors
    /// The file may stay as it was, to be sent again. What cannot be kept in `failed/` waits on.
    pub(crate) fn settle(self, mut left: Vec<Recipient>, refused: Vec<Recipient>) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut result = Ok(());
        if let Some(part) = self.waiting.part(refused) {
            result = private(folder.join(FAILED), folder)
                .and_then(|failed| write(&failed, &QueueId::generate().to_string(), &part));
            if result.is_err() {
                left.extend(part.recipients);
            }
        }
        if left.len() == self.waiting.recipients.len() {
            return result;
        }
        match self.waiting.part(left) {
            Some(left) => {
                let name = self.path.file_name().and_then(|name| name.to_str());
                write(folder, name.unwrap_or_default(), &left)?;
            }
            None => {
                fs::remove_file(&self.path)?;
                sync(folder, None)?;
            }
        }
        result
    }
}

/// Opens a file that may be mail. `None` when there is none of that name.
fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
    {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let is = file.metadata()?;
    let wrong = |why: &str| Err(io::Error::new(ErrorKind::InvalidData, why));
    match is {
        is if !is.is_file() => wrong("not a regular file"),
        // Somebody gave another's file a name here.
        is if is.nlink() > 1 => wrong("it has another name elsewhere"),
        is if is.len() > LARGEST => wrong("larger than any mail of sendmail's"),
        _ => Ok(Some(file)),
    }
}

fn content_of(file: &mut File) -> io::Result<Waiting> {
    let mut octets = Vec::new();
    // It may grow while it is read.
    file.take(LARGEST).read_to_end(&mut octets)?;
    Waiting::parse(&octets).map_err(|why| io::Error::new(ErrorKind::InvalidData, why))
}

/// Whether the open file is the one of that name.
fn is_still(file: &File, path: &Path) -> bool {
    let same = |one: &Metadata, other: &Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
    matches!((file.metadata(), fs::symlink_metadata(path)), (Ok(one), Ok(other)) if same(&one, &other))
}

/// Writes a file durably. An error leaves nothing new behind.
fn write(folder: &Path, name: &str, waiting: &Waiting) -> io::Result<()> {
    let temporary = folder.join(format!("{TEMPORARY}{}", QueueId::generate()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    let written = fill(&mut file, folder, waiting).and_then(|()| fs::rename(&temporary, folder.join(name)));
    if let Err(error) = written {
        // What cannot be removed now is stale some day.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync(folder, Some(&file))
}

fn fill(file: &mut File, folder: &Path, waiting: &Waiting) -> io::Result<()> {
    file.write_all(MARK)?;
    file.write_all(waiting.envelope().as_bytes())?;
    file.write_all(&waiting.content)?;
    file.set_permissions(Permissions::from_mode(readers(&fs::metadata(folder)?)))?;
    file.sync_all()
}

/// Who reads a file besides its owner: in a folder of somebody else that one, by its group where the folder hands that on (setgid). Others
/// cannot list such a folder, and cannot guess a name.
fn readers(folder: &Metadata) -> u32 {
    match folder {
        folder if folder.uid() == geteuid().as_raw() => 0o600,
        folder if folder.mode() & 0o2000 != 0 => 0o640,
        _ => 0o644,
    }
}

/// Makes names in a folder durable. Who may not read the folder cannot sync it, and syncs the file system of `file`.
fn sync(folder: &Path, file: Option<&File>) -> io::Result<()> {
    match (File::open(folder), file) {
        (Ok(folder), _) => folder.sync_all(),
        (Err(error), Some(file)) if error.kind() == ErrorKind::PermissionDenied => {
            Ok(nix::unistd::syncfs(file)?)
        }
        (Err(error), _) => Err(error),
    }
}

/// A folder for the drop folder's owner alone: where everybody writes, one of that name could be somebody else's.
fn private(path: PathBuf, parent: &Path) -> io::Result<PathBuf> {
    let (us, owner) = (geteuid(), fs::metadata(parent)?);
    match DirBuilder::new().mode(0o700).create(&path) {
        // What root makes is for the owner, too.
        Ok(()) if us.is_root() => lchown(&path, Some(owner.uid()), Some(owner.gid()))?,
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let is = fs::symlink_metadata(&path)?;
    if !is.is_dir() || !(is.uid() == us.as_raw() || us.is_root() && is.uid() == owner.uid()) {
        let why = format!("{} is no folder, or belongs to somebody else", path.display());
        return Err(io::Error::new(ErrorKind::PermissionDenied, why));
    }
    Ok(path)
}

fn remove_stale(path: &Path) {
    let age = fs::symlink_metadata(path)
        .and_then(|is| is.modified())
        .ok()
        .and_then(|at| SystemTime::now().duration_since(at).ok());
    if age.is_some_and(|age| age > STALE) {
        // If it cannot be now, then next time.
        let _ = fs::remove_file(path);
    }
}
