//! How the process ends: the codes of sysexits, and a message for the operator.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// Exit codes, as in `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// The command line is wrong.
    Usage = 64,
    /// A message, or an address in it, is wrong.
    Data = 65,
    /// A recipient does not exist.
    NoUser = 67,
    /// A server or an address is not available.
    Unavailable = 69,
    /// Reading or writing failed.
    Io = 74,
    /// Not now; worth another try.
    Temporary = 75,
    /// The server does not permit it.
    NoPermission = 77,
    /// The configuration is wrong.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// Empty when everything was printed already.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Display) -> Self {
        Failure {
            exit,
            message: message.to_string(),
        }
    }

    /// Tells the operator, on standard error.
    pub(crate) fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            // Without standard error the code has to do.
            let _ = writeln!(std::io::stderr(), "smtp-server: {}", self.message);
        }
        self.exit.into()
    }
}
