//! Both ends beside another implementation: the crate `rsasl` as the client of our server, and as the
//! server of our client.
#![allow(clippy::unwrap_used, clippy::panic)] // A panic is how these tests fail.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::login::LOGIN;
use rsasl::mechanisms::oauthbearer::OAUTHBEARER;
use rsasl::mechanisms::oauthbearer::properties::OAuthBearerErrored;
use rsasl::mechanisms::plain::PLAIN;
use rsasl::mechanisms::scram::properties::ScramStoredPassword;
use rsasl::mechanisms::scram::{SCRAM_SHA256, SCRAM_SHA256_PLUS};
use rsasl::mechanisms::xoauth2::XOAUTH2;
use rsasl::mechanisms::xoauth2::properties::{XOAuth2Error, XOAuth2Validate};
use rsasl::prelude::*;
use rsasl::property::{AuthId, OAuthBearerToken, Password as PasswordProperty};
use rsasl::validate::{Validate, ValidationError};
use smtp_sasl::{
    Channel, Client, Credentials, Failure, Offer, Password, ScramVerifier, Secret, Step, TlsExporter,
};
use smtp_sasl::{ClientFailure, Mechanism as Ours};

const NAME: &str = "ann,of=Löbau";
/// The name as SCRAM sends it: their server does not decode it.
const NAME_IN_SCRAM: &str = "ann=2Cof=3DLöbau";
const PASSWORD: &str = "sécret, =IX";
const TOKEN: &str = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg==";
const EXPORTER: [u8; 32] = [7; 32];

/// Their channel binding.
struct Exporter([u8; 32]);

impl ChannelBindingCallback for Exporter {
    fn get_cb_data(&self, name: &str) -> Option<&[u8]> {
        (name == "tls-exporter").then_some(&self.0[..])
    }
}

/// What their end knows.
struct Them {
    password: &'static str,
    token: &'static str,
    bind: bool,
    verifier: ScramVerifier,
}

impl Default for Them {
    fn default() -> Self {
        let verifier = ScramVerifier::with(&Password::prepare(PASSWORD).unwrap(), vec![3; 16], 5000).unwrap();
        Self {
            password: PASSWORD,
            token: TOKEN,
            bind: true,
            verifier,
        }
    }
}

/// The parts of a verifier's text: salt, stored key, server key.
fn parts(verifier: &ScramVerifier) -> [Vec<u8>; 3] {
    let text = verifier.to_string();
    let mut parts = text
        .split(['$', ':'])
        .skip(2)
        .map(|part| BASE64.decode(part).unwrap());
    std::array::from_fn(|_| parts.next().unwrap())
}

impl SessionCallback for Them {
    fn callback(
        &self,
        _: &SessionData,
        context: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        let [salt, stored, server] = parts(&self.verifier);
        let token = (context.get_ref::<OAuthBearerToken>() == Some(self.token)).then_some(());
        request
            .satisfy::<AuthId>(NAME)?
            .satisfy::<PasswordProperty>(self.password.as_bytes())?
            .satisfy::<OAuthBearerToken>(self.token)?
            .satisfy::<ScramStoredPassword<'_>>(&ScramStoredPassword::new(5000, &salt, &stored, &server))?
            .satisfy::<XOAuth2Validate>(&token.ok_or(r#"{"status":"401"}"#))?;
        request.get_action::<OAuthBearerErrored>();
        request.get_action::<XOAuth2Error>();
        Ok(())
    }

    fn enable_channel_binding(&self) -> bool {
        self.bind
    }

    fn validate(
        &self,
        _: &SessionData,
        context: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        let name = matches!(context.get_ref::<AuthId>(), Some(NAME | NAME_IN_SCRAM));
        let password = context.get_ref::<PasswordProperty>();
        let password = password.is_none_or(|sent| sent == self.password.as_bytes());
        let token = context.get_ref::<OAuthBearerToken>();
        let token = token.is_none_or(|sent| sent == self.token);
        validate.with::<LetIn, _>(|| Ok(name && password && token))?;
        Ok(())
    }
}

/// What they implement.
static THEIRS: [Mechanism; 6] = [
    SCRAM_SHA256_PLUS,
    SCRAM_SHA256,
    OAUTHBEARER,
    XOAUTH2,
    PLAIN,
    LOGIN,
];

/// What their server says in the end.
struct LetIn;

impl Validation for LetIn {
    type Value = bool;
}

fn tls(exporter: bool) -> Channel {
    Channel::Tls {
        exporter: exporter.then_some(TlsExporter(EXPORTER)),
        client_certificate: false,
    }
}

fn answer(step: Step, them: &Them) -> Step {
    match step {
        Step::Password(q) if q.name() != NAME => q.refuse(),
        Step::Password(q) => match q.password().as_bytes() == Password::prepare(PASSWORD).unwrap().as_bytes()
        {
            true => q.accept(),
            false => q.refuse(),
        },
        Step::Verifier(q) if q.name() == NAME => q.answer(them.verifier.clone()),
        Step::Token(q) if q.token().expose() == TOKEN => q.accept(NAME),
        Step::Token(q) => q.refuse(),
        other => other,
    }
}

/// Their client, our server: who gets in, or why not.
fn their_client(mechanism: Ours, them: Them, exporter: [u8; 32]) -> Result<String, Failure> {
    let offer = Offer::new(&[mechanism], &tls(true));
    let verifier = Them {
        verifier: them.verifier.clone(),
        ..Them::default()
    };
    let config = SASLConfig::builder()
        .with_registry(Registry::with_mechanisms(&THEIRS))
        .with_callback(them)
        .unwrap();
    let name = Mechname::parse(mechanism.name().as_bytes()).unwrap();
    let client = SASLClient::with_cb(config, Exporter(exporter));
    let mut client = client.start_suggested(&[name]).unwrap();
    let mut respond = |challenge: Option<&[u8]>| {
        let mut response = Vec::new();
        client.step(challenge, &mut response).unwrap();
        response
    };
    let initial = (mechanism != Ours::Login).then(|| respond(None));
    let mut step = offer.start(mechanism, initial.as_deref());
    loop {
        step = match answer(step, &verifier) {
            Step::Challenge { challenge, exchange } => exchange.step(&respond(Some(&challenge))),
            Step::Done { account } => return Ok(account),
            Step::Failed { reason, .. } => return Err(reason),
            other => panic!("{other:?}"),
        }
    }
}

/// Our client, their server: whether we get in, or what we do not like.
fn our_client(mechanism: Ours, credentials: &Credentials, exporter: [u8; 32]) -> Result<bool, ClientFailure> {
    let channel = tls(mechanism == Ours::ScramSha256Plus);
    let mut client = Client::choose(&[mechanism], credentials, &channel)?;
    assert_eq!(client.mechanism(), mechanism);
    let config = SASLConfig::builder()
        .with_registry(Registry::with_mechanisms(&THEIRS))
        .with_callback(Them::default())
        .unwrap();
    let name = Mechname::parse(mechanism.name().as_bytes()).unwrap();
    let mut server = SASLServer::<LetIn, _>::with_cb(config, Exporter(exporter))
        .start_suggested(name)
        .unwrap();
    let mut response = client.initial().map(|initial| initial.to_vec());
    loop {
        let mut challenge = Vec::new();
        let Ok(state) = server.step(response.as_deref(), &mut challenge) else {
            return Ok(false);
        };
        if state.has_sent_message() {
            response = Some(client.respond(&challenge)?.to_vec());
        }
        if state.is_finished() {
            let let_in = server.validation().unwrap_or(false);
            return if let_in {
                client.succeeded().map(|()| true)
            } else {
                Ok(false)
            };
        }
    }
}

fn password(password: &str) -> Credentials {
    Credentials::Password {
        name: NAME.to_owned(),
        password: Secret::new(password),
    }
}

const WITH_PASSWORD: [Ours; 4] = [Ours::Plain, Ours::Login, Ours::ScramSha256, Ours::ScramSha256Plus];

#[test]
fn their_client_gets_in_with_the_password_only() {
    for mechanism in WITH_PASSWORD {
        assert_eq!(
            their_client(mechanism, Them::default(), EXPORTER),
            Ok(NAME.to_owned()),
            "{mechanism}"
        );
        let wrong = Them {
            password: "wrong",
            ..Them::default()
        };
        assert_eq!(
            their_client(mechanism, wrong, EXPORTER),
            Err(Failure::WrongCredentials),
            "{mechanism}"
        );
    }
}

#[test]
fn their_client_gets_in_with_the_token_only() {
    for mechanism in [Ours::OAuthBearer, Ours::XOAuth2] {
        let them = || Them {
            bind: false,
            ..Them::default()
        };
        assert_eq!(
            their_client(mechanism, them(), EXPORTER),
            Ok(NAME.to_owned()),
            "{mechanism}"
        );
        let wrong = Them {
            token: "wrong",
            ..them()
        };
        assert_eq!(
            their_client(mechanism, wrong, EXPORTER),
            Err(Failure::WrongCredentials),
            "{mechanism}"
        );
    }
}

#[test]
fn their_client_on_another_connection_is_noticed() {
    let outcome = their_client(Ours::ScramSha256Plus, Them::default(), [8; 32]);
    assert_eq!(outcome, Err(Failure::WrongBinding));
}

#[test]
fn their_server_lets_us_in_with_the_password_only() {
    for mechanism in WITH_PASSWORD {
        assert_eq!(
            our_client(mechanism, &password(PASSWORD), EXPORTER),
            Ok(true),
            "{mechanism}"
        );
    }
    for mechanism in [Ours::Plain, Ours::Login] {
        assert_eq!(
            our_client(mechanism, &password("wrong"), EXPORTER),
            Ok(false),
            "{mechanism}"
        );
    }
    for mechanism in [Ours::ScramSha256, Ours::ScramSha256Plus] {
        let refused = Err(ClientFailure::Refused);
        assert_eq!(
            our_client(mechanism, &password("wrong"), EXPORTER),
            refused,
            "{mechanism}"
        );
    }
}

#[test]
fn their_server_on_another_connection_is_noticed() {
    let outcome = our_client(Ours::ScramSha256Plus, &password(PASSWORD), [8; 32]);
    assert_eq!(outcome, Err(ClientFailure::Refused));
}

#[test]
fn their_server_lets_us_in_with_the_token_only() {
    let token = |token: &str| Credentials::Token {
        name: NAME.to_owned(),
        token: Secret::new(token),
    };
    assert_eq!(our_client(Ours::XOAuth2, &token(TOKEN), EXPORTER), Ok(true));
    assert_eq!(our_client(Ours::XOAuth2, &token("wrong"), EXPORTER), Ok(false));
}
