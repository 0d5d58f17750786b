//! AUTH on a connection: hands what the client says to the authenticator, and gives refusals their time.
//!
//! Promises: whoever waits for a refusal holds no buffer and no turn at the hashing; a stop of the server is not held up by it.

use super::{Connection, Cut};
use crate::auth::{Client, Outcome, Pending};
use smtp::Secret;
use smtp::session::AuthAnswer;
use smtp_sasl::Mechanism;
use std::time::Duration;

/// What of an exchange the client said now.
pub(super) enum Said {
    Mechanism(&'static str, Option<Secret>),
    Response(Secret),
}

impl Connection {
    /// AUTH, or the response to a challenge.
    pub(super) async fn authenticate(&mut self, said: Said) -> Result<(), Cut> {
        let channel = self.visit.channel();
        let client = Client {
            listener: self.visit.listener,
            peer: self.visit.peer,
            is_proxy: self.visit.origin().is_proxy,
            channel: &channel,
            certificate: self.visit.tls.as_ref().map_or(&[], |tls| &tls.identities),
            config: &self.visit.policy.config,
        };
        let authenticator = &self.visit.shared.authenticator;
        let outcome = match (said, self.exchange.take()) {
            (Said::Mechanism(name, initial), _) => match Mechanism::parse(name) {
                Some(mechanism) => authenticator.start(&client, mechanism, initial.as_deref()).await,
                // The session asks for those only that were offered.
                None => return Ok(()),
            },
            (Said::Response(response), Some(exchange)) => {
                authenticator.go_on(&client, *exchange, &response).await
            }
            (Said::Response(_), None) => return Ok(()),
        };
        self.conclude(outcome).await
    }

    async fn conclude(&mut self, outcome: Outcome) -> Result<(), Cut> {
        let (answer, late) = match outcome {
            Outcome::Challenge(challenge, exchange) => {
                self.exchange = Some(exchange);
                (AuthAnswer::Challenge(challenge), Duration::ZERO)
            }
            Outcome::Accepted(account, slot) => {
                self.visit.authenticated(account, slot);
                (AuthAnswer::Accepted, Duration::ZERO)
            }
            Outcome::Refused { reply, late } => (AuthAnswer::Rejected(reply), late),
        };
        if !late.is_zero() {
            self.delay(late).await?;
        }
        self.session.answer_auth(answer);
        Ok(())
    }
}

/// An exchange that waits for the client's response.
pub(super) type Exchange = Option<Box<Pending>>;
