//! The relay rule, address form by address form.

use super::*;
use crate::tests::directory;
use smtp_config::{Domain, LocalDelivery, Profile, Recipients};

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

/// A relay rule and the directory that it asks.
struct Rule {
    policy: Policy,
    directory: Arc<Snapshot>,
}

impl Rule {
    fn of(config: Config) -> Self {
        let directory = directory(&config).snapshot();
        Rule {
            policy: Policy::new(Arc::new(config)),
            directory,
        }
    }

    fn asked(&self, client: &str, authenticated: bool, address: &Address) -> Recipient {
        let client = Origin {
            address: client.parse().unwrap(),
            is_proxy: false,
        };
        self.policy
            .recipient(&self.directory, client, authenticated, address)
    }

    /// What became of an address: the ones that are queued for, `denied`, `unknown`, or `syntax`.
    fn verdict(&self, client: &str, address: &str) -> String {
        let Ok(address) = Address::parse(address) else {
            return "syntax".into();
        };
        match self.asked(client, false, &address) {
            Recipient::Accepted(addresses) => addresses
                .iter()
                .map(Address::as_str)
                .collect::<Vec<_>>()
                .join(" "),
            Recipient::Asked(address) => format!("asked {address}"),
            Recipient::Refused(reply, RejectReason::RelayDenied) => {
                assert_eq!((reply.code, reply.enhanced), (554, Some(Enhanced(5, 7, 1))));
                "denied".into()
            }
            Recipient::Refused(reply, RejectReason::UnknownRecipient) => {
                assert_eq!((reply.code, reply.enhanced), (550, Some(Enhanced(5, 1, 1))));
                "unknown".into()
            }
            Recipient::Refused(reply, _) => panic!("{reply:?}"),
        }
    }
}

#[test]
fn strangers_reach_local_domains_only() {
    let rule = Rule::of(config());
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
        assert_eq!(rule.verdict(STRANGER, address), wanted, "{address:?}");
    }
}

/// A next hop trusts us, and some read `x%y@z` as `x@y` when `z` is theirs.
#[test]
fn strangers_route_nothing_through_a_next_hop() {
    let mut config = config();
    for domain in &mut config.domains {
        domain.deliver = LocalDelivery::parse("smtp:10.0.0.25").unwrap();
    }
    config.domains[1].recipients = Recipients::Verify;
    let rule = Rule::of(config);
    for address in [
        "ann%remote.example@local.example",
        "remote.example!ann@local.example",
        "\"ann@remote.example\"@local.example",
        "\"ann%remote.example\"@second.example",
    ] {
        assert_eq!(rule.verdict(STRANGER, address), "denied", "{address}");
        assert_ne!(rule.verdict(FRIEND, address), "denied", "{address}");
    }
    for address in ["ann+tag@local.example", "\"ann smith\"@local.example"] {
        assert_eq!(rule.verdict(STRANGER, address), address);
    }
}

#[test]
fn only_relay_networks_relay() {
    let rule = Rule::of(config());
    let friends = [FRIEND, "10.42.255.255", "::ffff:10.42.0.1", "2001:db8:42::1"];
    for client in friends {
        assert_eq!(
            rule.verdict(client, "ann@remote.example"),
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
        assert_eq!(rule.verdict(client, "ann@remote.example"), "denied", "{client}");
        assert_eq!(
            rule.verdict(client, "ann@local.example"),
            "ann@local.example",
            "{client}"
        );
    }
}

#[test]
fn without_settings_nobody_relays_in_production() {
    let rule = Rule::of(Config::defaults(Profile::Production));
    for client in [STRANGER, "127.0.0.1", "::1"] {
        assert_eq!(rule.verdict(client, "ann@remote.example"), "denied");
        let postmaster = format!("postmaster@{}", rule.policy.config.server.hostname);
        assert_ne!(
            rule.verdict(client, &postmaster),
            postmaster,
            "no local domain: no postmaster either"
        );
    }
}

#[test]
fn capture_takes_every_recipient() {
    let rule = Rule::of(Config::defaults(Profile::Development));
    assert_eq!(rule.verdict(STRANGER, "ann@remote.example"), "ann@remote.example");
}

#[test]
fn postmaster_of_a_local_hostname_stays_as_it_is() {
    let mut config = config();
    config.server.hostname = "second.example".into();
    let rule = Rule::of(config);
    assert_eq!(
        rule.verdict(STRANGER, "postmaster@second.example"),
        "postmaster@second.example"
    );
}

#[test]
fn a_denial_cannot_break_out_of_its_line() {
    let rule = Rule::of(config());
    let address = Address::parse("\"x\\\"> y\"@remote.example").unwrap();
    let Recipient::Refused(reply, _) = rule.asked(STRANGER, false, &address) else {
        panic!("it was accepted");
    };
    let mut out = Vec::new();
    reply.write(&mut out);
    assert_eq!(out.iter().filter(|octet| **octet == b'\n').count(), 1);
    assert!(String::from_utf8(out).unwrap().contains("Relay access denied"));
}

#[test]
fn who_authenticated_relays() {
    let rule = Rule::of(config());
    let address = Address::parse("ann@remote.example").unwrap();
    assert_eq!(
        rule.asked(STRANGER, true, &address),
        Recipient::Accepted(vec![address])
    );
}

#[test]
fn a_domain_says_which_of_its_addresses_exist() {
    let mut config = config();
    config.domains[0].recipients = Recipients::Known;
    config.domains[1].recipients = Recipients::Verify;
    let rule = Rule::of(config);
    for client in [STRANGER, FRIEND] {
        assert_eq!(rule.verdict(client, "nobody@local.example"), "unknown");
        assert_eq!(rule.verdict(client, "x@second.example"), "asked x@second.example");
        assert_eq!(
            rule.verdict(client, "postmaster@local.example"),
            "postmaster@local.example"
        );
    }
    let nobody = Address::parse("nobody@local.example").unwrap();
    assert!(matches!(
        rule.asked(STRANGER, true, &nobody),
        Recipient::Refused(..)
    ));
}

#[test]
fn a_proxys_address_gives_no_right_whatever_networks_hold_it() {
    let rule = Rule::of(config());
    let elsewhere = Address::parse("x@elsewhere.example").unwrap();
    for is_proxy in [false, true] {
        let client = Origin {
            address: FRIEND.parse().unwrap(),
            is_proxy,
        };
        assert_eq!(rule.policy.is_trusted(client), !is_proxy);
        let decided = rule.policy.recipient(&rule.directory, client, false, &elsewhere);
        assert_eq!(
            matches!(decided, Recipient::Accepted(_)),
            !is_proxy,
            "{decided:?}"
        );
    }
}

#[test]
fn each_kind_of_connection_is_offered_what_works_on_it() {
    let mut config = config();
    config.oauth.issuer = Some("https://issuer.example".into());
    let policy = Policy::new(Arc::new(config));
    let offered = |number| match &policy.settings(Listener::Smtp, &channel(number)).auth {
        AuthOffer::Mechanisms(names) => names.join(" "),
        other => format!("{other:?}"),
    };
    assert_eq!(offered(0), "UnderTls");
    let always = "SCRAM-SHA-256 OAUTHBEARER XOAUTH2 PLAIN LOGIN";
    assert_eq!(offered(1), always);
    assert_eq!(offered(2), format!("SCRAM-SHA-256-PLUS {always}"));
    let external = "SCRAM-SHA-256 EXTERNAL OAUTHBEARER XOAUTH2 PLAIN LOGIN";
    assert_eq!(offered(3), external);
    assert_eq!(offered(4), format!("SCRAM-SHA-256-PLUS {external}"));
    for number in 0..CHANNELS {
        assert_eq!(kind(&channel(number)), number);
        for &listener in Listener::ALL {
            let settings = policy.settings(listener, &channel(number));
            assert_eq!(settings.auth_required, listener != Listener::Smtp);
        }
    }
}
