//! How much there is of something, or is done at once, at most: the same in every store, as the contracts name it.

/// Recipients in one claim, whatever was asked for: a claim is one transaction.
pub(crate) const CLAIMED: usize = 10_000;
/// Messages in one change of an operator's, or in one claim of those that he means: others wait no longer than these take.
pub(crate) const OPERATED: usize = 500;
/// Lines on a page of a listing.
pub(crate) const LISTED: usize = 1000;
/// Recipients in one line of a listing.
pub(crate) const LISTED_RECIPIENTS: i64 = 100;
/// What is due is counted up to so many recipients: more than the largest group of servers is wanted for, and few milliseconds' work
/// (`docs/performance.md` has them).
pub(crate) const DUE: u32 = 50_000;
/// Suspensions: each new message is compared with all.
pub(crate) const SUSPENSIONS: i64 = 1000;
/// Tokens of the admin API: each that is shown is compared with all.
pub(crate) const TOKENS: i64 = 1000;
/// Records of the audit trail that are kept; older ones go.
pub(crate) const AUDITED: i64 = 100_000;
/// Records on a page of it.
pub(crate) const AUDITED_PAGE: usize = 1000;
/// Domains that are told apart in a shape of the queue; the others are in its total only.
pub(crate) const SHAPED: usize = 10_000;
