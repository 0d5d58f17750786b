//! Defaults, every kind of value, and what a reload makes of a changed one.

use super::Case;
use crate::*;
use std::path::PathBuf;
use std::time::Duration;

#[test]
fn defaults_are_what_operators_rely_on() {
    let config = Config::defaults(Profile::Development);
    assert_eq!(
        (config.server.port, config.http.port, config.metrics.port),
        (2525, 8080, 8080)
    );
    assert_eq!(config.limits.max_message_size, 26_214_400);
    assert_eq!(
        (config.limits.max_recipients, config.limits.max_line_length),
        (100, 998)
    );
    assert_eq!(
        (
            config.rate_limiting.requests_per_minute,
            config.rate_limiting.burst_size
        ),
        (100, 20)
    );
    assert_eq!(config.delivery.expire_after, Duration::from_secs(432_000));
    assert!(config.delivery.capture && !Config::defaults(Profile::Testing).delivery.capture);
    assert_eq!(config.storage.path, PathBuf::from("./data/smtp.db"));
    assert_eq!(
        Config::defaults(Profile::Production).server.host,
        ["::".parse::<std::net::IpAddr>().unwrap()]
    );
}

#[test]
fn every_default_is_valid() {
    for profile in ["development", "testing"] {
        Case::new("").flag("profile", profile).load();
    }
}

#[test]
fn defaults_can_be_had_without_what_production_needs() {
    let case = Case::new("profile = \"production\"\n[server]\nport = 26\n");
    let loaded = Loaded::defaults(&case.sources).unwrap();
    assert_eq!(loaded.config, Config::defaults(Profile::Production));
    assert_eq!(
        loaded.origins["server.host"],
        Origin::Profile(Profile::Production)
    );
}

#[test]
fn every_listener_has_the_proxies_of_the_server_unless_it_has_its_own() {
    let file = "[server]\nproxy_protocol = \"v2\"\nproxy_networks = [\"192.0.2.1\"]\n";
    let networks = |text: &str| vec![text.parse::<ipnet::IpNet>().unwrap()];
    let config = Case::new(file).load().config;
    for (protocol, proxies) in [
        (config.smtps.proxy_protocol, config.smtps.proxy_networks),
        (config.submission.proxy_protocol, config.submission.proxy_networks),
    ] {
        assert_eq!((protocol, proxies), (ProxyProtocol::V2, networks("192.0.2.1/32")));
    }
    let own = "[smtps]\nproxy_protocol = \"off\"\n[submission]\nproxy_networks = [\"2001:db8::/64\"]\n";
    let config = Case::new(&format!("{file}{own}")).load().config;
    assert_eq!(config.smtps.proxy_protocol, ProxyProtocol::Off);
    assert_eq!(config.submission.proxy_protocol, ProxyProtocol::V2);
    assert_eq!(config.submission.proxy_networks, networks("2001:db8::/64"));
}

/// A value as `config show` prints it.
fn shown(value: &impl crate::value::Value) -> String {
    value.show().as_str().unwrap_or_default().to_owned()
}

#[test]
fn every_kind_of_value_is_read_from_the_file() {
    let case = Case::new(
        r#"
[server]
host = ["0.0.0.0", "::1"]
[rate_limiting]
exempt = ["10.1.2.3/8", "192.0.2.7"]
[relay]
networks = ["10.42.0.0/16"]
smarthost = "smtp://[2001:db8::1]:587"
[delivery]
retry_initial = 60
tls = "required"
[dns]
servers = ["10.0.0.10:53", "10.0.0.11", "[::1]:5353"]
[[routes]]
match = "*.Internal.Example"
to = "smtp://10.42.0.9"
tls = "verified"
[[routes]]
match = "*"
to = "smtp://hub.example:2525"
[[domains]]
name = "Example.com"
deliver = "maildir:/data/mail/{domain}/{local}"
[[domains]]
name = "other.example"
deliver = "smtp:10.0.0.1:2525"
recipients = "any"
"#,
    );
    let config = case.load().config;
    assert_eq!(config.server.host.len(), 2);
    assert_eq!(config.rate_limiting.exempt[0].to_string(), "10.0.0.0/8");
    assert_eq!(config.rate_limiting.exempt[1].to_string(), "192.0.2.7/32");
    assert_eq!(shown(&config.relay.smarthost), "smtp://[2001:db8::1]:587");
    assert_eq!(config.relay.tls, TlsPolicy::Required, "follows delivery.tls");
    assert_eq!(config.delivery.retry_initial, Duration::from_secs(60));
    assert_eq!(config.dns.servers[1].port(), 53);
    assert_eq!(config.routes[0].pattern, "*.internal.example");
    assert_eq!(shown(&config.routes[0].to), "smtp://10.42.0.9:25");
    assert_eq!(
        (config.routes[0].tls, config.routes[1].tls),
        (TlsPolicy::Verified, TlsPolicy::Required)
    );
    assert_eq!(config.domains[0].name, "example.com");
    assert_eq!(
        config.domains[0].deliver,
        LocalDelivery::Maildir("/data/mail/{domain}/{local}".into())
    );
    assert_eq!(config.domains[1].deliver.to_string(), "smtp:10.0.0.1:2525");
}

#[test]
fn a_reload_keeps_what_needs_a_restart() {
    let old = Config::defaults(Profile::Testing);
    let mut new = old.clone();
    new.server.port = 26;
    new.limits.max_hops = 7;
    new.admin.password = Some(Secret::new("other"));
    let difference = old.diff(&new);
    assert_eq!(difference.changed, ["limits.max_hops", "admin.password"]);
    assert_eq!(difference.needs_restart, ["server.port"]);
    let live = new.live_part(&old);
    assert_eq!((live.server.port, live.limits.max_hops), (2525, 7));
    assert_eq!(live.admin.password, new.admin.password);
    assert_eq!(old.diff(&live).needs_restart, Vec::<String>::new());
}
