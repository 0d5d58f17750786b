//! The metrics, and how each event changes them.

/// Figures that rooms keep themselves, read when metrics are asked for.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Messages with at least one recipient not done: `smtp_queue_depth`.
    pub queue_depth: u64,
    /// Recipients by state: `smtp_queue_recipients{state}`; states without recipients are 0.
    pub recipients: Vec<(&'static str, u64)>,
    /// Age in seconds of the oldest recipient that is due and unclaimed: `smtp_queue_oldest_due_seconds`.
    pub oldest_due_seconds: f64,
    /// Connections to next hops: `smtp_delivery_connections`.
    pub delivery_connections: u64,
    /// Recipients handed to delivery and not finished: `smtp_delivery_in_progress`.
    pub delivery_in_progress: u64,
    /// Destinations given up for a while: `smtp_delivery_destinations_down`.
    pub destinations_down: u64,
    /// Generation of the configuration in force, from 1: `smtp_config_generation`.
    pub config_generation: u64,
    /// Whether the last reload was taken: `smtp_config_last_reload_success`.
    pub config_last_reload_success: bool,
    /// 1 while the server drains: `smtp_draining`.
    pub draining: bool,
    /// Free octets on the spool's disk: `smtp_storage_free_bytes`.
    pub storage_free_bytes: u64,
}
