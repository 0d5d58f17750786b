//! AUTH to a next hop that wants to know us.
//!
//! Promises: a password is shown only under TLS, or over loopback where nobody can listen; one mechanism is tried, the strongest that
//! both know, never a weaker one after it; no password is in an error, even if the server repeats it.

use super::Failure;
use super::wire::Wire;
use smtp::client::ClientStep;
use smtp::{Enhanced, Reply};
use smtp_config::Login;
use smtp_sasl::{Channel, Client, Credentials, Mechanism, Secret};

/// Logs in, before the first message. `loopback`: the server is on this machine.
pub(super) async fn log_in(wire: &mut Wire, login: &Login, loopback: bool) -> Result<(), Failure> {
    let channel = match wire.channel() {
        // Nobody listens there, so that mechanisms which show the password are as good as under TLS.
        Channel::Clear if loopback => Channel::Tls {
            exporter: None,
            client_certificate: false,
        },
        Channel::Clear => {
            return Err(refused(
                "the connection has no TLS, and a password is not sent in clear",
            ));
        }
        channel => channel,
    };
    let offered: Vec<Mechanism> = wire
        .client
        .capabilities()
        .auth
        .iter()
        .filter_map(|name| Mechanism::parse(name))
        .collect();
    let credentials = Credentials::Password {
        name: login.user.clone(),
        password: Secret::new(login.password.expose()),
    };
    let mut exchange =
        Client::choose(&offered, &credentials, &channel).map_err(|why| refused(&why.to_string()))?;
    let initial = exchange.initial();
    if !wire
        .client
        .authenticate(exchange.mechanism().name(), initial.as_deref())
    {
        return Err(refused("AUTH cannot be said on this connection"));
    }
    loop {
        match wire.advance().await? {
            ClientStep::AuthChallenge(challenge) => exchange = respond(wire, exchange, challenge).await?,
            ClientStep::Authenticated => {
                return exchange.succeeded().map_err(|why| refused(&why.to_string()));
            }
            ClientStep::AuthRefused(reply) => return Err(answer(&reply, login)),
            ClientStep::Refused { reply, .. } => return Err(Failure::Connection(reply)),
            other => return Err(wire.unexpected(&other)),
        }
    }
}

/// Off the threads that move mail: SCRAM computes for up to a third of a second.
async fn respond(wire: &mut Wire, mut exchange: Client, challenge: Vec<u8>) -> Result<Client, Failure> {
    let work = tokio::task::spawn_blocking(move || {
        let response = exchange.respond(&challenge);
        (exchange, response)
    });
    let (exchange, response) = work.await.map_err(|error| refused(&error.to_string()))?;
    let response = response.map_err(|why| refused(&why.to_string()))?;
    wire.client.auth_respond(&response);
    Ok(exchange)
}

/// What the server said. Some refuse for a while only (RFC 4954 4.7.1, 454): that is a server in trouble, not a wrong login.
fn answer(reply: &Reply, login: &Login) -> Failure {
    let said = match reply.text.contains(login.password.expose()) {
        true => "(a text that holds the password)",
        false => &reply.text,
    };
    let enhanced = reply
        .enhanced
        .map(|Enhanced(class, subject, detail)| format!(" {class}.{subject}.{detail}"));
    let text = format!(
        "the server says {}{} {said}",
        reply.code,
        enhanced.unwrap_or_default()
    );
    match reply.is_permanent() {
        true => refused(&text),
        false => Failure::Connection(Reply::with(
            451,
            Enhanced(4, 7, 0),
            format!("AUTH failed: {text}"),
        )),
    }
}

/// The mail is good, only our login is not: it waits for somebody who mends that.
fn refused(why: &str) -> Failure {
    Failure::Login(Reply::with(
        451,
        Enhanced(4, 7, 8),
        format!("login failed: {why}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_ours_to_mend_and_never_shows_the_password() {
        let login = Login {
            user: "ann".into(),
            password: smtp_config::Secret::new("hunter2"),
        };
        let said = |code, text: &'static str| answer(&Reply::new(code, Enhanced(5, 7, 8), text), &login);
        let Failure::Login(reply) = said(535, "wrong") else {
            panic!("a login that was refused");
        };
        assert_eq!((reply.code, reply.enhanced), (451, Some(Enhanced(4, 7, 8))));
        assert_eq!(reply.text, "login failed: the server says 535 5.7.8 wrong");
        let Failure::Login(reply) = said(535, "not hunter2") else {
            panic!("a login that was refused");
        };
        assert!(!reply.text.contains("hunter2"), "{reply:?}");
        assert!(matches!(said(454, "later"), Failure::Connection(_)));
    }
}
