//! What operators do, as it is stored.

use crate::operator::{AuditRecord, Suspension, SuspensionKind};
use jiff::Timestamp;

/// Of a domain, from now on.
pub(super) fn suspension(domain: &str) -> Suspension {
    Suspension {
        kind: SuspensionKind::Domain,
        name: domain.into(),
        reason: String::new(),
        who: "ann".into(),
        since: Timestamp::now(),
        until: None,
    }
}

/// Of somebody who looked.
pub(super) fn record(target: &str) -> AuditRecord {
    AuditRecord {
        number: 0,
        at: Timestamp::now(),
        who: "ann".into(),
        peer: "here".into(),
        action: "look".into(),
        target: target.into(),
        touched: 0,
        before: None,
        after: None,
    }
}
