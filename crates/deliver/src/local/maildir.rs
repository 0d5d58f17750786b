//! One message into one Maildir.
//!
//! Why nothing is lost and nothing is seen too early:
//! 1. The file is written in `tmp/`, where no reader looks, under a name that nobody else uses.
//! 2. It is synced and closed; only then is it renamed into `new/`. A reader sees all of it or nothing.
//! 3. `new/` is synced: the name is as durable as the content. Only now is the delivery done.
//! 4. A folder that is made is synced into its parent before anything is delivered below it. `tmp/` is made
//!    last: where it exists, the rest is already durable. One delivery at a time makes folders.
//!
//! A crash before 3 may leave a file in `tmp/` (readers remove what is older than 36 hours) or deliver the
//! message twice; it never loses it.

use super::failed;
use parking_lot::Mutex;
use smtp::{Address, Reply};
use smtp_queue::Body;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Octets of a large body read at a time.
const BLOCK: usize = 64 * 1024;

/// Held while folders are made.
static MAKING_FOLDERS: Mutex<()> = Mutex::new(());
/// Deliveries of this process.
static DELIVERIES: AtomicU64 = AtomicU64::new(0);

/// Which lines are written above the content.
#[derive(Clone, Copy, Debug)]
pub(super) enum TraceStyle {
    /// `Return-Path:`, `Delivered-To:`.
    Maildir,
    /// `X-Envelope-From:`, `Delivered-To:`.
    Capture,
}

impl TraceStyle {
    /// The lines, each ending in CRLF.
    pub(super) fn lines(self, sender: Option<&Address>, recipient: &Address) -> String {
        let sender = sender.map_or("", Address::as_str);
        let field = match self {
            TraceStyle::Maildir => "Return-Path",
            TraceStyle::Capture => "X-Envelope-From",
        };
        format!("{field}: <{sender}>\r\nDelivered-To: {}\r\n", recipient.as_str())
    }
}

/// All that one delivery needs, owned, for a blocking thread.
#[derive(Debug)]
pub(super) struct Delivery {
    pub folder: PathBuf,
    pub trace: String,
    /// Keep CRLF instead of LF.
    pub keep_line_ends: bool,
    pub body: Body,
    pub hostname: String,
}

impl Delivery {
    /// Delivers; blocks on the disk.
    pub(super) fn run(&self) -> Result<(), Reply> {
        let name = unique_name(&self.hostname);
        let temporary = self.folder.join("tmp").join(&name);
        let file = self.create(&temporary)?;
        let done = self
            .write(file, &temporary)
            .and_then(|size| self.publish(&temporary, &name, size));
        if done.is_err() {
            // Nothing else can be done about it; readers clean `tmp/` too.
            let _ = fs::remove_file(&temporary);
        }
        done
    }

    fn create(&self, path: &Path) -> Result<File, Reply> {
        match create_new(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_maildir(&self.folder)?;
                create_new(path).map_err(|error| failed("create", path, &error))
            }
            other => other.map_err(|error| failed("create", path, &error)),
        }
    }

    /// Writes, syncs and closes the file. Gives its size.
    fn write(&self, file: File, path: &Path) -> Result<u64, Reply> {
        let mut out = Writer {
            file,
            keep_line_ends: self.keep_line_ends,
            after_cr: false,
            block: Vec::new(),
            size: 0,
        };
        let wrote = |result: io::Result<()>| result.map_err(|error| failed("write", path, &error));
        wrote(out.push(self.trace.as_bytes()))?;
        match &self.body {
            Body::Memory(octets) => wrote(out.push(octets))?,
            Body::File { path: spooled, .. } => {
                let read = |error: io::Error| failed("read the spooled message", spooled, &error);
                let mut source = File::open(spooled).map_err(read)?;
                let mut block = vec![0; BLOCK];
                loop {
                    match source.read(&mut block).map_err(read)? {
                        0 => break,
                        count => wrote(out.push(block.get(..count).unwrap_or_default()))?,
                    }
                }
            }
        }
        wrote(out.finish())
            .and_then(|()| wrote(out.file.sync_all()))
            .and_then(|()| wrote(nix::unistd::close(out.file).map_err(io::Error::from)))
            .map(|()| out.size)
    }

    /// Shows the file to readers, durably. Its name says its size, so that they need not ask.
    fn publish(&self, temporary: &Path, name: &str, size: u64) -> Result<(), Reply> {
        let new = self.folder.join("new");
        let place = new.join(format!("{name},S={size}"));
        let renamed = match fs::rename(temporary, &place) {
            // Somebody removed `new/`.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_maildir(&self.folder)?;
                fs::rename(temporary, &place)
            }
            other => other,
        };
        renamed.map_err(|error| failed("rename a message to", &place, &error))?;
        sync_folder(&new)
    }
}

/// Makes CRLF into LF, and few large writes out of many small ones.
struct Writer {
    file: File,
    keep_line_ends: bool,
    /// A CR was seen whose next octet is not known yet.
    after_cr: bool,
    block: Vec<u8>,
    size: u64,
}

impl Writer {
    fn push(&mut self, chunk: &[u8]) -> io::Result<()> {
        if self.keep_line_ends {
            self.block.extend_from_slice(chunk);
        } else {
            for piece in chunk.chunks(BLOCK) {
                self.convert(piece);
                self.flush_over(BLOCK)?;
            }
        }
        self.flush_over(BLOCK)
    }

    fn convert(&mut self, chunk: &[u8]) {
        for line in chunk.split_inclusive(|octet| *octet == b'\n' || *octet == b'\r') {
            if self.after_cr && line != b"\n" {
                self.block.push(b'\r');
            }
            self.after_cr = line.ends_with(b"\r");
            self.block
                .extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.after_cr) {
            self.block.push(b'\r');
        }
        self.flush_over(0)
    }

    fn flush_over(&mut self, limit: usize) -> io::Result<()> {
        if self.block.len() > limit {
            self.file.write_all(&self.block)?;
            self.size += self.block.len() as u64;
            self.block.clear();
        }
        Ok(())
    }
}

/// A name that no other delivery uses, on any machine that shares the folder:
/// `seconds.MmicrosecondsPprocessQcount_random.host`.
fn unique_name(hostname: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = DELIVERIES.fetch_add(1, Ordering::Relaxed);
    let host = hostname.replace('/', "\\057").replace(':', "\\072");
    format!(
        "{}.M{}P{}Q{count}_{:016x}.{host}",
        now.as_secs(),
        now.subsec_micros(),
        std::process::id(),
        rand::random::<u64>()
    )
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn make_maildir(folder: &Path) -> Result<(), Reply> {
    let _one_at_a_time = MAKING_FOLDERS.lock();
    let mut missing: Vec<&Path> = folder.ancestors().take_while(|path| !is_there(path)).collect();
    while let Some(path) = missing.pop() {
        make_folder(path)?;
        sync_folder(path.parent().unwrap_or(Path::new("")))?;
    }
    make_folder(&folder.join("cur"))?;
    make_folder(&folder.join("new"))?;
    sync_folder(folder)?;
    make_folder(&folder.join("tmp"))
}

/// A relative path ends in `""`, the current folder.
fn is_there(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.is_dir()
}

fn make_folder(path: &Path) -> Result<(), Reply> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(failed("create the folder", path, &error))
        }
        _ => Ok(()),
    }
}

fn sync_folder(path: &Path) -> Result<(), Reply> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(|error| failed("sync the folder", path, &error))
}
