//! `check`: what `run` would find wrong with the configuration, without starting anything.

use crate::cli::CheckArgs;
use crate::exit::{Exit, Failure};
use crate::farewell;
use crate::output::{Output, print, warn};
use crate::people::Plan;
use crate::storage;
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use smtp_config::{Config, ConfigErrors, Loaded};
use smtp_dkim::{Identity, Publication, Verdict};
use smtp_export::Target;
use smtp_observe::Observer;
use smtp_receive::{CertificateInfo, check_certificates};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Seconds before a certificate's end at which it is warned of.
const SOON: i64 = 14 * 86_400;

/// Longest time for all questions to DNS.
const DNS_PATIENCE: Duration = Duration::from_secs(10);

/// What was found.
struct Found {
    configuration: Result<Loaded, ConfigErrors>,
    certificates: Vec<Result<CertificateInfo, String>>,
    /// What is wrong with accounts, keys, tokens, and where spans go.
    rooms: Option<String>,
    /// What DNS says of the declared keys that it should not. No fault of the configuration.
    dkim: Vec<String>,
    /// What is missing in this place for what a pod does that is scaled away. No fault of the configuration either.
    pod: Vec<String>,
}

pub(crate) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let found = Found::look(args);
    match args.output {
        Output::Json => print(&as_json(&found))?,
        Output::Table => print_text(&found)?,
    }
    if found.is_good() {
        return Ok(());
    }
    // Everything has been said.
    Err(Failure::new(Exit::Config, ""))
}

impl Found {
    fn look(args: &CheckArgs) -> Found {
        let configuration = Config::load(&args.sources.sources());
        let mut found = Found {
            configuration,
            certificates: Vec::new(),
            rooms: None,
            dkim: Vec::new(),
            pod: Vec::new(),
        };
        if let Ok(loaded) = &found.configuration {
            found.certificates = check_certificates(&loaded.config);
            found.pod = farewell::warnings(&loaded.config);
            let mut faults = Vec::new();
            match Plan::read(&loaded.config, "") {
                Ok(plan) => found.dkim = unpublished(&plan.keys(), &loaded.config),
                Err(people) => faults.push(people),
            }
            faults.extend(Target::new(&loaded.config).err());
            faults.extend(storage::database(&loaded.config).err());
            found.rooms = Some(faults.join("\n")).filter(|faults| !faults.is_empty());
        }
        found
    }

    fn is_good(&self) -> bool {
        self.configuration.is_ok() && self.rooms.is_none() && self.certificates.iter().all(Result::is_ok)
    }
}

/// The declared keys whose signatures receivers could not verify, each with the reason.
fn unpublished(keys: &[Arc<Identity>], config: &Config) -> Vec<String> {
    if keys.is_empty() {
        return Vec::new();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else {
        return vec!["DNS cannot be asked for DKIM records: no thread can be started".into()];
    };
    let ask = async {
        let mut warnings = Vec::new();
        for key in keys {
            let name = key.record_name();
            match smtp_deliver::txt_records(&config.dns.servers, &name, Observer::silent()).await {
                Err(reason) => warnings.push(format!(
                    "{name}: not known whether the key is published: {reason}"
                )),
                Ok(records) => match Publication::of(&records, key.key()) {
                    Publication::One(Verdict::Matches) => {}
                    publication => warnings.push(format!("{name}: {publication}")),
                },
            }
        }
        warnings
    };
    let late = || vec!["DNS did not answer in time whether the DKIM keys are published".into()];
    runtime.block_on(async { timeout(DNS_PATIENCE, ask).await.unwrap_or_else(|_| late()) })
}

fn print_text(found: &Found) -> Result<(), Failure> {
    let loaded = match &found.configuration {
        Ok(loaded) => loaded,
        Err(errors) => {
            warn(&errors.warnings);
            return print(&format!("{errors}\n"));
        }
    };
    warn(&loaded.warnings);
    warn(&expiring(&found.certificates));
    warn(&found.dkim);
    warn(&found.pod);
    let mut text = String::new();
    for certificate in &found.certificates {
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
    if let Some(faults) = &found.rooms {
        text += &format!("{faults}\n");
    }
    if found.is_good() {
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
    let (mut warnings, mut errors) = match &found.configuration {
        Ok(loaded) => (loaded.warnings.clone(), Vec::new()),
        Err(errors) => {
            let error =
                |e: &smtp_config::ConfigError| json!({"source": e.source, "key": e.key, "reason": e.reason});
            (errors.warnings.clone(), errors.errors.iter().map(error).collect())
        }
    };
    warnings.extend(expiring(&found.certificates));
    warnings.extend_from_slice(&found.dkim);
    warnings.extend_from_slice(&found.pod);
    let unusable = found.certificates.iter().filter_map(|one| one.as_ref().err());
    errors.extend(unusable.map(|reason| json!({"source": "file", "key": "tls", "reason": reason})));
    let faults = found.rooms.iter().flat_map(|faults| faults.lines());
    errors.extend(faults.map(|reason| json!({"source": "file", "key": "", "reason": reason})));
    let certificates: Vec<Json> = found
        .certificates
        .iter()
        .flatten()
        .map(certificate_as_json)
        .collect();
    format!(
        "{}\n",
        json!({"valid": found.is_good(), "errors": errors, "warnings": warnings, "certificates": certificates})
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
