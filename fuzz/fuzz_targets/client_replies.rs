//! A server that says anything, in any pieces, to a client that takes STARTTLS and AUTH where the input says so, and then
//! sends message after message. Checked: no panic; whole commands only; one outcome for each recipient; nothing said after the end.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use smtp::client::{Client, ClientStep, Outgoing};
use smtp::{Address, BodyType, MailParams, RcptParams, Reply};

const RECIPIENTS: usize = 3;

fuzz_target!(|data: &[u8]| {
    let Some((&[options, auth], wire)) = data.split_first_chunk() else {
        return;
    };
    let mut client = Client::new("fuzz.test", options & 1 != 0);
    let mut input = BytesMut::new();
    let size = usize::from(options >> 3) * 7 + 1;
    for piece in wire.chunks(size) {
        input.extend_from_slice(piece);
        if !listen(&mut client, &mut input, options, auth) {
            return;
        }
    }
    if let Some(outcome) = client.abort(&Reply::plain(451, "Lost")) {
        assert_eq!(outcome.recipients.len(), RECIPIENTS);
    }
});

/// Goes on until more input is needed; `false` when the conversation is over.
fn listen(client: &mut Client, input: &mut BytesMut, options: u8, auth: u8) -> bool {
    loop {
        let step = client.step(input);
        let said = std::mem::take(client.output());
        assert!(said.is_empty() || said.ends_with(b"\r\n"));
        match step {
            Ok(ClientStep::Read) => return true,
            Ok(ClientStep::Ready) if options & 2 != 0 && client.capabilities().starttls => client.start_tls(),
            Ok(ClientStep::Ready) if authenticate(client, auth) => {}
            Ok(
                ClientStep::Ready
                | ClientStep::TlsRefused(_)
                | ClientStep::Authenticated
                | ClientStep::AuthRefused(_),
            ) => begin(client, options),
            Ok(ClientStep::AuthChallenge(challenge)) => {
                assert!(!client.is_usable() && !client.authenticate("PLAIN", None));
                match auth & 24 {
                    8 => client.auth_cancel(),
                    16 => client.quit(),
                    _ => client.auth_respond(&challenge),
                }
            }
            Ok(ClientStep::StartTls) => {
                assert!(input.is_empty());
                client.tls_started();
            }
            Ok(ClientStep::SendContent { .. }) => {
                client.content_sent();
                let may = client.may_begin_ahead();
                assert!(auth & 32 == 0 || client.begin_ahead(message(options)) <= may);
            }
            Ok(ClientStep::Finished(outcome)) => {
                assert_eq!(outcome.recipients.len(), RECIPIENTS);
                assert!(
                    outcome
                        .recipients
                        .iter()
                        .all(|(_, reply)| (200..600).contains(&reply.code))
                );
                begin(client, options);
            }
            Ok(ClientStep::Refused { .. } | ClientStep::Closed) => return ended(client, input),
            Err(_) => {
                if let Some(outcome) = client.abort(&Reply::plain(451, "Broken")) {
                    assert_eq!(outcome.recipients.len(), RECIPIENTS);
                }
                return ended(client, input);
            }
        }
    }
}

fn ended(client: &mut Client, input: &mut BytesMut) -> bool {
    assert!(!client.is_usable() && client.begin(message(0)).is_err());
    assert!(matches!(client.step(input), Ok(ClientStep::Closed)));
    assert!(client.output().is_empty());
    false
}

/// AUTH with what the input asks for: nothing, or an initial response, which is too long for the command.
fn authenticate(client: &mut Client, auth: u8) -> bool {
    let initial = match auth & 6 {
        2 => Some(vec![]),
        4 => Some(b"hush".to_vec()),
        6 => Some(b"hush".repeat(200)),
        _ => None,
    };
    let said = auth & 1 != 0 && client.authenticate("PLAIN", initial.as_deref());
    assert!(!format!("{client:?}").contains("104, 117, 115, 104"));
    said
}

fn begin(client: &mut Client, options: u8) {
    if client.begin(message(options)).is_err() {
        client.quit();
    }
}

fn message(options: u8) -> Outgoing {
    let address = |text| Address::parse(text).expect("an address");
    let body = if options & 4 != 0 {
        BodyType::BinaryMime
    } else {
        BodyType::SevenBit
    };
    Outgoing {
        sender: None,
        params: MailParams {
            body,
            ..MailParams::default()
        },
        has_8bit: false,
        header_8bit: false,
        size: 1000,
        recipients: vec![(address("a@x.test"), RcptParams::default()); RECIPIENTS],
    }
}
