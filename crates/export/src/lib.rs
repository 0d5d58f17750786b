//! What other programs are told over HTTP: spans to a collector of OpenTelemetry.
//!
//! Promises: nothing here is waited for by mail; what cannot be told in time is dropped and counted, and what is kept for it is bounded;
//! redirects are not followed; no secret is in an error.

mod traces;

pub use traces::{Target, Traces};
