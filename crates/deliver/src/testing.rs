//! What the tests of this crate share.

use smtp::Address;
use smtp_config::{
    Admin, Config, Delivery, Dns, Http, Limits, LogLevel, Logging, Metrics, NextHop, Profile, RateLimiting, Relay,
    Server, Storage, TlsPolicy,
};
use std::time::Duration;

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(crate) fn hop(host: &str, port: u16) -> NextHop {
    NextHop { host: host.into(), port }
}
