//! `config show`, `config schema`, `config reference`.

use crate::cli::{ConfigCommand, SourceArgs};
use crate::exit::Failure;
use crate::output::{Output, print, remark};
use crate::sources::load;
use smtp_config::{Sources, json_schema, reference_markdown, show_json, show_table};

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
    let sources = if defaults { only_profile(sources) } else { sources };
    let loaded = load(&sources)?;
    loaded
        .warnings
        .iter()
        .for_each(|warning| remark(&format!("warning: {warning}")));
    match output {
        Output::Table => print(&show_table(&loaded)),
        Output::Json => print(&show_json(&loaded)),
    }
}

/// What decides the profile, and nothing else.
fn only_profile(sources: Sources) -> Sources {
    Sources {
        environment: sources
            .environment
            .into_iter()
            .filter(|(name, _)| name.starts_with("SMTP_PROFILE"))
            .collect(),
        flags: sources
            .flags
            .into_iter()
            .filter(|flag| flag.key == "profile")
            .collect(),
        ..Sources::default()
    }
}
