//! The folder of captured mail: a Maildir. Only messages that are shown are read, and no more of one than [`LONGEST`].

use crate::error::ApiError;
use crate::router::Shared;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Most octets of a message that are read to show it.
pub(super) const LONGEST: u64 = 32 << 20;

/// Names of messages, newest first.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = ["new", "cur"]
        .iter()
        .filter_map(|part| std::fs::read_dir(folder.join(part)).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort_by_key(|name| (std::cmp::Reverse(second_of(name)), name.clone()));
    names
}

/// When a message came: a Maildir's names begin with it.
pub(super) fn second_of(name: &str) -> i64 {
    name.split('.')
        .next()
        .and_then(|second| second.parse().ok())
        .unwrap_or(0)
}

/// The file of a message. A name is a name, never a way elsewhere.
pub(super) fn place(folder: &Path, name: &str) -> Result<PathBuf, ApiError> {
    let nothing = || ApiError::not_found("there is no such message: it was deleted");
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        return Err(nothing());
    }
    let mut places = ["new", "cur"].iter().map(|part| folder.join(part).join(name));
    places.find(|place| place.is_file()).ok_or_else(nothing)
}

/// At most so many octets of a message, and its size.
pub(super) fn read(folder: &Path, name: &str, most: u64) -> Result<(Vec<u8>, u64), ApiError> {
    let place = place(folder, name)?;
    let failed =
        |error: std::io::Error| ApiError::new(500, "storage", format!("{name} cannot be read: {error}"));
    let file = std::fs::File::open(place).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut octets = Vec::new();
    file.take(most).read_to_end(&mut octets).map_err(failed)?;
    Ok((octets, size))
}

pub(super) async fn whole(shared: &Shared, name: String) -> Result<(Vec<u8>, u64), ApiError> {
    let folder = shared.rooms.captured();
    off_the_reactor(move || read(&folder, &name, LONGEST)).await
}

pub(super) async fn off_the_reactor<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| {
        Err(ApiError::new(
            500,
            "internal",
            "reading broke off; the log may say why",
        ))
    })
}

pub(super) fn delete(folder: &Path, names: Vec<String>) -> Result<(), ApiError> {
    for name in names {
        match std::fs::remove_file(place(folder, &name)?) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(ApiError::new(
                    500,
                    "storage",
                    format!("{name} cannot be deleted: {error}"),
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn folder_with(names: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("new")).unwrap();
        for (name, text) in names {
            std::fs::write(folder.path().join("new").join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        let folder = folder_with(&[("5.a", "Subject: x\r\n\r\n")]);
        std::fs::write(folder.path().join("secret"), "x").unwrap();
        for name in ["../secret", "", ".", "..", "a/../../secret", "new/5.a", "5.a\0"] {
            assert!(place(folder.path(), name).is_err(), "{name:?}");
        }
        assert!(place(folder.path(), "5.a").is_ok());
        delete(folder.path(), vec!["5.a".into()]).unwrap();
        assert!(place(folder.path(), "5.a").is_err());
    }
}
