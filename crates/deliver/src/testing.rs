//! What the tests of this crate share.

use smtp::Address;
use smtp_config::{Config, HopProtocol, NextHop, Profile};
use smtp_queue::{MailOptions, Message, QueueId};

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(crate) fn hop(host: &str, port: u16) -> NextHop {
    NextHop {
        protocol: HopProtocol::Smtp,
        login: None,
        host: host.into(),
        port,
    }
}

pub(crate) fn config() -> Config {
    Config::defaults(Profile::Testing)
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
