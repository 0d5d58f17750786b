//! The programs that tests and benchmarks talk to: Debian packages, installed
//! when missing. Their services are not started; tests start their own.

use crate::run::{quietly, succeeds, target};
use std::process::Command;

/// A Debian package and a file that it brings.
const PEERS: [(&str, &str); 24] = [
    ("postfix", "/usr/sbin/smtp-sink"),
    ("dovecot-core", "/usr/sbin/dovecot"),
    ("dovecot-lmtpd", "/usr/lib/dovecot/lmtp"),
    ("postgresql", "/usr/lib/postgresql"),
    ("pgbouncer", "/usr/sbin/pgbouncer"),
    ("faketime", "/usr/bin/faketime"),
    ("swaks", "/usr/bin/swaks"),
    ("curl", "/usr/bin/curl"),
    ("iproute2", "/usr/sbin/ip"),
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
];

/// From the Python Package Index: a folder, what it has to hold, and the packages.
const PYTHON: [(&str, &str, &[&str]); 5] = [
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
];

/// Installs what is missing; needs root, or sudo without a password.
pub(crate) fn install() -> Result<bool, String> {
    Ok(debian_packages()? && python_packages()?)
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
