//! `check`: what `run` would find wrong with the configuration, without starting anything.

use crate::cli::CheckArgs;
use crate::exit::{Exit, Failure};
use crate::output::{Output, print, warn};
use serde_json::json;
use smtp_config::{Config, ConfigErrors, Loaded};

pub(crate) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let result = Config::load(&args.sources.sources());
    match args.output {
        Output::Json => print(&as_json(&result))?,
        Output::Table => match &result {
            Ok(loaded) => {
                warn(&loaded.warnings);
                print(&valid(loaded))?;
            }
            Err(errors) => {
                warn(&errors.warnings);
                print(&format!("{errors}\n"))?;
            }
        },
    }
    // Everything has been said.
    result.map(|_| ()).map_err(|_| Failure::new(Exit::Config, ""))
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

fn as_json(result: &Result<Loaded, ConfigErrors>) -> String {
    let (warnings, errors) = match result {
        Ok(loaded) => (loaded.warnings.clone(), Vec::new()),
        Err(errors) => {
            let error =
                |e: &smtp_config::ConfigError| json!({"source": e.source, "key": e.key, "reason": e.reason});
            (errors.warnings.clone(), errors.errors.iter().map(error).collect())
        }
    };
    format!(
        "{}\n",
        json!({"valid": result.is_ok(), "errors": errors, "warnings": warnings})
    )
}
