//! The server of the version after this one, as far as a rolling update can tell: the same program, which knows a migration more than
//! `smtp-server` does, or with `NEXT_VERSIONS=2` two.

use std::process::ExitCode;

const FURTHER: &[&str] = &[
    include_str!("next_version_1.sql"),
    include_str!("next_version_2.sql"),
];

fn main() -> ExitCode {
    let wanted = std::env::var("NEXT_VERSIONS").map_or(Ok(1), |text| text.parse());
    let further = wanted.ok().and_then(|count: usize| FURTHER.get(..count));
    smtp_queue::postgres::play_next_version(further.expect("NEXT_VERSIONS is 1 or 2"));
    smtp_server::main()
}
