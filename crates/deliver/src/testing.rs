//! What the tests of this crate share.

use smtp::Address;
use smtp_config::{Config, HopProtocol, NextHop, Profile};
use smtp_directory::testing::MemoryShelf;
use smtp_directory::{Declarations, Directory};
use smtp_queue::{MailOptions, Message, QueueId};
use std::sync::Arc;

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

/// The directory of what is declared, opened whether a runtime is here or not.
pub(crate) fn directory(config: &Config) -> Arc<Directory> {
    let declarations = Declarations::read(config).unwrap();
    let open = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let opened = Directory::open(Arc::new(MemoryShelf::default()), declarations);
        runtime.block_on(opened).unwrap().0
    };
    std::thread::spawn(open).join().unwrap()
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
