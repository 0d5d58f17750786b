//! Any text as an address, a command and parameters: what parses is written back to itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use smtp::command::{self, Command};
use smtp::params::{Orcpt, xtext_decode, xtext_encode};
use smtp::{Address, MailParams, RcptParams};

fuzz_target!(|input: &[u8]| {
    if let (
        _,
        Ok(Command::Mail {
            sender: Some(sender),
            params,
        }),
    ) = command::parse(input)
    {
        same(&sender);
        let _ = MailParams::parse(params, true);
    }
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(address) = Address::parse(text) {
        same(&address);
        assert!(address.local().len() <= 64 && address.domain().len() <= 255);
        let quoted = address.local().contains('"');
        assert!(quoted || !address.as_str().contains(['<', '>', ' ', ',', '\\']));
        let line = format!("MAIL FROM:<{address}>");
        let expected = Command::Mail {
            sender: Some(address),
            params: "",
        };
        assert_eq!(command::parse(line.as_bytes()).1, Ok(expected));
    }
    parameters(text);
});

fn same(address: &Address) {
    assert!(!address.as_str().contains(char::is_control));
    let again = Address::parse(address.as_str()).expect("an address parses again");
    assert_eq!(again.as_str(), address.as_str());
    assert_eq!(&again, address);
}

fn parameters(text: &str) {
    if let Ok(params) = MailParams::parse(text, false)
        && let Some(envid) = params.envid
    {
        assert!(xtext_decode(&envid).is_some_and(|text| text.is_ascii()));
    }
    if let Ok(params) = RcptParams::parse(text)
        && let Some(orcpt) = params.orcpt
    {
        assert!(!orcpt.address().contains(char::is_control));
        assert_eq!(Orcpt::parse(orcpt.as_str()), Some(orcpt));
    }
    let encoded = xtext_encode(text);
    assert!(encoded.bytes().all(|octet| octet.is_ascii_graphic()));
    if !text.contains(char::is_control) {
        assert_eq!(xtext_decode(&encoded).as_deref(), Some(text));
    }
}
