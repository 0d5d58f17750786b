//! When and where a message goes next: schedule, routes, MX, connections, Maildir, bounces.

pub mod dsn;
pub mod local;
pub mod resolve;
pub mod route;

#[cfg(test)]
mod testing;
