//! The chart: rendered with both Helms, judged by everything that can judge it, compared with the manifests, and its
//! configuration read by the server.

#[path = "charts/rendering.rs"]
mod rendering;

#[path = "charts/configuration.rs"]
mod configuration;
#[path = "charts/judged.rs"]
mod judged;
#[path = "charts/manifests.rs"]
mod manifests;
#[path = "charts/policies.rs"]
mod policies;
#[path = "charts/refusals.rs"]
mod refusals;
#[path = "charts/upgrades.rs"]
mod upgrades;
#[path = "charts/values.rs"]
mod values;
