//! What the tests of the packaging are made of: manifests and chart as they are rendered ([`render`]),
//! and the programs that judge them ([`tools`]).
//!
//! As in `blackbox`, everything here panics when something is missing or does not happen in time.

pub mod render;
pub mod tools;
