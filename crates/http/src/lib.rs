//! Health, metrics and the admin API.
//!
//! * `/health/live`, `/health/ready` and the metrics: no password, no limiter.
//! * `/api/v1/…`: the operator's queue work, status, configuration and reload; with the
//!   admin password, counted failures, and an event for each change.
//!
//! Promises: a garbled, slow or huge request costs its own connection only; connections,
//! request bodies and what is remembered about clients are bounded. This room knows no
//! database and no socket but its own: it asks the [`Rooms`].

mod api;
mod auth;
mod connection;
mod error;
mod health;
mod metrics;
mod rooms;
mod router;
mod server;

pub use rooms::{Check, Reloaded, Rooms};
pub use server::{BindError, MetricsSettings, Server, Settings, bind};

#[cfg(test)]
mod tests;
