//! The program: [`smtp_server::main`], linked. Nothing is compiled here, so that a second way of linking it, as the
//! image's static binary is, takes a second and not a minute.

use std::process::ExitCode;

fn main() -> ExitCode {
    smtp_server::main()
}
