//! Health, metrics and the admin API.
//!
//! * `/health/live`, `/health/ready` and the metrics: no password, no limiter.
//! * `/api/v1/…`: the admin API: the operator's queue work, the directory, configuration, credentials; for the admin password
//!   or a token of the right scope, with counted failures, and an event and a record for each change.
//!
//! Promises: a garbled, slow or huge request costs its own connection only; connections,
//! request bodies and what is remembered about clients are bounded. This room knows no
//! database and no socket but its own: it asks the [`Rooms`].

mod api;
mod auth;
mod connection;
mod console;
mod error;
mod health;
mod metrics;
mod openapi;
mod rates;
mod rooms;
mod router;
mod server;

pub use openapi::reference_markdown;
pub use rooms::{
    Check, ConfigStatus, DeclaredToken, Destination, DrainStatus, Holding, Member, Reloaded, Rooms, Session,
    Setting, Status, Webhook,
};
pub use server::{BindError, MetricsSettings, Server, Settings, bind};

#[cfg(test)]
mod tests;
