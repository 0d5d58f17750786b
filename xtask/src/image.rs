//! `cargo xtask image`: the container image, the same octets from the same commit.
//!
//! Three steps: the static binary, the files of the image laid out in a folder (`rootfs`, with the list of
//! everything that was linked), and the `Containerfile`'s last stage over that folder. Tests take the same steps,
//! with the profile that the other tests have compiled already.

mod binary;
mod place;
mod sbom;
mod source;
mod twice;

use crate::run::root;
use place::Place;
use source::Source;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where in the image the list of what was linked is, and its name beside the image.
const SBOM: &str = "usr/share/sbom/smtp-server.cdx.json";

/// The profile of what ships.
const SHIPS: &str = "dist";

/// The image of what ships stays below it, in octets: docs/decisions/0011-image-size.md.
const LARGEST: u64 = 25 << 20;

/// What the command line asks for.
struct Wanted {
    profile: String,
    tag: String,
    archive: Option<PathBuf>,
    /// Only the files, into this folder.
    files_only: Option<PathBuf>,
    /// Files that are there already.
    files: Option<PathBuf>,
    /// Where the sources are to be had: two labels.
    source: Option<String>,
    twice: bool,
    /// buildah or podman; whichever is there unless given.
    builder: Option<String>,
}

impl Wanted {
    fn read(args: &[String]) -> Result<Self, String> {
        let mut wanted = Wanted {
            profile: SHIPS.into(),
            tag: format!("localhost/smtp-server:{}", env!("CARGO_PKG_VERSION")),
            archive: None,
            files_only: None,
            files: None,
            source: None,
            twice: false,
            builder: None,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().cloned().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--profile" => wanted.profile = value()?,
                "--tag" => wanted.tag = value()?,
                "--archive" => wanted.archive = Some(value()?.into()),
                "--files-only" => wanted.files_only = Some(value()?.into()),
                "--files" => wanted.files = Some(value()?.into()),
                "--source" => wanted.source = Some(value()?),
                "--builder" => wanted.builder = Some(value()?),
                "--twice" => wanted.twice = true,
                _ => return Err(format!("unknown argument {arg:?}")),
            }
        }
        Ok(wanted)
    }
}

pub(crate) fn run(args: &[String]) -> Result<bool, String> {
    let wanted = Wanted::read(args)?;
    if wanted.twice {
        return twice::twice(&wanted.profile);
    }
    let (place, source) = (Place::here(), Source::of(&root()));
    if let Some(folder) = &wanted.files_only {
        files(&place, &wanted.profile, &source, folder)?;
        return Ok(true);
    }
    let folder = match &wanted.files {
        Some(folder) => folder.clone(),
        None => {
            let folder = place.target.join("image").join(&wanted.profile);
            files(&place, &wanted.profile, &source, &folder)?;
            let containerfile = root().join("Containerfile");
            let text = std::fs::read_to_string(&containerfile);
            binary::say_which_compiler(
                &text.map_err(|error| format!("{}: {error}", containerfile.display()))?,
            )?;
            folder
        }
    };
    let id = assemble(&folder, &wanted, &source)?;
    if let Some(archive) = &wanted.archive {
        save(&wanted, archive)?;
    }
    println!("{} {id}", wanted.tag);
    Ok(true)
}

/// The files of an image, as [`run`] puts them together for tests: with the profile of the tests.
pub(crate) fn for_tests() -> Result<PathBuf, String> {
    let place = Place::here();
    let folder = place.target.join("image/release");
    files(&place, "release", &Source::of(&root()), &folder)?;
    Ok(folder)
}

/// Whether the tree as it is, compiled in two places with the fastest profile, gives one binary.
pub(crate) fn is_reproducible() -> Result<bool, String> {
    twice::twice(twice::QUICK)
}

/// Builds what is in the image, and lays it out in `folder` as [`lay_out`] does.
fn files(place: &Place, profile: &str, source: &Source, folder: &Path) -> Result<(), String> {
    let binary = binary::static_binary(place, profile)?;
    let list = sbom::cyclonedx(place, &binary, &source.time()?)?;
    lay_out(&binary, &list, folder, largest(profile))
}

/// What the files of an image stay below, in octets: of what ships. Those of the tests are compiled faster, and larger.
fn largest(profile: &str) -> Option<u64> {
    (profile == SHIPS).then_some(LARGEST)
}

/// Lays out the files of the image in `folder/rootfs`, those of its user in `folder/owned`, and beside them the list
/// of what was linked. An error when the files would not be below `largest` together.
fn lay_out(binary: &Path, list: &str, folder: &Path, largest: Option<u64>) -> Result<(), String> {
    let (rootfs, owned) = (folder.join("rootfs"), folder.join("owned"));
    let io = |error: std::io::Error| format!("{}: {error}", folder.display());
    for old in [&rootfs, &owned].into_iter().filter(|path| path.exists()) {
        std::fs::remove_dir_all(old).map_err(io)?;
    }
    let sbom = rootfs.join(SBOM);
    for path in [owned.join("data"), rootfs.join("tmp"), sbom.with_file_name("")] {
        std::fs::create_dir_all(path).map_err(io)?;
    }
    let program = rootfs.join("smtp-server");
    let size = std::fs::copy(binary, &program).map_err(io)?;
    for name in ["sendmail", "mailq"] {
        symlink("smtp-server", rootfs.join(name)).map_err(io)?;
    }
    std::fs::write(&sbom, list).map_err(io)?;
    std::fs::write(folder.join("smtp-server.cdx.json"), list).map_err(io)?;
    // Whatever the umask was.
    for (path, mode) in [
        (rootfs.clone(), 0o755),
        (program, 0o755),
        (rootfs.join("tmp"), 0o1777),
        (rootfs.join("usr"), 0o755),
        (rootfs.join("usr/share"), 0o755),
        (rootfs.join("usr/share/sbom"), 0o755),
        (sbom, 0o644),
        (owned.clone(), 0o755),
        (owned.join("data"), 0o750),
    ] {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(io)?;
    }
    let size = size + list.len() as u64;
    match largest.filter(|largest| size >= *largest) {
        None => Ok(()),
        Some(largest) => Err(format!(
            "the image would have {size} octets, {largest} is too much"
        )),
    }
}

/// The `Containerfile` over `folder`. Gives the image's id.
fn assemble(folder: &Path, wanted: &Wanted, source: &Source) -> Result<String, String> {
    let mut build = builder(wanted)?;
    build.args(["build", "--target", "prebuilt"]);
    for (name, value) in [("REVISION", &source.revision), ("CREATED", &source.time()?)] {
        build.args(["--build-arg", &format!("{name}={value}")]);
    }
    if let Some(url) = &wanted.source {
        // Not in the Containerfile: where nobody says it, there is no label, and not an empty one.
        let documentation = format!("{url}#readme");
        for (name, value) in [("source", url), ("url", url), ("documentation", &documentation)] {
            build.args(["--label", &format!("org.opencontainers.image.{name}={value}")]);
        }
    }
    build.args(["--timestamp", &source.epoch.to_string()]);
    // What builds it is no part of it.
    build.args(["--squash", "--format", "oci"]);
    if build.get_program() == "buildah" {
        // podman keeps no layers with --squash anyway, and says in a label which version of it this was.
        build.args(["--layers=false", "--identity-label=false"]);
    }
    build.args(["--quiet", "--tag", &wanted.tag, "--file"]);
    build.arg(root().join("Containerfile")).arg(folder);
    output(&mut build)
}

/// As a file that `skopeo copy`, `podman load` and `docker load` take.
fn save(wanted: &Wanted, archive: &Path) -> Result<(), String> {
    let _ = std::fs::remove_file(archive);
    let mut push = builder(wanted)?;
    push.args(["push", "--quiet", &wanted.tag]);
    push.arg(format!("oci-archive:{}:{}", archive.display(), wanted.tag));
    output(&mut push).map(drop)
}

/// buildah, or podman, which is the same inside.
fn builder(wanted: &Wanted) -> Result<Command, String> {
    let programs = wanted
        .builder
        .as_deref()
        .map_or(vec!["buildah", "podman"], |program| vec![program]);
    programs
        .into_iter()
        .find(|program| crate::run::quietly(program, &["--version"]))
        .map(Command::new)
        .ok_or("buildah and podman are missing; with docker: `docker build --file Containerfile .`".into())
}

/// What a command says, which has to succeed.
fn output(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} ended with {}: {said}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{LARGEST, largest, lay_out};

    #[test]
    fn what_ships_has_less_than_25_mib() {
        assert_eq!(largest("dist"), Some(25 << 20));
        let folder = tempfile::tempdir().unwrap();
        let (binary, files) = (folder.path().join("program"), folder.path().join("files"));
        let lays_out = |size, profile| {
            // Nothing but zeroes, of which the disk keeps none.
            let file = std::fs::File::create(&binary).unwrap();
            file.set_len(size).unwrap();
            lay_out(&binary, "{}", &files, largest(profile))
        };
        assert_eq!(lays_out(LARGEST - 3, "dist"), Ok(()));
        // With the list, which has two octets here.
        let error = lays_out(LARGEST - 2, "dist").expect_err("too large");
        assert_eq!(
            error,
            "the image would have 26214400 octets, 26214400 is too much"
        );
        assert_eq!(lays_out(LARGEST, "release"), Ok(()));
    }
}
