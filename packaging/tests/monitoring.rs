//! Alerts, rules and dashboards: that each is complete, that its words are the server's, that its test notices a change, and what a real Prometheus makes
//! of it all.

mod monitoring {
    mod complete;
    mod dashboards;
    pub(crate) mod expression;
    pub(crate) mod files;
    pub(crate) mod installed;
    mod intervals;
    mod mutants;
    mod names;
    mod prometheus;
    mod scalers;
}
