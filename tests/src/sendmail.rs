//! The binary called `sendmail`, with a folder of its own for mail that has to wait.

use crate::server::binary;
use crate::tools::feed;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub struct Sendmail {
    folder: tempfile::TempDir,
    url: String,
}

impl Sendmail {
    /// One that hands mail to `url`.
    pub fn to(url: impl Into<String>) -> Sendmail {
        let folder = tempfile::Builder::new()
            .prefix("sendmail-test-")
            .tempdir()
            .expect("a folder");
        for name in ["sendmail", "mailq"] {
            std::os::unix::fs::symlink(binary(), folder.path().join(name)).expect("a link");
        }
        Sendmail {
            folder,
            url: url.into(),
        }
    }
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("sendmail")
    }
    /// Where mail waits.
    pub fn drop(&self) -> PathBuf {
        self.folder.path().join("drop")
    }
    /// The names in there that look like mail.
    pub fn waiting(&self) -> Vec<String> {
        mail_in(&self.drop())
    }
    /// What a program finds in its environment.
    pub fn env<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.folder.path())
            .env("SMTP_SENDMAIL_URL", &self.url)
            .env("SMTP_SENDMAIL__DROP_PATH", self.drop())
            .env("SMTP_HOSTNAME", "host.test")
    }
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/timeout");
        command.arg("60").arg(self.path()).args(args);
        self.env(&mut command);
        command
    }
    /// Runs with a message on standard input.
    pub fn send(&self, args: &[&str], message: impl AsRef<[u8]>) -> Output {
        feed(&mut self.command(args), message)
    }
    /// Runs, and demands an exit code. Gives standard output and error.
    pub fn expect(&self, args: &[&str], message: &str, code: i32) -> String {
        let output = self.send(args, message);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        said
    }
}

/// Names of queue ids in a folder.
pub fn mail_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.len() == 26).collect()
}
