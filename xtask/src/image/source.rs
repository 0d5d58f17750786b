//! Which commit an image is of.

use super::output;
use std::path::Path;
use std::process::Command;

/// What a build that has no history says in place of a commit.
const UNKNOWN: &str = "unknown";

/// Which commit, and its time.
pub(super) struct Source {
    /// The commit's hash, with `-dirty` when files are changed or not followed: that commit is not what was compiled.
    pub(super) revision: String,
    /// Seconds since 1970.
    pub(super) epoch: u64,
}

impl Source {
    /// Of the environment (`SOURCE_DATE_EPOCH`, `REVISION`: a container build has no history), else of git.
    pub(super) fn of(folder: &Path) -> Self {
        let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (revision, time) = Self::in_history(folder).unzip();
        let epoch = given("SOURCE_DATE_EPOCH").or(time);
        Source {
            revision: given("REVISION")
                .or(revision)
                .unwrap_or_else(|| UNKNOWN.to_owned()),
            epoch: epoch.and_then(|epoch| epoch.parse().ok()).unwrap_or(0),
        }
    }

    /// What git knows of a folder: the revision, and the commit's time in seconds.
    fn in_history(folder: &Path) -> Option<(String, String)> {
        let git = |args: &[&str]| output(Command::new("git").arg("-C").arg(folder).args(args)).ok();
        let commit = git(&["rev-parse", "HEAD"])?;
        // A file that git does not follow is compiled like any other, so it counts.
        let changed = git(&["status", "--porcelain"])?;
        let suffix = if changed.is_empty() { "" } else { "-dirty" };
        Some((commit + suffix, git(&["log", "-1", "--format=%ct"])?))
    }

    /// The time as RFC 3339 has it.
    pub(super) fn time(&self) -> Result<String, String> {
        let date = format!("@{}", self.epoch);
        output(Command::new("date").args(["--utc", "--date", &date, "+%Y-%m-%dT%H:%M:%SZ"]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(folder: &Path, args: &[&str]) -> String {
        let mut git = Command::new("git");
        git.arg("-C").arg(folder);
        git.args(["-c", "user.name=t", "-c", "user.email=t@example.com"]);
        output(git.args(args)).expect("git")
    }

    #[test]
    fn only_what_is_committed_goes_by_the_commits_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let revision = || Source::in_history(folder).expect("a history").0;
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("written");
        assert!(Source::in_history(folder).is_none());
        git(folder, &["init", "--quiet"]);
        write(".gitignore", "ignored\n");
        write("followed", "1");
        git(folder, &["add", "--all"]);
        git(
            folder,
            &[
                "commit",
                "--quiet",
                "--message=one",
                "--date=@1700000000",
                "--no-gpg-sign",
            ],
        );
        let commit = git(folder, &["rev-parse", "HEAD"]);
        assert_eq!(revision(), commit);
        write("ignored", "1");
        assert_eq!(revision(), commit);
        write("followed", "2");
        assert_eq!(revision(), format!("{commit}-dirty"));
        write("followed", "1");
        assert_eq!(revision(), commit);
        write("new", "1");
        assert_eq!(revision(), format!("{commit}-dirty"));
        std::fs::remove_file(folder.join("new")).expect("removed");
        std::fs::remove_file(folder.join("followed")).expect("removed");
        assert_eq!(revision(), format!("{commit}-dirty"));
    }
}
