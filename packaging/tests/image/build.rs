//! How it is built.

use blackbox::tools::{program, run};
use packaging::image::{NAME, Storage, files, said, xtask};
use packaging::tools::{peer, root};
use std::path::Path;
use std::process::Command;

/// The digest of an image in a storage, from the file that it is carried away in.
fn digest(storage: &Storage, files: &Path, epoch: &str) -> String {
    let archive = storage.path().join("image.tar");
    let mut image = storage.used_by(xtask());
    image.env("SOURCE_DATE_EPOCH", epoch);
    image.arg("image").arg("--files").arg(files);
    run(image.arg("--archive").arg(&archive));
    let archive = format!("oci-archive:{}", archive.display());
    said(
        storage
            .skopeo()
            .args(["inspect", "--format", "{{.Digest}}", &archive]),
    )
}

#[test]
fn two_builds_have_one_digest() {
    // Another storage, another folder, other times of the files, another umask: nothing of that is in it.
    let (first, second) = (Storage::new(), Storage::new());
    let elsewhere = second.path().join("a longer path/files");
    let script = "umask 077 && mkdir -p \"$1\" && cp -R \"$0/.\" \"$1/\" && find \"$1\" -type f -exec touch -d 2001-02-03 {} +";
    let mut copy = Command::new("/bin/sh");
    copy.args(["-c", script]).arg(files()).arg(&elsewhere);
    run(&mut copy);
    // `cp` under that umask has changed the modes, which are part of an image: they are set as xtask sets them.
    let script = "cd \"$0\" && find . ! -type l -printf '%m %p\\0' | while IFS= read -r -d '' line; do chmod \"${line%% *}\" \"$1/${line#* }\"; done";
    let mut modes = Command::new("/bin/bash");
    run(modes.args(["-c", script]).arg(files()).arg(&elsewhere));
    let one = digest(&first, &files(), "1700000000");
    assert!(one.starts_with("sha256:"), "{one}");
    assert_eq!(one, digest(&second, &elsewhere, "1700000000"));
    // The commit's time is in it, so that this would have been seen.
    assert_ne!(one, digest(&first, &files(), "1700000001"));
}

#[test]
fn podman_builds_it_too() {
    let storage = Storage::new();
    let mut image = storage.used_by(xtask());
    image.args(["image", "--builder", "podman", "--tag", NAME, "--files"]);
    run(image.arg(files()));
    let config = said(storage.podman().args([
        "image",
        "inspect",
        NAME,
        "--format",
        "{{.Config.User}} {{.Config.Entrypoint}}",
    ]));
    assert_eq!(config, "1000:1000 [/smtp-server]");
}

#[test]
fn hadolint_has_nothing_to_say() {
    let mut hadolint = program(&peer("hadolint").join("bin/hadolint").display().to_string());
    run(hadolint.arg(root().join("Containerfile")));
}

#[test]
fn the_compiler_is_the_oldest_that_the_workspace_takes() {
    let read = |file: &str| std::fs::read_to_string(root().join(file)).expect(file);
    let containerfile = read("Containerfile");
    let workspace: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let package = |key: &str| {
        let value = &workspace["workspace"]["package"][key];
        value.as_str().expect("text").to_owned()
    };
    let rust = format!("docker.io/library/rust:{}.", package("rust-version"));
    assert!(containerfile.contains(&rust), "{rust}");
}

#[test]
fn a_build_from_source_gets_what_it_needs_and_no_more() {
    // What docker and buildah send of this repository, as they read `.dockerignore`.
    let storage = Storage::new();
    let all = storage.path().join("Containerfile.context");
    std::fs::write(&all, "FROM scratch\nCOPY . /\n").expect("a Containerfile");
    let mut build = storage.buildah();
    build.args(["build", "--quiet", "--tag", "localhost/context", "--file"]);
    run(build.arg(&all).arg(root()));
    let container = said(
        storage
            .buildah()
            .args(["from", "--pull-never", "localhost/context"]),
    );
    let mounted = said(storage.buildah().args(["mount", &container]));
    let mounted = Path::new(&mounted);
    for needed in [
        ".cargo/config.toml",
        "Cargo.lock",
        "Cargo.toml",
        "crates/server/src/program.rs",
        "packaging/Cargo.toml",
        "tests/Cargo.toml",
        "xtask/src/image.rs",
    ] {
        let (there, here) = (
            std::fs::read(mounted.join(needed)),
            std::fs::read(root().join(needed)),
        );
        assert_eq!(there.expect(needed), here.expect(needed), "{needed}");
    }
    let names = std::fs::read_dir(mounted).expect("the context").flatten();
    let mut names: Vec<String> = names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let workspace = [
        ".cargo",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "crates",
        "packaging",
        "tests",
        "xtask",
    ];
    assert_eq!(names, workspace);
    run(storage.buildah().args(["rm", &container]));
}

#[test]
fn a_build_from_source_ends_in_the_same_image() {
    // In place of Rust's image one whose `cargo` copies the files that are there: the stages are tried, not the
    // compiler. What runs is a program without libraries, as the server is.
    let storage = Storage::new();
    let rust = storage.path().join("rust");
    std::fs::create_dir(&rust).expect("a folder");
    for part in ["rootfs", "owned"] {
        run(Command::new("cp")
            .arg("-a")
            .arg(files().join(part))
            .arg(rust.join(part)));
    }
    run(Command::new("cp")
        .args(["/bin/busybox"])
        .arg(rust.join("busybox")));
    let cargo =
        "#!/bin/sh\n[ \"$*\" = 'xtask image --files-only /' ] && [ -f Cargo.lock ] && cp -a /files/. /\n";
    std::fs::write(rust.join("cargo"), cargo).expect("cargo");
    let text = "FROM scratch\n\
        COPY busybox /bin/sh\nCOPY busybox /bin/cp\n\
        COPY --chmod=755 cargo /bin/cargo\nCOPY rootfs /files/rootfs\nCOPY owned /files/owned\n";
    let base = rust.join("Containerfile");
    std::fs::write(&base, text).expect("a Containerfile");
    let mut build = storage.buildah();
    build.args([
        "build",
        "--quiet",
        "--layers=false",
        "--tag",
        "localhost/rust",
        "--file",
    ]);
    run(build.arg(&base).arg(&rust));
    // As the page says it, but for the image that nobody here can fetch.
    let mut build = storage.buildah();
    build.args([
        "build",
        "--quiet",
        "--build-arg",
        "RUST=localhost/rust",
        "--tag",
        NAME,
        "--file",
    ]);
    run(build.arg(root().join("Containerfile")).arg(root()));
    // Nothing in the context says which commit it is of.
    let mut inspect = storage.podman();
    let revision = "{{index .Config.Labels \"org.opencontainers.image.revision\"}}";
    let revision = said(inspect.args(["image", "inspect", NAME, "--format", revision]));
    assert_eq!(revision, "unknown");
    let container = said(storage.buildah().args(["from", "--pull-never", NAME]));
    let mounted = said(storage.buildah().args(["mount", &container]));
    let sums = |folder: &Path| {
        let script =
            "cd \"$0\" && find . -type f -print0 | sort -z | xargs -0 sha256sum && stat -c '%n %a %u' data";
        said(Command::new("/bin/sh").args(["-c", script]).arg(folder))
    };
    let from_source = sums(Path::new(&mounted));
    run(storage.buildah().args(["rm", &container]));
    storage.build(NAME);
    let container = said(storage.buildah().args(["from", "--pull-never", NAME]));
    let mounted = said(storage.buildah().args(["mount", &container]));
    assert_eq!(from_source, sums(Path::new(&mounted)));
    run(storage.buildah().args(["rm", &container]));
}
