//! What suspensions keep waiting, and how it is let go: the same in every store.
//!
//! Nothing is looked for when a suspension begins: what it is about is parked as it comes by, marked and due when the suspension ends. Its end
//! looks at what is parked only, a portion at a time.

use crate::message::MailOptions;
use crate::operator::{Suspension, SuspensionKind};
use crate::store::StoreError;
use async_trait::async_trait;
use jiff::Timestamp;
use smtp::Address;

/// Recipients in a portion: looked at by one question, made due by one change.
pub(crate) const PORTION: usize = 500;

/// A recipient: its message's key and its place in it.
pub(crate) type Place = (i64, i32);
/// Before all of them.
const FIRST: Place = (i64::MIN, 0);

/// A parked recipient, as far as suspensions look at it.
pub(crate) struct Parked {
    pub(crate) place: Place,
    /// Lower case.
    pub(crate) domain: String,
    /// `None` is `<>`, or cannot be read.
    pub(crate) sender: Option<Address>,
    pub(crate) account: Option<String>,
}

/// How a store does each step.
#[async_trait]
pub(crate) trait Parking: Sync {
    /// Every suspension.
    async fn all(&self) -> Result<Vec<Suspension>, StoreError>;
    /// Ends one, durably; `false` when there is none of that kind and name.
    async fn end(&self, kind: SuspensionKind, name: &str) -> Result<bool, StoreError>;
    /// The next parked recipients behind a place, in their order, up to [`PORTION`]; none at the end.
    async fn next_parked(&self, after: Place) -> Result<Vec<Parked>, StoreError>;
    /// Makes those of them due that are parked still. Gives how many.
    async fn let_go(&self, places: Vec<Place>, now: Timestamp) -> Result<u64, StoreError>;
}

/// Ends a suspension, and makes due what it kept waiting; see [`Store::resume`](crate::Store::resume).
pub(crate) async fn resume(
    store: &impl Parking,
    kind: SuspensionKind,
    name: &str,
    now: Timestamp,
) -> Result<Option<u64>, StoreError> {
    let waiting = Waiting::of(store, kind, name).await?;
    match store.end(kind, name).await? {
        true => waiting.let_go(store, now).await.map(Some),
        false => Ok(None),
    }
}

/// Makes due what a suspension that has ended keeps waiting all the same; see [`Store::unpark`](crate::Store::unpark).
pub(crate) async fn unpark(
    store: &impl Parking,
    kind: SuspensionKind,
    name: &str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let waiting = Waiting::of(store, kind, name).await?;
    match waiting.is_suspended() {
        true => Ok(0),
        false => waiting.let_go(store, now).await,
    }
}

/// How many recipients a suspension keeps waiting; see [`Store::parked`](crate::Store::parked).
pub(crate) async fn count(store: &impl Parking, kind: SuspensionKind, name: &str) -> Result<u64, StoreError> {
    let waiting = Waiting::of(store, kind, name).await?;
    let (mut count, mut at) = (0, Some(FIRST));
    while let Some(after) = at {
        let (places, next) = waiting.portion(store, after).await?;
        count += places.len() as u64;
        at = next;
    }
    Ok(count)
}

/// What waits for one suspension.
struct Waiting<'w> {
    kind: SuspensionKind,
    name: &'w str,
    /// All that there are; this one among them, if it has not ended.
    all: Vec<Suspension>,
}

impl<'w> Waiting<'w> {
    async fn of(store: &impl Parking, kind: SuspensionKind, name: &'w str) -> Result<Self, StoreError> {
        let all = store.all().await?;
        Ok(Waiting { kind, name, all })
    }

    fn is_suspended(&self) -> bool {
        let is_it = |one: &Suspension| (one.kind, &*one.name) == (self.kind, self.name);
        self.all.iter().any(is_it)
    }

    /// Makes due what waits for it, and nothing that waits for another. Gives how many recipients that were.
    async fn let_go(&self, store: &impl Parking, now: Timestamp) -> Result<u64, StoreError> {
        let (mut touched, mut at) = (0, Some(FIRST));
        while let Some(after) = at {
            let (places, next) = self.portion(store, after).await?;
            if !places.is_empty() {
                touched += store.let_go(places, now).await?;
            }
            at = next;
        }
        Ok(touched)
    }

    /// Of the next portion of all that is parked what waits for this one, and behind which to go on; `None` at the end.
    async fn portion(
        &self,
        store: &impl Parking,
        after: Place,
    ) -> Result<(Vec<Place>, Option<Place>), StoreError> {
        let portion = store.next_parked(after).await?;
        let next = portion.last().map(|last| last.place);
        let places = portion.into_iter().filter_map(|one| self.keeps(one));
        Ok((places.collect(), next))
    }

    fn keeps(&self, parked: Parked) -> Option<Place> {
        let options = MailOptions {
            account: parked.account,
            ..MailOptions::default()
        };
        let (whose, sender) = ((self.kind, self.name), parked.sender.as_ref());
        Suspension::keeps(whose, &self.all, sender, &options, &parked.domain).then_some(parked.place)
    }
}
