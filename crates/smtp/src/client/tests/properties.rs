//! What holds whatever a server says.

use super::*;
use proptest::prelude::*;

/// Plays `wire` to a client that takes STARTTLS and AUTH where they are offered, then sends message after message; gives
/// all it said and every outcome.
fn run(wire: &[u8], lmtp: bool, piece: usize) -> (Vec<u8>, Vec<String>) {
    let (mut client, mut input) = (Client::new("me.test", lmtp), BytesMut::new());
    let (mut said, mut seen) = (Vec::new(), Vec::new());
    for piece in wire.chunks(piece) {
        input.extend_from_slice(piece);
        loop {
            let step = client.step(&mut input);
            said.append(client.output());
            match step {
                Ok(ClientStep::Read) => break,
                Ok(ClientStep::Ready) if client.capabilities().starttls => client.start_tls(),
                Ok(ClientStep::Ready) if offers_auth(&client) && client.authenticate("PLAIN", None) => {}
                Ok(ClientStep::StartTls) => client.tls_started(),
                Ok(ClientStep::AuthChallenge(challenge)) if challenge.is_empty() => client.auth_cancel(),
                Ok(ClientStep::AuthChallenge(challenge)) => client.auth_respond(&challenge),
                Ok(
                    ClientStep::Ready
                    | ClientStep::TlsRefused(_)
                    | ClientStep::Authenticated
                    | ClientStep::AuthRefused(_),
                ) => {
                    let _ = client.begin(message("a@x.test b@y.test c@y.test"));
                }
                Ok(ClientStep::SendContent { .. }) => {
                    client.content_sent();
                    let _ = client.begin_ahead(message("a@x.test b@y.test c@y.test"));
                }
                Ok(ClientStep::Finished(outcome)) => {
                    assert_eq!(outcome.recipients.len(), 2);
                    seen.push(of(&outcome));
                    let _ = client.begin(message("a@x.test b@y.test c@y.test"));
                }
                Ok(step) => {
                    seen.push(format!("{step:?}"));
                    return (said, seen);
                }
                Err(error) => {
                    seen.push(format!("{error:?}"));
                    let outcome = client.abort(&Reply::plain(451, ""));
                    seen.extend(outcome.iter().map(of));
                    return (said, seen);
                }
            }
        }
    }
    (said, seen)
}

fn offers_auth(client: &Client) -> bool {
    !client.capabilities().auth.is_empty()
}

fn reply() -> impl Strategy<Value = String> {
    let code = prop_oneof![
        6 => Just("250"), 2 => Just("354"), 1 => Just("450"), 1 => Just("550"), 1 => Just("421"), 1 => Just("220"),
        3 => Just("334"), 2 => Just("235")
    ];
    (
        code,
        prop_oneof![9 => Just(" ok"), 3 => Just(" b2s="), 1 => Just("-ok"), 1 => Just("")],
        Just("\r\n"),
    )
        .prop_map(|(code, text, end)| [code, text, end].concat())
}

/// A good start, then anything.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let extension = prop::sample::select(&["PIPELINING", "X", "AUTH PLAIN", "STARTTLS"]);
    (extension, prop::collection::vec(reply(), 0..20)).prop_map(|(extension, replies)| {
        format!("220 hi\r\n250-hi\r\n250 {extension}\r\n{}", replies.concat()).into_bytes()
    })
}

proptest! {
    /// One octet at a time never shows that input is early, all at once does; so only what came of the
    /// recipients is looked at, and that nothing panics.
    #[test]
    fn every_recipient_has_one_outcome(wire in conversation(), lmtp: bool, piece in 1usize..30) {
        let (said, _) = run(&wire, lmtp, piece);
        prop_assert!(said.is_empty() || said.ends_with(b"\r\n"));
    }

    #[test]
    fn a_polite_server_is_understood_in_any_pieces(piece in 1usize..10, code in 200u16..600) {
        prop_assume!(code != 421 && !(300..400).contains(&code));
        let wire = format!("{code} hi\r\n");
        let (mut client, mut input, mut steps) = (Client::new("me", false), BytesMut::new(), 0);
        for piece in wire.as_bytes().chunks(piece) {
            input.extend_from_slice(piece);
            steps += usize::from(!matches!(client.step(&mut input), Ok(ClientStep::Read)));
        }
        prop_assert_eq!(steps, usize::from(code >= 300));
        prop_assert_eq!(client.output().is_empty(), code >= 300);
    }

    #[test]
    fn noise_never_panics(wire in prop::collection::vec(any::<u8>(), 0..200), piece in 1usize..30) {
        let (said, seen) = run(&wire, false, piece);
        prop_assert!(said.len() <= "EHLO me.test\r\nHELO me.test\r\n".len() || !seen.is_empty());
    }
}
