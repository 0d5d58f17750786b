//! `config show`, `config schema`, `config reference`.

use crate::cli::{ConfigCommand, SourceArgs};
use crate::exit::Failure;
use crate::output::{Output, print, warn};
use crate::sources::{load, wrong};
use smtp_config::{Loaded, Sources, json_schema, reference_markdown, show_json, show_table};

pub(crate) fn config(command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Schema => print(&format!("{:#}\n", json_schema())),
        ConfigCommand::Reference => print(&reference_markdown()),
        ConfigCommand::Show {
            sources,
            defaults,
            output,
        } => show(sources, *defaults, *output),
    }
}

fn show(args: &SourceArgs, defaults: bool, output: Output) -> Result<(), Failure> {
    let sources = Sources {
        resolve_files: false,
        ..args.sources()
    };
    let loaded = match defaults {
        true => Loaded::defaults(&sources).map_err(wrong)?,
        false => load(&sources)?,
    };
    warn(&loaded.warnings);
    match output {
        Output::Table => print(&show_table(&loaded)),
        Output::Json => print(&show_json(&loaded)),
    }
}
