//! How each event changes the metrics. Nothing else does.

use super::Metrics;
use crate::event::Event;
use crate::labels::{
    AuthResult, CallEnd, ConnectionRefusal, DeliveryStatus, ErrorClass, ReloadResult, ReplyClass, Verb,
};
use std::sync::atomic::Ordering;

impl Metrics {
    /// Moves the metrics that `event` is about.
    pub(crate) fn record(&self, event: &Event<'_>) {
        match *event {
            Event::ConnectionOpened {
                listener,
                peer,
                proxy,
            } => {
                // A proxy that only looks whether the server is there is no client.
                if proxy != Some(peer) {
                    self.busiest.came(listener, peer.ip());
                }
                self.connections.add((listener,), 1);
                self.active_connections.fetch_add(1, Ordering::Relaxed);
            }
            Event::ConnectionRefused {
                listener,
                peer,
                reason,
                ..
            } => {
                // The others were let in before, or are refused before a proxy has said who they are.
                if reason == ConnectionRefusal::RateLimited {
                    self.busiest.came(listener, peer.ip());
                }
                self.refused.add((listener, reason), 1);
                self.error(ErrorClass::Connection);
            }
            Event::AcceptFailed { listener, .. } => {
                self.accept_failures.add((listener,), 1);
                self.error(ErrorClass::Connection);
            }
            Event::ProxyHeaderRead { listener, result, .. } => {
                self.proxy_headers.add((listener, result), 1);
            }
            Event::ConnectionClosed { .. } => {
                let one_less = |open: u64| Some(open.saturating_sub(1));
                let _ = self
                    .active_connections
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
            }
            Event::Command { listener, verb, code } => {
                self.commands
                    .add((listener, Verb::of(verb), ReplyClass::of(code)), 1);
            }
            Event::ProtocolViolation { violation, .. } => {
                self.violations.add((violation,), 1);
                self.error(ErrorClass::Protocol);
            }
            Event::TlsEstablished {
                listener,
                version,
                handshake,
                ..
            } => self.handshakes.add((listener, version, handshake), 1),
            Event::TlsFailed { listener, reason, .. } => {
                self.handshake_failures.add((listener, reason), 1);
                self.error(ErrorClass::Tls);
            }
            Event::Rejected { reason, .. } => {
                self.rejected.add((reason,), 1);
                self.error(ErrorClass::Reject);
            }
            Event::AuthSucceeded { mechanism, .. } => self.auth.add((mechanism, AuthResult::Accepted), 1),
            Event::AuthFailed {
                mechanism, result, ..
            } => {
                self.auth.add((mechanism, result), 1);
                self.error(ErrorClass::Auth);
            }
            Event::AuthLocked { scope, .. } => self.auth_lockouts.add((scope,), 1),
            Event::Received {
                listener,
                size,
                commit,
                unsigned,
                ..
            } => {
                self.unsigned.add((), u64::from(unsigned.is_some()));
                self.received.add((listener,), 1);
                self.received_bytes.add((), size);
                self.message_size.observe(size as f64);
                self.acknowledge.observe(commit.as_secs_f64());
            }
            _ => self.record_queue(event),
        }
    }

    /// The store's events, and delivery's.
    fn record_queue(&self, event: &Event<'_>) {
        match *event {
            Event::Committed {
                messages,
                results,
                duration,
            } => {
                self.commits.add((), 1);
                self.committed_messages.add((), messages as u64);
                self.committed_results.add((), results as u64);
                self.commit.observe(duration.as_secs_f64());
            }
            Event::StoreFailed { .. } | Event::ResultSetAside { .. } => {
                self.store_failures.add((), 1);
                self.error(ErrorClass::Store);
            }
            Event::LeasesLost { recipients, .. } => {
                self.leases_lost.add((), recipients);
                self.error(ErrorClass::Store);
            }
            Event::LeasesTakenOver { recipients }
            | Event::Recovered {
                leases_released: recipients,
                ..
            } => self.leases_taken_over.add((), recipients),
            Event::Quarantined { .. } => {
                self.quarantined.add((), 1);
                self.error(ErrorClass::Store);
            }
            Event::Delivery {
                status,
                delay,
                attempt,
                ..
            } => {
                self.deliveries.add((status,), 1);
                self.attempt.observe(attempt.as_secs_f64());
                match status {
                    DeliveryStatus::Sent => self.delivery.observe(delay.as_secs_f64()),
                    _ => self.error(ErrorClass::Delivery),
                }
            }
            Event::DsnQueued { kind, .. } => self.dsn_queued.add((kind,), 1),
            Event::DoubleBounce { .. } => self.double_bounces.add((), 1),
            Event::DnsLookup { result, .. } => self.dns_lookups.add((result,), 1),
            Event::DestinationDown { .. } => self.destinations_down.add((), 1),
            Event::NextHopLoginRefused { .. } => self.error(ErrorClass::Config),
            Event::TlsFallback { .. } => self.tls_fallbacks.add((), 1),
            _ => self.record_operator(event),
        }
    }

    /// What an operator did.
    fn record_operator(&self, event: &Event<'_>) {
        match *event {
            Event::ConfigReloaded { .. } => self.reloads.add((ReloadResult::Taken,), 1),
            Event::ConfigRefused { .. } => {
                self.reloads.add((ReloadResult::Refused,), 1);
                self.error(ErrorClass::Config);
            }
            Event::CertificateLoaded { .. } => self.certificate_loads.add((ReloadResult::Taken,), 1),
            Event::CertificateRefused { .. } => {
                self.certificate_loads.add((ReloadResult::Refused,), 1);
                self.error(ErrorClass::Config);
            }
            Event::PodFateUnknown { .. } => self.pod_fate_unknown.add((), 1),
            Event::AdminAction { .. } => self.admin_actions.add((), 1),
            Event::HistoryFailed { .. } | Event::HistorySetAside { .. } => self.error(ErrorClass::Store),
            Event::HistoryDropped { steps } => self.history_dropped.add((), steps),
            Event::AuditFailed { .. } => self.error(ErrorClass::Store),
            Event::SpansExported { spans, .. } => self.spans_exported.add((), spans),
            Event::SpansDropped { spans, .. } => self.spans_dropped.add((), spans),
            Event::WebhookTaken { duration, .. } => {
                self.webhook_calls.add((CallEnd::Taken,), 1);
                self.webhook_call.observe(duration.as_secs_f64());
            }
            Event::WebhookRefused { .. } => self.webhook_calls.add((CallEnd::Refused,), 1),
            Event::WebhookDropped { calls, .. } => self.webhook_calls.add((CallEnd::Dropped,), calls),
            Event::AdminDenied { .. } => {
                self.admin_denied.add((), 1);
                self.error(ErrorClass::Admin);
            }
            _ => {}
        }
    }

    fn error(&self, class: ErrorClass) {
        self.errors.add((class,), 1);
    }
}
