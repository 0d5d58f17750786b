//! The server of the version after this one, as far as a rolling update can tell: the same program, which knows a migration more than
//! `smtp-server` does, or with `NEXT_VERSIONS=2` two.

use std::process::ExitCode;

const FURTHER: &[&str] = &[include_str!("first.sql"), include_str!("second.sql")];

fn main() -> ExitCode {
    let wanted = std::env::var("NEXT_VERSIONS").map_or(Ok(1), |text| text.parse());
    let Some(further) = wanted.ok().and_then(|count: usize| FURTHER.get(..count)) else {
        return ExitCode::from(64);
    };
    smtp_queue::postgres::play_next_version(further);
    smtp_server::main()
}
