//! What commands print.

use crate::exit::{Exit, Failure};
use jiff::Timestamp;
use serde_json::Value as Json;
use std::io::{ErrorKind, Write};

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// A JSON object a line.
    Json,
}

/// Writes to standard output. A reader that went away, as `head` does, is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_octets(text.as_bytes())
}

/// Writes to standard output what may be no text.
pub(crate) fn print_octets(octets: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(octets).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Io,
            format_args!("cannot write to standard output: {e}"),
        )),
        _ => Ok(()),
    }
}

/// An entry as it is printed.
pub(crate) fn one(entry: &Json, output: Output, table: fn(&Json, Timestamp) -> String) -> String {
    match output {
        Output::Json => format!("{entry}\n"),
        Output::Table => table(entry, Timestamp::now()),
    }
}

/// Writes a line to standard error, where what is no data goes.
pub(crate) fn remark(line: &str) {
    // Nobody reads it when this fails.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// What was ignored in the configuration.
pub(crate) fn warn(warnings: &[String]) {
    for warning in warnings {
        remark(&format!("warning: {warning}"));
    }
}

/// Text that strangers wrote, harmless for a terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
