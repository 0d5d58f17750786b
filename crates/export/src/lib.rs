//! What other programs are told over HTTP: spans to a collector of OpenTelemetry, and what becomes of mail to webhooks.
//!
//! Promises: nothing here is waited for by mail; what is kept for it is bounded, and what has no room, or is not taken in time, is
//! dropped and counted; redirects are not followed; no secret is in an error.

mod traces;
mod webhooks;

pub use traces::{Target, Traces};
pub use webhooks::{Receivers, WebhookStanding, Webhooks};
