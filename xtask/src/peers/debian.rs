//! Debian packages, installed when missing. Their services are not started.

use crate::run::{quietly, succeeds};
use std::path::Path;
use std::process::Command;

/// A package and a file that it brings.
pub(super) type Package = (&'static str, &'static str);

/// Installs those of these packages that are missing; needs root, or sudo without a password.
pub(super) fn install(packages: &[Package]) -> Result<bool, String> {
    let missing = missing(packages);
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
    let left = self::missing(packages);
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

fn missing(packages: &[Package]) -> Vec<&'static str> {
    packages
        .iter()
        .filter(|(_, file)| !Path::new(file).exists())
        .map(|(package, _)| *package)
        .collect()
}
