//! `check`: what `run` would find wrong with the configuration, without starting anything.

use crate::cli::CheckArgs;
use crate::exit::{Exit, Failure};
use crate::output::{Output, print, warn};
use crate::people::Plan;
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use smtp_config::{Config, ConfigErrors, Loaded};
use smtp_receive::{CertificateInfo, check_certificates};
use std::fmt::Write;

/// Seconds before a certificate's end at which it is warned of.
const SOON: i64 = 14 * 86_400;

/// The configuration, and the certificates when it can be read.
type Found = (Result<Loaded, ConfigErrors>, Vec<Result<CertificateInfo, String>>);

pub(crate) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let result = Config::load(&args.sources.sources());
    let mut certificates = result
        .as_ref()
        .map_or_else(|_| Vec::new(), |loaded| check_certificates(&loaded.config));
    // What the files of people hold is told beside them.
    let plan = result.as_ref().map(|loaded| Plan::read(&loaded.config, ""));
    certificates.extend(plan.ok().and_then(Result::err).map(Err));
    let found = (result, certificates);
    match args.output {
        Output::Json => print(&as_json(&found))?,
        Output::Table => print_text(&found)?,
    }
    if is_good(&found) {
        return Ok(());
    }
    // Everything has been said.
    Err(Failure::new(Exit::Config, ""))
}

fn is_good((configuration, certificates): &Found) -> bool {
    configuration.is_ok() && certificates.iter().all(Result::is_ok)
}

fn print_text(found: &Found) -> Result<(), Failure> {
    let (configuration, certificates) = found;
    let loaded = match configuration {
        Ok(loaded) => loaded,
        Err(errors) => {
            warn(&errors.warnings);
            return print(&format!("{errors}\n"));
        }
    };
    warn(&loaded.warnings);
    warn(&expiring(certificates));
    let mut text = String::new();
    for certificate in certificates {
        // Writing to a String does not fail.
        let _ = match certificate {
            Ok(good) => writeln!(
                text,
                "certificate {} ({}): {}, expires {}",
                good.certificate,
                good.cert_file.display(),
                good.names.join(" "),
                good.expires
            ),
            Err(error) => writeln!(text, "{error}"),
        };
    }
    if is_good(found) {
        text += &valid(loaded);
    }
    print(&text)
}

fn expiring(certificates: &[Result<CertificateInfo, String>]) -> Vec<String> {
    let now = Timestamp::now();
    let soon = |one: &&CertificateInfo| one.expires.as_second() - now.as_second() < SOON;
    certificates
        .iter()
        .flatten()
        .filter(soon)
        .map(|one| {
            let tense = if one.expires < now { "expired" } else { "expires" };
            format!(
                "{}: the certificate {tense} {}",
                one.cert_file.display(),
                one.expires
            )
        })
        .collect()
}

fn valid(loaded: &Loaded) -> String {
    let file = match &loaded.file {
        Some(path) => path.display().to_string(),
        None => "no file".into(),
    };
    format!(
        "the configuration is valid ({file}, profile {})\n",
        loaded.config.profile.name()
    )
}

fn as_json(found: &Found) -> String {
    let (configuration, certificates) = found;
    let (mut warnings, mut errors) = match configuration {
        Ok(loaded) => (loaded.warnings.clone(), Vec::new()),
        Err(errors) => {
            let error =
                |e: &smtp_config::ConfigError| json!({"source": e.source, "key": e.key, "reason": e.reason});
            (errors.warnings.clone(), errors.errors.iter().map(error).collect())
        }
    };
    warnings.extend(expiring(certificates));
    let unusable = certificates.iter().filter_map(|one| one.as_ref().err());
    errors.extend(unusable.map(|reason| json!({"source": "file", "key": "tls", "reason": reason})));
    let certificates: Vec<Json> = certificates.iter().flatten().map(certificate_as_json).collect();
    format!(
        "{}\n",
        json!({"valid": is_good(found), "errors": errors, "warnings": warnings, "certificates": certificates})
    )
}

fn certificate_as_json(one: &CertificateInfo) -> Json {
    json!({
        "certificate": one.certificate,
        "cert_file": one.cert_file.display().to_string(),
        "names": one.names,
        "expires": one.expires.to_string(),
    })
}
