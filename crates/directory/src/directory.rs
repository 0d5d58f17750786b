//! The directory while the server runs: the picture in force, and how it is followed by the next.
//!
//! Readers take the picture without waiting. Changes and reloads come one after another; a picture is put in force after
//! what it shows is on stable storage, never before.

use crate::change::{Applied, Change};
use crate::credential::decoy;
use crate::declared::{Cache, Declarations};
use crate::error::DirectoryError;
use crate::shelf::{Contents, Shelf, ShelfError};
use crate::snapshot::{Secrets, Snapshot};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use std::sync::Arc;
use tokio::sync::{Mutex, MutexGuard};

/// How often a change is checked again because another server was faster.
const TRIES: usize = 8;

/// Domains, accounts, aliases, keys: what is declared and what is stored.
#[derive(Debug)]
pub struct Directory {
    shelf: Arc<dyn Shelf>,
    current: ArcSwap<Snapshot>,
    turn: Mutex<Turn>,
}

/// A picture that only has to be put in force.
#[derive(Debug)]
pub struct Prepared<'a> {
    directory: &'a Directory,
    turn: MutexGuard<'a, Turn>,
    drawn: Drawn,
}

impl Prepared<'_> {
    /// Puts it in force. Gives warnings as [`Directory::open`].
    pub fn take(mut self) -> Vec<String> {
        let (next, snapshot, warnings) = self.drawn;
        *self.turn = next;
        self.directory.current.store(Arc::new(snapshot));
        warnings
    }
}

/// What whoever makes the next picture holds.
#[derive(Debug)]
struct Turn {
    /// What is declared alone, without anything stored.
    base: Arc<Snapshot>,
    cache: Cache,
}

/// A picture, what it was drawn from, and warnings.
type Drawn = (Turn, Snapshot, Vec<String>);

impl Directory {
    /// Loads everything. Gives warnings for an operator: what is stored but cannot be used, and why.
    ///
    /// Each declared password takes tens of milliseconds of a core.
    ///
    /// # Errors
    /// Declarations that do not fit together; a shelf that cannot be read.
    pub async fn open(
        shelf: Arc<dyn Shelf>,
        declarations: Declarations,
    ) -> Result<(Arc<Self>, Vec<String>), DirectoryError> {
        let contents = shelf.load().await?;
        let work = move || {
            let secrets = Secrets {
                decoy: decoy()?,
                scram: contents.secret,
            };
            let cache = Cache::new(contents.secret)?;
            draw(&declarations, cache, Arc::new(secrets), contents)
        };
        let (turn, snapshot, warnings) = blocking(work).await?;
        let directory = Directory {
            shelf,
            current: ArcSwap::from_pointee(snapshot),
            turn: Mutex::new(turn),
        };
        Ok((Arc::new(directory), warnings))
    }

    /// The picture in force. Cheap; to be held for one decision, or for as long as one state of things should be seen.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Draws the picture of a new configuration without putting it in force; derives only passwords that are new. Changes
    /// wait until what this gives is taken or dropped.
    ///
    /// # Errors
    /// As [`Directory::open`].
    pub async fn prepare(&self, declarations: Declarations) -> Result<Prepared<'_>, DirectoryError> {
        let turn = self.turn.lock().await;
        let contents = self.shelf.load().await?;
        let (cache, secrets) = (turn.cache.clone(), self.snapshot().secrets.clone());
        let drawn = blocking(move || draw(&declarations, cache, secrets, contents)).await?;
        Ok(Prepared {
            directory: self,
            turn,
            drawn,
        })
    }

    /// Takes a new configuration, whole or not at all. Gives warnings as [`Directory::open`].
    ///
    /// # Errors
    /// As [`Directory::open`]; the picture in force stays.
    pub async fn reload(&self, declarations: Declarations) -> Result<Vec<String>, DirectoryError> {
        Ok(self.prepare(declarations).await?.take())
    }

    /// Loads what is stored again if another server changed it. Gives warnings, or `None` when nothing changed.
    ///
    /// # Errors
    /// [`DirectoryError::Unavailable`]; the picture in force stays.
    pub async fn refresh(&self) -> Result<Option<Vec<String>>, DirectoryError> {
        if self.shelf.revision().await? == self.snapshot().revision {
            return Ok(None);
        }
        let turn = self.turn.lock().await;
        self.load_again(&turn).await.map(Some)
    }

    /// Makes a change: checked, on stable storage, and in force when this returns. It is made to its end even if nobody
    /// awaits it any more.
    ///
    /// # Errors
    /// What is wrong with the change, in words that say what to do; nothing was changed. After
    /// [`DirectoryError::Unavailable`] it may have been made all the same.
    pub async fn apply(self: &Arc<Self>, change: Change) -> Result<Applied, DirectoryError> {
        let directory = Arc::clone(self);
        // A task of its own: were it dropped between storage and picture, the picture would lag behind.
        let done = tokio::spawn(async move { directory.make(change).await }).await;
        done.unwrap_or_else(|error| Err(DirectoryError::Unavailable(error.to_string())))
    }

    async fn make(&self, change: Change) -> Result<Applied, DirectoryError> {
        let now = Timestamp::now();
        let work = move || change.prepare(now).map(|material| (change, material));
        let (change, material) = blocking(work).await?;
        let turn = self.turn.lock().await;
        for _ in 0..TRIES {
            let before = self.snapshot();
            let edit = change.plan(&before, &material, now)?;
            let stored = edit.to_edit().map_err(DirectoryError::Unavailable)?;
            match self.shelf.apply(before.revision, vec![stored]).await {
                Ok(revision) => {
                    let name = edit.name();
                    self.current.store(Arc::new(before.after(vec![edit], revision)));
                    let secret = material.secret;
                    return Ok(Applied {
                        revision,
                        name,
                        secret,
                    });
                }
                Err(ShelfError::Moved) => {
                    self.load_again(&turn).await?;
                }
                Err(error) => {
                    // It may be stored all the same: look, so that the picture does not lag behind.
                    let _ = self.load_again(&turn).await;
                    return Err(error.into());
                }
            }
        }
        Err(ShelfError::Moved.into())
    }

    async fn load_again(&self, turn: &Turn) -> Result<Vec<String>, DirectoryError> {
        let contents = self.shelf.load().await?;
        let base = Arc::clone(&turn.base);
        let (snapshot, warnings) = blocking(move || Ok((*base).clone().with(contents))).await?;
        self.current.store(Arc::new(snapshot));
        Ok(warnings)
    }
}

fn draw(
    declarations: &Declarations,
    mut cache: Cache,
    secrets: Arc<Secrets>,
    contents: Contents,
) -> Result<Drawn, DirectoryError> {
    let accounts = declarations.accounts(&mut cache)?;
    let base = Arc::new(Snapshot::of(declarations, accounts, secrets));
    let (snapshot, mut warnings) = (*base).clone().with(contents);
    warnings.extend(snapshot.doubts(declarations));
    Ok((Turn { base, cache }, snapshot, warnings))
}

/// Work that takes a while, off the reactor.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DirectoryError> + Send + 'static,
) -> Result<T, DirectoryError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(DirectoryError::Unavailable(error.to_string())))
}
