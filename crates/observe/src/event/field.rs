//! The types that fields of events have, and how each is shown to a log.

use super::Phases;
use crate::labels::{
    AuthMechanism, AuthResult, ConnectionRefusal, DeliveryStatus, DnsResult, DsnKind, Handshake, Listener,
    LockScope, ProxyHeader, RejectReason, TlsFailure, TlsVersion, Violation,
};
use std::net::SocketAddr;
use std::time::Duration;

/// What is done with each field of an event.
pub(crate) trait Visitor {
    /// Text, perhaps a peer's.
    fn text(&mut self, name: &'static str, value: &str);
    /// A whole number.
    fn number(&mut self, name: &'static str, value: u64);
    /// A duration.
    fn duration(&mut self, name: &'static str, value: Duration);
    /// An address and port.
    fn address(&mut self, name: &'static str, value: SocketAddr);
    /// Several durations with names.
    fn durations(&mut self, name: &'static str, values: &[(&'static str, Duration)]);
    /// Several texts.
    fn list(&mut self, name: &'static str, values: &[String]);
}

/// A type of field.
pub(super) trait Field {
    fn show(&self, name: &'static str, visitor: &mut impl Visitor);
}

impl Field for &str {
    fn show(&self, name: &'static str, visitor: &mut impl Visitor) {
        visitor.text(name, self);
    }
}

impl Field for &[String] {
    fn show(&self, name: &'static str, visitor: &mut impl Visitor) {
        visitor.list(name, self);
    }
}

impl Field for Duration {
    fn show(&self, name: &'static str, visitor: &mut impl Visitor) {
        visitor.duration(name, *self);
    }
}

impl Field for SocketAddr {
    fn show(&self, name: &'static str, visitor: &mut impl Visitor) {
        visitor.address(name, *self);
    }
}

impl<T: Field> Field for Option<T> {
    fn show(&self, name: &'static str, visitor: &mut impl Visitor) {
        if let Some(value) = self {
            value.show(name, visitor);
        }
    }
}

macro_rules! number_fields {
    ($($type:ty),+) => { $( impl Field for $type {
        fn show(&self, name: &'static str, visitor: &mut impl Visitor) {
            visitor.number(name, *self as u64);
        }
    } )+ };
}
number_fields!(u16, u32, u64, usize);

macro_rules! word_fields {
    ($($type:ty),+) => { $( impl Field for $type {
        fn show(&self, name: &'static str, visitor: &mut impl Visitor) {
            visitor.text(name, self.name());
        }
    } )+ };
}
word_fields!(
    AuthMechanism,
    AuthResult,
    LockScope,
    Listener,
    ConnectionRefusal,
    ProxyHeader,
    RejectReason,
    Violation,
    TlsVersion,
    Handshake,
    TlsFailure,
    DeliveryStatus,
    DnsResult,
    DsnKind
);

impl Field for Phases {
    fn show(&self, name: &'static str, visitor: &mut impl Visitor) {
        visitor.durations(name, &self.named());
    }
}
