//! A write that changes nothing: whether changes can be kept now.

use super::commit::{Change, Operation};

/// See `Store::writable`.
pub(super) struct Attest;

impl Operation for Attest {
    type Output = ();
    const NAME: &'static str = "writable";

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<()> {
        // A page that is written as it was goes to the log, and the commit to the disk, all the same.
        change.execute("UPDATE spool SET id = id", [])?;
        Ok(())
    }
}
