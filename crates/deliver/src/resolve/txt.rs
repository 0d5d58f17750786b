//! TXT records, for an operator who asks what is published.

use super::DEADLINE;
use super::lookup::{Dns, Nothing};
use smtp_observe::Observer;
use std::net::SocketAddr;
use tokio::time::timeout;

/// The TXT records of a name, the strings of each joined: none when there is no such record. Asks `servers`, or those of the
/// system when there are none, and answers within 30 seconds.
///
/// # Errors
/// Why it is not known.
pub async fn txt_records(
    servers: &[SocketAddr],
    name: &str,
    observer: Observer,
) -> Result<Vec<String>, String> {
    let dns = Dns::new(servers, observer)?;
    let answer = timeout(DEADLINE, dns.txt(name)).await;
    match answer.unwrap_or_else(|_| Err(Nothing::late())) {
        Ok(records) => Ok(records),
        Err(Nothing::NoDomain | Nothing::NoRecords) => Ok(Vec::new()),
        Err(Nothing::Transient(reason)) => Err(reason),
    }
}
