//! What the tests of this crate share.

use smtp::Address;
use smtp_config::{
    Admin, Config, Delivery, Dns, Http, Limits, LogLevel, Logging, Metrics, NextHop, Profile, RateLimiting, Relay,
    Server, Storage, TlsPolicy,
};
use smtp_queue::{MailOptions, Message, QueueId};
use std::time::Duration;

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(crate) fn hop(host: &str, port: u16) -> NextHop {
    NextHop { host: host.into(), port }
}

pub(crate) fn config() -> Config {
    Config {
        profile: Profile::Testing,
        server: Server {
            hostname: "mx.own.test".into(),
            banner: String::new(),
            host: vec!["127.0.0.1".parse().unwrap()],
            port: 2525,
            max_connections: 1,
            connection_timeout: Duration::from_secs(300),
        },
        limits: Limits {
            max_message_size: 1 << 20,
            max_recipients: 100,
            max_line_length: 998,
            max_hops: 50,
            min_data_rate: 0,
            refuse_unauthorized_pipelining: true,
        },
        rate_limiting: RateLimiting { enabled: false, requests_per_minute: 1, burst_size: 1, exempt: vec![] },
        logging: Logging { level: LogLevel::Error, format: None },
        metrics: Metrics { enabled: false, port: 0, path: String::new() },
        http: Http { host: vec![], port: 0 },
        admin: Admin { password: None },
        storage: Storage { path: "data/smtp.db".into(), min_free: 0, memory_budget: 0 },
        relay: Relay { networks: vec![], smarthost: None },
        delivery: Delivery {
            capture: false,
            retry_initial: Duration::from_secs(300),
            retry_max: Duration::from_secs(3600),
            expire_after: Duration::from_secs(432_000),
            delay_notice_after: Duration::from_secs(14_400),
            port: 25,
            max_connections_per_destination: 20,
            max_connections: 500,
            subaddress_separator: "+".into(),
            double_bounce_to: None,
            tls: TlsPolicy::Opportunistic,
            ca_file: None,
            connect_timeout: Duration::from_secs(30),
            final_timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(5),
        },
        dns: Dns { servers: vec![] },
        routes: vec![],
        domains: vec![],
    }
}

pub(crate) fn message(sender: Option<&str>) -> Message {
    Message {
        key: 1,
        id: QueueId::parse("01JABCDEFGHJKMNPQRSTVWXYZ0").unwrap(),
        received_at: "2026-03-01T12:00:00Z".parse().unwrap(),
        sender: sender.map(address),
        options: MailOptions::default(),
        size: 0,
    }
}
