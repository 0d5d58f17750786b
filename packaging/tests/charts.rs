//! The chart: rendered with both Helms, judged by everything that can judge it, compared with the manifests, and its
//! configuration read by the server.

mod charts {
    mod configuration;
    mod judged;
    mod manifests;
    mod names;
    mod notes;
    mod policies;
    mod refusals;
    mod releases;
    pub(crate) mod rendering;
    mod test_pod;
    mod upgrades;
    mod values;
}
