//! One tree of settings: for each its type, default, unit, documentation, and
//! whether a reload applies it.
//!
//! Order, later wins: built-in defaults < profile < `config.toml` < environment < flags. Every value knows where it
//! came from. This crate does not know what the settings do.

mod tree;

pub use tree::*;
