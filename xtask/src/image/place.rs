//! Where it is compiled: a checkout, a target folder and a cargo home. None of them may leave a trace in what ships.

use super::output;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One place to compile in.
pub(super) struct Place {
    /// The workspace's folder.
    pub(super) root: PathBuf,
    /// What cargo builds into.
    pub(super) target: PathBuf,
    /// What cargo unpacks crates in.
    home: PathBuf,
}

impl Place {
    /// Where this program was compiled itself.
    pub(super) fn here() -> Place {
        let usual = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo");
        Place {
            root: crate::run::root(),
            target: crate::run::target(),
            home: std::env::var_os("CARGO_HOME").map_or_else(usual, PathBuf::from),
        }
    }

    /// A copy of this checkout below `folder` (what git follows, and what it would), with a target folder and a cargo
    /// home that go by other paths. The crates in that home are the same files: nothing is fetched again.
    pub(super) fn elsewhere(folder: &Path) -> Result<Place, String> {
        let here = Place::here();
        let place = Place {
            root: folder.join("a/checkout/of/it"),
            target: folder.join("built"),
            home: folder.join("crates-are-here"),
        };
        let io = |error: std::io::Error| format!("{}: {error}", folder.display());
        for made in [&place.root, &place.home] {
            std::fs::create_dir_all(made).map_err(io)?;
        }
        // A file that was deleted and not committed is in git's list still.
        let script = "set -e; cd \"$0\"; git ls-files -z --cached --others --exclude-standard | \
             while IFS= read -r -d '' file; do [ ! -f \"$file\" ] || printf '%s\\0' \"$file\"; done | \
             tar --null --files-from=- --create | tar --extract --touch --directory \"$1\"";
        let mut copy = Command::new("bash");
        copy.args(["-o", "pipefail", "-c", script]);
        output(copy.arg(&here.root).arg(&place.root))?;
        for entry in std::fs::read_dir(&here.home).map_err(io)?.flatten() {
            std::os::unix::fs::symlink(entry.path(), place.home.join(entry.file_name())).map_err(io)?;
        }
        Ok(place)
    }

    /// `cargo`, in this place.
    pub(super) fn cargo(&self, args: &[&str]) -> Command {
        let mut cargo = crate::run::cargo(args);
        cargo
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_HOME", &self.home)
            .env_remove("CARGO_MANIFEST_DIR");
        cargo
    }

    /// Folders of this place that would be in a binary, and what is there instead. Of two that match, the compiler
    /// takes the last.
    pub(super) fn remapped(&self) -> Result<Vec<(String, String)>, String> {
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let version = output(Command::new("rustc").arg("-vV"))?;
        let commit = version
            .lines()
            .find_map(|line| line.strip_prefix("commit-hash: "))
            .unwrap_or("unknown");
        let mut pairs = vec![
            (self.root.display().to_string(), "/smtp-server".to_owned()),
            (self.target.display().to_string(), "/target".to_owned()),
            (
                format!("{sysroot}/lib/rustlib/src/rust"),
                format!("/rustc/{commit}"),
            ),
        ];
        // One folder for each registry or mirror that crates came from.
        let sources = self.home.join("registry/src");
        for registry in std::fs::read_dir(&sources).into_iter().flatten().flatten() {
            pairs.push((registry.path().display().to_string(), "/crates".to_owned()));
        }
        Ok(pairs)
    }

    /// No path of this place is in the binary.
    pub(super) fn left_no_trace(&self, binary: &Path) -> Result<(), String> {
        let content = std::fs::read(binary).map_err(|error| format!("{}: {error}", binary.display()))?;
        match trace_of(&[&self.root, &self.target, &self.home], &content) {
            None => Ok(()),
            Some(trace) => Err(format!("the binary holds a path of this machine: {trace}")),
        }
    }
}

/// What begins with a path below one of these folders. One like `/src` is left out: every crate has paths with that in
/// them, and its name says nothing of anybody.
fn trace_of(folders: &[&Path], content: &[u8]) -> Option<String> {
    let telling = folders
        .iter()
        .filter(|folder| folder.components().count() > 2)
        .map(|folder| format!("{}/", folder.display()));
    for path in telling {
        let place = content
            .windows(path.len())
            .position(|found| found == path.as_bytes());
        if let Some(place) = place {
            let around = &content[place..content.len().min(place + 120)];
            return Some(String::from_utf8_lossy(around).into_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::trace_of;
    use std::path::Path;

    #[test]
    fn a_path_of_the_machine_is_found_and_one_of_a_crate_is_not() {
        let content = b"\0/crates/memchr-2.8.0/src/memory.rs/home/ann/mail/crates/smtp/src/line.rs";
        let trace = trace_of(&[Path::new("/src"), Path::new("/home/ann/mail")], content);
        assert_eq!(trace.as_deref(), Some("/home/ann/mail/crates/smtp/src/line.rs"));
        assert_eq!(
            trace_of(&[Path::new("/src"), Path::new("/home/bob")], content),
            None
        );
        assert_eq!(trace_of(&[Path::new("/")], content), None);
    }
}
