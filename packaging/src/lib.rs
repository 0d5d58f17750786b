//! What the tests of the packaging are made of: manifests and chart as they are rendered ([`render`]), judged by what they mean
//! ([`semantic`]) and by other programs ([`judges`], [`tools`]); the image ([`image`]) and a small kubelet that runs its pods ([`kubelet`]);
//! a cluster's network to try them in ([`net`]), and a Prometheus that looks on ([`prometheus`]), told
//! where to look by the monitors ([`scraping`]).
//!
//! As in `blackbox`, everything here panics when something is missing or does not happen in time.

pub mod image;
pub mod judges;
pub mod kubelet;
pub mod net;
pub mod prometheus;
pub mod render;
pub mod scraping;
pub mod semantic;
pub mod tools;
