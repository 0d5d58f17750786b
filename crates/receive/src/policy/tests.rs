//! The relay rule, address form by address form.

use super::*;
use smtp_config::{Domain, LocalDelivery, Profile};

const STRANGER: &str = "203.0.113.9";
const FRIEND: &str = "10.42.7.7";

fn config() -> Config {
    let mut config = Config::defaults(Profile::Testing);
    config.server.hostname = "mx.host.example".into();
    config.relay.networks = vec![
        "10.42.0.0/16".parse().unwrap(),
        "2001:db8:42::/48".parse().unwrap(),
    ];
    config.domains = ["local.example", "second.example", "münchen.example"]
        .map(|name| Domain {
            recipients: smtp_config::Recipients::Any,
            name: name.into(),
            deliver: LocalDelivery::Capture,
        })
        .into();
    config
}

/// What became of an address: the one that is queued for, `denied`, or `syntax`.
fn verdict(policy: &Policy, client: &str, address: &str) -> String {
    let Ok(address) = Address::parse(address) else {
        return "syntax".into();
    };
    match policy.recipient(client.parse().unwrap(), address) {
        Ok(address) => address.as_str().to_owned(),
        Err((_, reply)) => {
            assert_eq!((reply.code, reply.enhanced), (554, Some(Enhanced(5, 7, 1))));
            "denied".into()
        }
    }
}

#[test]
fn strangers_reach_local_domains_only() {
    let policy = Policy::new(Arc::new(config()));
    // `same` means: queued for exactly what was asked for.
    let table = [
        ("ann@local.example", "same"),
        ("ann@LOCAL.Example", "same"),
        ("ann@second.example", "same"),
        ("ann@münchen.example", "same"),
        ("ann@MÜNCHEN.example", "same"),
        ("ann@xn--mnchen-3ya.example", "same"),
        ("ann@xn--mnchen-3yb.example", "denied"),
        ("Ann.Lee+tag@local.example", "same"),
        ("ann%remote.example@local.example", "same"),
        ("remote.example!ann@local.example", "same"),
        ("\"ann@remote.example\"@local.example", "same"),
        ("\"ann smith\"@local.example", "same"),
        ("\"\\\"@remote.example\"@local.example", "same"),
        ("postmaster@local.example", "same"),
        ("POSTMASTER@second.example", "same"),
        ("!#$%&'*+-/=?^_`{|}~@local.example", "same"),
        ("postmaster@mx.host.example", "postmaster@local.example"),
        ("Postmaster@MX.HOST.EXAMPLE", "postmaster@local.example"),
        ("ann@mx.host.example", "denied"),
        ("postmaster@remote.example", "denied"),
        ("ann@remote.example", "denied"),
        ("ann@sub.local.example", "denied"),
        ("ann@notlocal.example", "denied"),
        ("ann@local.example.remote.example", "denied"),
        ("ann@example", "denied"),
        ("ann%local.example@remote.example", "denied"),
        ("local.example!ann@remote.example", "denied"),
        ("\"ann@local.example\"@remote.example", "denied"),
        ("\"x\\\"@local.example\"@remote.example", "denied"),
        ("ann@[127.0.0.1]", "denied"),
        ("ann@[203.0.113.9]", "denied"),
        ("ann@[IPv6:::1]", "denied"),
        ("postmaster@[127.0.0.1]", "denied"),
        ("ann@localhost", "denied"),
        ("ann@remote.example@local.example", "syntax"),
        ("ann@local.example@remote.example", "syntax"),
        ("@remote.example:ann@local.example", "syntax"),
        ("ann", "syntax"),
        ("ann@", "syntax"),
        ("@local.example", "syntax"),
        ("ann @local.example", "syntax"),
        ("ann@local.example ", "syntax"),
        ("ann@local .example", "syntax"),
        ("ann@local..example", "syntax"),
        ("ann@local.example\0.remote.example", "syntax"),
        ("ann@local.example\r\nRCPT TO:<x@y>", "syntax"),
        ("", "syntax"),
    ];
    for (address, wanted) in table {
        let wanted = if wanted == "same" { address } else { wanted };
        assert_eq!(verdict(&policy, STRANGER, address), wanted, "{address:?}");
    }
}

#[test]
fn only_relay_networks_relay() {
    let policy = Policy::new(Arc::new(config()));
    let friends = [FRIEND, "10.42.255.255", "::ffff:10.42.0.1", "2001:db8:42::1"];
    for client in friends {
        assert_eq!(
            verdict(&policy, client, "ann@remote.example"),
            "ann@remote.example",
            "{client}"
        );
    }
    let strangers = [
        STRANGER,
        "127.0.0.1",
        "::1",
        "10.43.0.1",
        "::ffff:127.0.0.1",
        "2001:db8:43::1",
        "::10.42.0.1",
    ];
    for client in strangers {
        assert_eq!(
            verdict(&policy, client, "ann@remote.example"),
            "denied",
            "{client}"
        );
        assert_eq!(
            verdict(&policy, client, "ann@local.example"),
            "ann@local.example",
            "{client}"
        );
    }
}

#[test]
fn without_settings_nobody_relays_in_production() {
    let policy = Policy::new(Arc::new(Config::defaults(Profile::Production)));
    for client in [STRANGER, "127.0.0.1", "::1"] {
        assert_eq!(verdict(&policy, client, "ann@remote.example"), "denied");
        let postmaster = format!("postmaster@{}", policy.config.server.hostname);
        assert_ne!(
            verdict(&policy, client, &postmaster),
            postmaster,
            "no local domain: no postmaster either"
        );
    }
}

#[test]
fn capture_takes_every_recipient() {
    let policy = Policy::new(Arc::new(Config::defaults(Profile::Development)));
    assert_eq!(
        verdict(&policy, STRANGER, "ann@remote.example"),
        "ann@remote.example"
    );
}

#[test]
fn postmaster_of_a_local_hostname_stays_as_it_is() {
    let mut config = config();
    config.server.hostname = "second.example".into();
    let policy = Policy::new(Arc::new(config));
    assert_eq!(
        verdict(&policy, STRANGER, "postmaster@second.example"),
        "postmaster@second.example"
    );
}

#[test]
fn a_denial_cannot_break_out_of_its_line() {
    let policy = Policy::new(Arc::new(config()));
    let address = Address::parse("\"x\\\"> y\"@remote.example").unwrap();
    let (_, reply) = policy.recipient(STRANGER.parse().unwrap(), address).unwrap_err();
    let mut out = Vec::new();
    reply.write(&mut out);
    assert_eq!(out.iter().filter(|octet| **octet == b'\n').count(), 1);
    assert!(String::from_utf8(out).unwrap().contains("Relay access denied"));
}
