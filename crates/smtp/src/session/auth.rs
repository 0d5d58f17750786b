//! STARTTLS (RFC 3207) and AUTH (RFC 4954): who may say them when, and an exchange from AUTH to its end.
//!
//! No mechanism is known here: the caller hears what the client says and answers with [`AuthAnswer`].
//! Whatever ends an exchange but [`AuthAnswer::Accepted`] leaves the session idle and unauthenticated.

use super::state::{Event, Peer, State};
use super::{AuthOffer, Session, Tls, replies};
use crate::command::Verb;
use crate::reply::Reply;
use crate::secret::{self, Encoded, Secret};
use bytes::BytesMut;

/// The answer to [`super::Step::Auth`] and [`super::Step::AuthResponse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthAnswer {
    /// Ask the client for a response to these octets, 9,000 at most: as base64 they go into a line of 12288.
    Challenge(Vec<u8>),
    /// The client is who it says: 235.
    Accepted,
    /// It is not, or nobody can say now: 535 5.7.8, 454 4.7.0, 421; any 4yz or 5yz.
    Rejected(Reply),
}

impl<T> Session<T> {
    /// A mail that is open ends here, like with EHLO.
    pub(super) fn start_tls(&mut self) {
        let refusal = match self.settings.tls {
            Tls::Absent => replies::NOT_OFFERED,
            Tls::Active => replies::TLS_IS_UP,
            Tls::Offered if !self.is_extended() => replies::NO_HELLO,
            Tls::Offered => {
                self.state = State::StartTls;
                if !self.stops_instead(Verb::StartTls) {
                    self.write(Verb::StartTls, &replies::START_TLS);
                }
                return;
            }
        };
        self.answer(Verb::StartTls, refusal);
    }

    /// What came behind STARTTLS in clear is not for the session that follows (RFC 3207 4.2).
    pub(super) fn leave_for_tls(&mut self, input: &mut BytesMut) -> Event<T> {
        input.clear();
        self.state = State::Closed;
        Event::StartTls
    }

    pub(super) fn auth(&mut self, mechanism: &str, initial: Option<Encoded<'_>>) -> Option<Event<T>> {
        match self.check_auth(mechanism, initial) {
            Ok((mechanism, initial)) => {
                self.state = State::AwaitAuth;
                Some(Event::Auth { mechanism, initial })
            }
            Err(reply) => {
                self.answer(Verb::Auth, reply);
                None
            }
        }
    }

    fn check_auth(
        &self,
        mechanism: &str,
        initial: Option<Encoded<'_>>,
    ) -> Result<(&'static str, Option<Secret>), Reply> {
        if matches!(self.settings.auth, AuthOffer::Absent) {
            return Err(replies::NOT_OFFERED);
        }
        if !self.is_extended() {
            return Err(replies::NO_HELLO);
        }
        if self.authenticated {
            return Err(replies::AUTHENTICATED);
        }
        if !matches!(self.state, State::Idle) {
            return Err(replies::AUTH_IN_MAIL);
        }
        let AuthOffer::Mechanisms(offered) = &self.settings.auth else {
            return Err(replies::ENCRYPTION_REQUIRED);
        };
        if mechanism.is_empty() {
            return Err(replies::NO_MECHANISM);
        }
        let known = offered.iter().find(|name| name.eq_ignore_ascii_case(mechanism));
        let mechanism = known.ok_or(replies::UNKNOWN_MECHANISM)?;
        let initial = match initial {
            Some(text) => Some(text.decode().ok_or(replies::BAD_BASE64)?),
            None => None,
        };
        Ok((mechanism, initial))
    }

    fn is_extended(&self) -> bool {
        matches!(self.peer, Peer::Named { extended: true, .. })
    }

    /// Whether AUTH is in the reply to EHLO.
    pub(super) fn advertises_auth(&self) -> bool {
        matches!(self.settings.auth, AuthOffer::Mechanisms(_))
    }

    /// A line of the exchange. `more`: the client sent something behind it already.
    pub(super) fn auth_response(&mut self, line: &[u8], more: bool) -> Option<Event<T>> {
        if more && self.unauthorized_pipelining(Verb::Auth) {
            return None;
        }
        if self.stops_instead(Verb::Auth) {
            return None;
        }
        if line == b"*" {
            return Some(self.cancel_auth(replies::AUTH_CANCELLED));
        }
        match Secret::decode(line) {
            Some(response) => {
                self.state = State::AwaitAuth;
                Some(Event::AuthResponse(response))
            }
            None => Some(self.cancel_auth(replies::BAD_BASE64)),
        }
    }

    /// Ends an exchange without the caller, who hears of it.
    pub(super) fn cancel_auth(&mut self, reply: Reply) -> Event<T> {
        self.state = State::Idle;
        if !self.stops_instead(Verb::Auth) {
            self.answer(Verb::Auth, reply);
        }
        Event::AuthCancelled
    }

    /// Gives the reply of a shutdown in place of the answer, if one is due. Whether it did.
    fn stops_instead(&mut self, verb: Verb) -> bool {
        let stop = self.stop.take();
        if let Some(reply) = &stop {
            self.close_with(verb, reply);
        }
        stop.is_some()
    }

    /// Answers [`super::Step::Auth`] and [`super::Step::AuthResponse`]. Does nothing without such a step.
    ///
    /// After [`Session::shutdown`] the client hears the reply of that instead, whatever the answer is.
    pub fn answer_auth(&mut self, answer: AuthAnswer) {
        if !matches!(self.state, State::AwaitAuth) {
            return;
        }
        self.state = State::Idle;
        if self.stops_instead(Verb::Auth) {
            return;
        }
        match answer {
            AuthAnswer::Challenge(octets) => {
                self.state = State::Challenged;
                self.output.extend_from_slice(b"334 ");
                secret::encode(&octets, &mut self.output);
                self.output.extend_from_slice(b"\r\n");
                self.written(Verb::Auth, 334);
            }
            AuthAnswer::Accepted => {
                self.authenticated = true;
                self.write(Verb::Auth, &replies::AUTH_ACCEPTED);
            }
            AuthAnswer::Rejected(reply) => self.answer(Verb::Auth, reply),
        }
    }
}
