//! Drives both ends with any octets: shared by the property test and the fuzz target.

use smtp_sasl::{Channel, Client, Credentials, Mechanism, Offer, ScramVerifier, Secret, Step, TlsExporter};

/// Messages longer than any that a client sends are cut from the octets at this octet.
const CUT: u8 = b'\n';

/// What a peer sends, message by message, to each mechanism of a server and of a client. The first octet
/// says how questions are answered.
pub(crate) fn drive(octets: &[u8]) {
    let Some((&choice, octets)) = octets.split_first() else {
        return;
    };
    let yes = choice & 1 == 1;
    let exporter = (choice & 2 == 2).then_some(TlsExporter([7; 32]));
    let channel = Channel::Tls {
        exporter,
        client_certificate: true,
    };
    let _ = std::str::from_utf8(octets).map(str::parse::<ScramVerifier>);
    for mechanism in Mechanism::ALL {
        serve(&Offer::new(&Mechanism::ALL, &channel), mechanism, octets, yes);
    }
    for offered in [
        &[Mechanism::Login][..],
        &[Mechanism::Plain],
        &[Mechanism::ScramSha256],
        &Mechanism::ALL,
    ] {
        ask(offered, &channel, octets);
    }
}

fn serve(offer: &Offer, mechanism: Mechanism, octets: &[u8], yes: bool) {
    let mut messages = octets.split(|octet| *octet == CUT);
    let mut step = offer.start(mechanism, messages.next());
    loop {
        step = match step {
            Step::Challenge { exchange, .. } => match messages.next() {
                Some(message) => exchange.step(message),
                None => return,
            },
            Step::Password(question) if yes => question.accept(),
            Step::Password(question) => question.refuse(),
            Step::Verifier(question) => {
                let decoy = ScramVerifier::decoy(&[1; 32], question.name());
                question.answer(decoy)
            }
            Step::Token(question) if yes => question.accept("ann"),
            Step::Token(question) => question.refuse(),
            Step::Certificate(question) if yes => question.accept("ann"),
            Step::Certificate(question) => question.refuse(),
            Step::Done { account } => return assert!(yes && !account.is_empty() && account.len() <= 255),
            Step::Failed { .. } => return,
        }
    }
}

fn ask(offered: &[Mechanism], channel: &Channel, octets: &[u8]) {
    let credentials = Credentials::Password {
        name: "ann".to_owned(),
        password: Secret::new("secret"),
    };
    let Ok(mut client) = Client::choose(offered, &credentials, channel) else {
        return;
    };
    client.initial();
    for challenge in octets.split(|octet| *octet == CUT) {
        if client.respond(challenge).is_err() {
            return assert!(client.succeeded().is_err());
        }
    }
}
