//! What the tests of the packaging are made of: manifests and chart as they are rendered ([`render`]),
//! the programs that judge them ([`tools`]), and a cluster's network to try them in ([`net`]).
//!
//! As in `blackbox`, everything here panics when something is missing or does not happen in time.

pub mod disk;
pub mod image;
pub mod judges;
pub mod kubelet;
pub mod net;
pub mod render;
pub mod semantic;
pub mod tools;
