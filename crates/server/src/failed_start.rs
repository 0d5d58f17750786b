//! A start that failed: an event of the log, and a message for people on standard error; one of them where both would
//! come out at the same place.

use crate::exit::Failure;
use crate::house::log_settings;
use smtp_config::{Config, Profile, Sources};
use smtp_observe::{Event, MAX_FIELD, Observer};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;

/// The log of a server whose configuration is wrong: as environment and flags want it, else as by default.
pub(crate) fn log(sources: &Sources) -> Observer {
    let mut about_log = Sources::default();
    let variables = sources.environment.iter();
    about_log.environment = variables
        .filter(|(name, _)| name.starts_with("SMTP_LOG"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let flags = sources.flags.iter();
    about_log.flags = flags
        .filter(|flag| flag.key.starts_with("logging."))
        .cloned()
        .collect();
    let config = match Config::load(&about_log) {
        Ok(loaded) => loaded.config,
        Err(_) => Config::defaults(Profile::Development),
    };
    Observer::new(log_settings(&config))
}

/// Tells the log. Gives the failure with what is left to be said on standard error.
pub(crate) fn report(observer: &Observer, mut failure: Failure) -> Failure {
    let one_place = same_file(io::stdout().as_fd(), io::stderr().as_fd());
    if one_place && io::stdout().is_terminal() {
        return failure;
    }
    observer.emit(Event::StartFailed {
        exit: failure.exit as u16,
        reason: &failure.message,
    });
    observer.flush();
    if one_place && failure.message.len() <= MAX_FIELD {
        failure.message.clear();
    }
    failure
}

fn same_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    let identity = |fd: BorrowedFd<'_>| {
        let file = File::from(fd.try_clone_to_owned()?).metadata()?;
        io::Result::Ok((file.dev(), file.ino(), file.rdev()))
    };
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pipe_is_known_by_two_descriptors() {
        let ((_, one), (_, other)) = (io::pipe().unwrap(), io::pipe().unwrap());
        let again = one.try_clone().unwrap();
        assert!(same_file(one.as_fd(), again.as_fd()));
        assert!(!same_file(one.as_fd(), other.as_fd()));
    }
}
