//! The engine against servers that behave, and servers that do not.

mod drain;
mod farewell;
mod flaky;
mod hanging;
mod house;
mod limits;
mod misbehaving;
mod next_hops;
mod operators;
mod outcomes;
mod server;
mod storing;
