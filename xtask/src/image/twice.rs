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
    let (one, two) = (sums(&first)?, sums(&second)?);
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

/// Every file of the image with its SHA-256, in the order of names.
fn sums(files: &Path) -> Result<String, String> {
    let list = "cd \"$0\" && find rootfs owned -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum";
    output(Command::new("sh").args(["-c", list]).arg(files))
}
