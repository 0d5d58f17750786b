//! Which PostgreSQL, and where its programs are.

use crate::{run, unprivileged};
use std::path::{Path, PathBuf};

/// A version of PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The one that Debian ships, with all of its programs.
    Debian,
    /// The oldest that the server works with: `initdb`, `pg_ctl` and `postgres`.
    Oldest,
    /// The newest there is; the same programs.
    Newest,
}

impl Version {
    /// Those that do not come from Debian.
    pub const OTHERS: [Version; 2] = [Version::Oldest, Version::Newest];

    /// The release of npm's package of that version; `None` for Debian's.
    pub fn release(self) -> Option<&'static str> {
        match self {
            Version::Debian => None,
            Version::Oldest => Some("14.23.0-beta.17"),
            Version::Newest => Some("18.4.0-beta.17"),
        }
    }

    /// One of its programs.
    ///
    /// # Errors
    /// There is none.
    pub fn program(self, name: &str) -> Result<PathBuf, String> {
        let bin = match self.release() {
            None => debian()?,
            Some(release) => installed(release)?,
        };
        Ok(bin.join("bin").join(name))
    }
}

/// What a program that is not there is answered with.
const MISSING: &str = "is missing: `cargo xtask peers` installs it";

/// The newest that Debian installed.
fn debian() -> Result<PathBuf, String> {
    let missing = || format!("PostgreSQL {MISSING}");
    let versions = std::fs::read_dir("/usr/lib/postgresql").map_err(|_| missing())?;
    let mut folders: Vec<PathBuf> = versions.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders.pop().ok_or_else(missing)
}

/// The folder of the target folder where npm puts its packages.
pub const NPM: &str = "peers/postgres";

/// The name of a release's package there, for this machine's processor. npm has the oldest for x86-64 only.
pub fn package(release: &str) -> String {
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "x64",
    };
    format!("postgres-{release}-{architecture}")
}

/// What npm installed beside the program that runs.
fn installed(release: &str) -> Result<PathBuf, String> {
    let place = Path::new(NPM)
        .join("node_modules")
        .join(package(release))
        .join("native");
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut folders = this.ancestors().map(|folder| folder.join(&place));
    let folder = folders
        .find(|folder| folder.exists())
        .ok_or_else(|| format!("PostgreSQL {release} {MISSING}"))?;
    run(unprivileged(Path::new("/usr/bin/test"))
        .arg("-x")
        .arg(folder.join("bin/postgres")))
    .map_err(|_| {
        format!(
            "the user `postgres` cannot come to {}: let others through the folders above it (`chmod o+x`)",
            folder.display()
        )
    })?;
    Ok(folder)
}
