//! The static binary.

use super::{Place, output};
use std::path::PathBuf;
use std::process::Command;

/// Builds the server without anything that it would have to find when it starts. Only the last step, linking, is
/// another one than that of `cargo build`, so that nothing has to be compiled twice for it.
pub(super) fn static_binary(place: &Place, profile: &str) -> Result<PathBuf, String> {
    let mut build = place.cargo(&["rustc", "--locked", "--package", "smtp-server"]);
    build.args(["--bin", "smtp-server", "--profile", profile]);
    // Who ships it says nothing of his folders. The profile of the tests keeps its flags: with others, everything
    // would be compiled again.
    let shipped = profile != "release";
    if shipped {
        let remapped = place.remapped()?;
        let flags = |prefix: &str| -> Vec<String> {
            let pairs = remapped.iter();
            pairs.map(|(from, to)| format!("{prefix}{from}={to}")).collect()
        };
        build.env(
            "CARGO_ENCODED_RUSTFLAGS",
            flags("--remap-path-prefix=").join("\x1f"),
        );
        build.env("CFLAGS", flags("-ffile-prefix-map=").join(" "));
        build.env("CARGO_INCREMENTAL", "0");
        // Kernels for arm64 have pages of 4, 16 or 64 KiB, and jemalloc serves those up to what it was compiled for.
        if cfg!(target_arch = "aarch64") {
            build.env("JEMALLOC_SYS_WITH_LG_PAGE", "16");
        }
    }
    // Static, without symbols; and what is moved in memory at the start is listed in short, which saves a megabyte.
    build.args(["--", "-C", "target-feature=+crt-static", "-C", "strip=symbols"]);
    build.args(["-C", "link-arg=-Wl,-z,pack-relative-relocs"]);
    if !crate::run::succeeds(&mut build)? {
        return Err("the static binary does not build".into());
    }
    let built = place.target.join(profile).join("smtp-server");
    let binary = place.target.join("image").join(profile).join("smtp-server");
    let io = |error: std::io::Error| format!("{}: {error}", binary.display());
    std::fs::create_dir_all(binary.with_file_name("")).map_err(io)?;
    std::fs::copy(&built, &binary).map_err(io)?;
    if shipped {
        place.left_no_trace(&binary)?;
    }
    Ok(binary)
}

/// Another compiler makes another binary of the same commit: says so when it is not the one that the `Containerfile`
/// names, which is where it stands once.
pub(super) fn say_which_compiler(containerfile: &str) -> Result<(), String> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let ours = version.lines().find_map(|line| line.strip_prefix("release: "));
    let (ours, its) = (ours.unwrap_or_default(), compiler_of(containerfile)?);
    if ours != its {
        eprintln!(
            "compiled by Rust {ours}: the image will have another digest than one by Rust {its}, which the Containerfile names"
        );
    }
    Ok(())
}

/// The version of Rust in `ARG RUST=…/rust:VERSION-DISTRIBUTION`.
fn compiler_of(containerfile: &str) -> Result<&str, String> {
    containerfile
        .lines()
        .find_map(|line| line.strip_prefix("ARG RUST=")?.split_once("rust:"))
        .and_then(|(_, tag)| tag.split('-').next())
        .ok_or_else(|| "the Containerfile names no version of Rust".to_owned())
}

#[cfg(test)]
mod tests {
    use super::compiler_of;

    #[test]
    fn the_compiler_is_the_one_of_the_containerfile() {
        let text = "# comment\nARG RUST=docker.io/library/rust:1.95.0-bookworm@sha256:ab\nFROM x\n";
        assert_eq!(compiler_of(text), Ok("1.95.0"));
        assert!(compiler_of("FROM scratch\n").is_err());
    }
}
