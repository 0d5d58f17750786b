//! `cargo xtask image`: the container image, the same octets from the same commit.
//!
//! Three steps: the static binary, the files of the image laid out in a folder (`rootfs`, with the list of
//! everything that was linked), and the `Containerfile`'s last stage over that folder. Tests take the same steps,
//! with the profile that the other tests have compiled already.

mod sbom;

use crate::run::{cargo, root, target};
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where in the image the list of what was linked is, and its name beside the image.
const SBOM: &str = "usr/share/sbom/smtp-server.cdx.json";

/// The image stays below it.
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
    twice: bool,
    /// buildah or podman; whichever is there unless given.
    builder: Option<String>,
}

impl Wanted {
    fn read(args: &[String]) -> Result<Self, String> {
        let mut wanted = Wanted {
            profile: "dist".into(),
            tag: format!("localhost/smtp-server:{}", env!("CARGO_PKG_VERSION")),
            archive: None,
            files_only: None,
            files: None,
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
        return twice(&wanted.profile);
    }
    if let Some(folder) = &wanted.files_only {
        files(&wanted.profile, folder)?;
        return Ok(true);
    }
    let folder = match &wanted.files {
        Some(folder) => folder.clone(),
        None => {
            let folder = target().join("image").join(&wanted.profile);
            files(&wanted.profile, &folder)?;
            folder
        }
    };
    let source = Source::of(&root());
    let id = assemble(&folder, &wanted, &source)?;
    if let Some(archive) = &wanted.archive {
        save(&wanted, archive)?;
    }
    println!("{} {id}", wanted.tag);
    Ok(true)
}

/// The files of an image, as [`run`] puts them together for tests: with the profile of the tests.
pub(crate) fn for_tests() -> Result<PathBuf, String> {
    let folder = target().join("image/release");
    files("release", &folder)?;
    Ok(folder)
}

/// Which commit, and its time.
struct Source {
    revision: String,
    epoch: u64,
}

impl Source {
    /// Of the environment (`SOURCE_DATE_EPOCH`, `REVISION`: a container build has no history), else of git.
    fn of(folder: &Path) -> Self {
        let git = |args: &[&str]| -> Option<String> {
            let output = Command::new("git")
                .arg("-C")
                .arg(folder)
                .args(args)
                .output()
                .ok()?;
            let text = String::from_utf8(output.stdout).ok()?;
            output.status.success().then(|| text.trim().to_owned())
        };
        let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
        let suffix = match changed {
            Some(files) if !files.is_empty() => "-changed",
            _ => "",
        };
        let revision = given("REVISION")
            .or_else(|| Some(git(&["rev-parse", "HEAD"])? + suffix))
            .unwrap_or_default();
        let epoch = given("SOURCE_DATE_EPOCH").or_else(|| git(&["log", "-1", "--format=%ct"]));
        Source {
            revision,
            epoch: epoch.and_then(|epoch| epoch.parse().ok()).unwrap_or(0),
        }
    }

    /// The time as RFC 3339 has it.
    fn time(&self) -> Result<String, String> {
        let date = format!("@{}", self.epoch);
        output(Command::new("date").args(["--utc", "--date", &date, "+%Y-%m-%dT%H:%M:%SZ"]))
    }
}

/// Lays out the files of the image in `folder/rootfs`, those of its user in `folder/owned`, and beside them the list
/// of what was linked.
fn files(profile: &str, folder: &Path) -> Result<(), String> {
    let binary = static_binary(profile)?;
    let (rootfs, owned) = (folder.join("rootfs"), folder.join("owned"));
    let io = |error: std::io::Error| format!("{}: {error}", folder.display());
    for old in [&rootfs, &owned].into_iter().filter(|path| path.exists()) {
        std::fs::remove_dir_all(old).map_err(io)?;
    }
    let sbom = rootfs.join(SBOM);
    for path in [owned.join("data"), rootfs.join("tmp"), sbom.with_file_name("")] {
        std::fs::create_dir_all(path).map_err(io)?;
    }
    std::fs::copy(&binary, rootfs.join("smtp-server")).map_err(io)?;
    for name in ["sendmail", "mailq"] {
        symlink("smtp-server", rootfs.join(name)).map_err(io)?;
    }
    let list = sbom::cyclonedx(&binary, &Source::of(&root()).time()?)?;
    std::fs::write(&sbom, &list).map_err(io)?;
    std::fs::write(folder.join("smtp-server.cdx.json"), &list).map_err(io)?;
    let size = |path: &Path| std::fs::metadata(path).map(|meta| meta.len());
    let size = size(&binary).map_err(io)? + size(&sbom).map_err(io)?;
    // What ships; the one of the tests is compiled faster, and larger.
    if profile != "release" && size >= LARGEST {
        return Err(format!(
            "the image would have {size} octets, {LARGEST} is too much"
        ));
    }
    // Whatever the umask was.
    for (path, mode) in [
        (rootfs.clone(), 0o755),
        (rootfs.join("smtp-server"), 0o755),
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
    Ok(())
}

/// Builds the server without anything that it would have to find when it starts. Only the last step, linking, is
/// another one than that of `cargo build`, so that nothing has to be compiled twice for it.
fn static_binary(profile: &str) -> Result<PathBuf, String> {
    let mut build = cargo(&[
        "rustc",
        "--locked",
        "--package",
        "smtp-server",
        "--bin",
        "smtp-server",
    ]);
    build.args(["--profile", profile]);
    // Who ships it says nothing of his folders. The profile of the tests keeps its flags: with others, everything
    // would be compiled again.
    let shipped = profile != "release";
    if shipped {
        let remapped = remapped()?;
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
    }
    // Static, without symbols; and what is moved in memory at the start is listed in short, which saves a megabyte.
    build.args(["--", "-C", "target-feature=+crt-static", "-C", "strip=symbols"]);
    build.args(["-C", "link-arg=-Wl,-z,pack-relative-relocs"]);
    if !crate::run::succeeds(&mut build)? {
        return Err("the static binary does not build".into());
    }
    let built = target().join(profile).join("smtp-server");
    let binary = target().join("image").join(profile).join("smtp-server");
    let io = |error: std::io::Error| format!("{}: {error}", binary.display());
    std::fs::create_dir_all(binary.with_file_name("")).map_err(io)?;
    std::fs::copy(&built, &binary).map_err(io)?;
    if shipped {
        nothing_of_here(&binary)?;
    }
    Ok(binary)
}

/// Folders of this machine that would be in the binary, and what is there instead. Of two that match, the
/// compiler takes the last.
fn remapped() -> Result<Vec<(String, String)>, String> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let version = output(Command::new("rustc").arg("-vV"))?;
    let commit = version
        .lines()
        .find_map(|line| line.strip_prefix("commit-hash: "))
        .unwrap_or("unknown");
    let mut pairs = vec![
        (root().display().to_string(), "/smtp-server".to_owned()),
        (target().display().to_string(), "/target".to_owned()),
        (
            format!("{sysroot}/lib/rustlib/src/rust"),
            format!("/rustc/{commit}"),
        ),
    ];
    // One folder for each registry or mirror that crates came from.
    let sources = cargo_home().join("registry/src");
    for registry in std::fs::read_dir(&sources).into_iter().flatten().flatten() {
        pairs.push((registry.path().display().to_string(), "/crates".to_owned()));
    }
    Ok(pairs)
}

fn cargo_home() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

/// No path of this machine is in the binary.
fn nothing_of_here(binary: &Path) -> Result<(), String> {
    let content = std::fs::read(binary).map_err(|error| format!("{}: {error}", binary.display()))?;
    let folders = [root(), target(), cargo_home()];
    for folder in folders.iter().filter(|folder| folder.components().count() > 1) {
        let folder = folder.display().to_string();
        // A folder named `/src` proves nothing: only paths below it do.
        let path = format!("{folder}/");
        if let Some(place) = content
            .windows(path.len())
            .position(|found| found == path.as_bytes())
        {
            let around = &content[place..content.len().min(place + 120)];
            return Err(format!(
                "the binary holds a path of this machine: {}",
                String::from_utf8_lossy(around)
            ));
        }
    }
    Ok(())
}

/// The `Containerfile` over `folder`. Gives the image's id.
fn assemble(folder: &Path, wanted: &Wanted, source: &Source) -> Result<String, String> {
    let mut build = builder(wanted)?;
    build.args(["build", "--target", "prebuilt"]);
    for (name, value) in [("REVISION", &source.revision), ("CREATED", &source.time()?)] {
        build.args(["--build-arg", &format!("{name}={value}")]);
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

/// Builds the files of this commit twice, in two folders that have nothing in common, and compares.
fn twice(profile: &str) -> Result<bool, String> {
    let folder = target().join("image/twice");
    let io = |error: std::io::Error| format!("{}: {error}", folder.display());
    let _ = std::fs::remove_dir_all(&folder);
    let mut digests = Vec::new();
    for place in ["a", "a-longer/path"] {
        let place = folder.join(place);
        std::fs::create_dir_all(&place).map_err(io)?;
        let clone = place.join("clone");
        output(
            Command::new("git")
                .args(["clone", "--quiet"])
                .arg(root())
                .arg(&clone),
        )?;
        let files = place.join("files");
        let mut build = cargo(&["xtask", "image", "--profile", profile, "--files-only"]);
        build.arg(&files).current_dir(&clone);
        build
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("CARGO_MANIFEST_DIR");
        if !crate::run::succeeds(&mut build)? {
            return Err("one of the two does not build".into());
        }
        let list = "cd \"$0\" && find rootfs owned -type f -print0 | sort -z | xargs -0 sha256sum";
        digests.push(output(Command::new("sh").args(["-c", list]).arg(&files))?);
    }
    println!("{}", digests[0]);
    let same = digests[0] == digests[1];
    if !same {
        println!("and the second time:\n{}", digests[1]);
    }
    Ok(same)
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
