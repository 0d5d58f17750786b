//! Two compilations that have no folder in common give one binary.
//!
//! `cargo xtask image --twice` compiles what ships, which takes many minutes. `cargo xtask test` compiles with the
//! profile `twice`: all crates and all their C code as well, but without optimising, which takes a quarter of the time
//! and still shows what usually comes between: paths of the checkout, of the target folder and of the registry in
//! Rust and in C, build scripts that look at the clock, macros whose output is in a map's order. What only the
//! optimiser could do differently is left to `--twice`, before a release.

use super::{Place, Source, files, output};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The profile that is compiled fastest.
pub(super) const QUICK: &str = "twice";

/// Compiles and lays out the image's files here and in a copy elsewhere, and compares.
pub(super) fn twice(profile: &str) -> Result<bool, String> {
    let source = Source::of(&crate::run::root());
    let here = Place::here();
    let first = here.target.join("image").join(profile);
    files(&here, profile, &source, &first)?;
    // Gone with its gigabyte when this ends, however it ends.
    let temporary = tempfile::Builder::new()
        .prefix("smtp-server-")
        .tempdir_in(large_temporary())
        .map_err(|error| format!("a temporary folder: {error}"))?;
    let there = Place::elsewhere(temporary.path())?;
    let second = temporary.path().join("files");
    files(&there, profile, &source, &second)?;
    are_one(&first, &second)
}

/// Whether two folders have the files of one image. Says what is in them, and keeps the second binary of two.
fn are_one(first: &Path, second: &Path) -> Result<bool, String> {
    let (one, two) = (listed(first)?, listed(second)?);
    println!("{one}");
    if one != two {
        println!("and the second time:\n{two}");
        // To look at with diffoscope, or `cmp -l`.
        let kept = first.join("the-second-time");
        let copied = std::fs::copy(second.join("rootfs/smtp-server"), &kept);
        copied.map_err(|error| format!("{}: {error}", kept.display()))?;
        println!("the second binary: {}", kept.display());
    }
    Ok(one == two)
}

/// Where large temporary files go: `/tmp` may be in memory.
fn large_temporary() -> PathBuf {
    std::env::var_os("TMPDIR").map_or_else(|| "/var/tmp".into(), PathBuf::from)
}

/// What an image is made of, in the order of names: everything's mode and where a link leads, every file's SHA-256.
fn listed(files: &Path) -> Result<String, String> {
    let list = "cd \"$0\" && find rootfs owned -printf '%#m %p %l\\n' | LC_ALL=C sort -k 2 && \
         find rootfs owned -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum";
    output(Command::new("sh").args(["-c", list]).arg(files))
}

#[cfg(test)]
mod tests {
    use super::super::{lay_out, output};
    use super::are_one;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    /// A program, compiled in a folder of its own that leaves no trace in it; and an image's files with it.
    fn image(folder: &Path, says: &str) -> PathBuf {
        let (sources, files) = (folder.join("sources"), folder.join("files"));
        std::fs::create_dir_all(&sources).unwrap();
        let (source, binary) = (sources.join("main.rs"), folder.join("program"));
        std::fs::write(&source, format!("fn main() {{ println!({says:?}) }}")).unwrap();
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition=2024", "-Copt-level=0", "-Cstrip=symbols"]);
        rustc.arg(format!("--remap-path-prefix={}=/", sources.display()));
        output(rustc.arg("-o").arg(&binary).arg(&source)).unwrap();
        lay_out(&binary, "{}", &files, None).unwrap();
        files
    }

    #[test]
    fn images_are_one_if_their_programs_are_and_all_that_is_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let first = image(&place("here"), "1");
        let second = image(&place("in/another place"), "1");
        assert_eq!(are_one(&first, &second), Ok(true));
        assert!(!first.join("the-second-time").exists());

        // One octet, by the compiler; no path, nor is one of them longer.
        let other = image(&place("other"), "2");
        let program = |files: &Path| std::fs::read(files.join("rootfs/smtp-server")).unwrap();
        let (one, two) = (program(&first), program(&other));
        assert_eq!(one.len(), two.len());
        assert_eq!(are_one(&first, &other), Ok(false));
        assert_eq!(std::fs::read(first.join("the-second-time")).unwrap(), two);

        // What is part of an image besides its program.
        for (change, script) in [
            ("a list", "echo >> rootfs/usr/share/sbom/smtp-server.cdx.json"),
            ("a file more", "touch rootfs/tmp/more"),
            ("a folder's mode", "chmod 700 owned/data"),
            ("a program's mode", "chmod 4755 rootfs/smtp-server"),
            ("a link", "ln -sfn elsewhere rootfs/mailq"),
        ] {
            lay_out(&place("in/another place/program"), "{}", &second, None).unwrap();
            assert_eq!(are_one(&first, &second), Ok(true));
            output(Command::new("sh").current_dir(&second).args(["-c", script])).unwrap();
            assert_eq!(are_one(&first, &second), Ok(false), "{change}");
        }
    }
}
