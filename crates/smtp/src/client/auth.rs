//! AUTH (RFC 4954), the client's side of an exchange. Mechanisms are the caller's.
//!
//! Promises: what is said in an exchange is in no `Debug` and in no error; one exchange succeeds at most.

use super::phase::Due;
use super::{Client, ClientError, ClientStep};
use crate::reply::Reply;
use crate::secret::{self, Secret};

/// Longest line sent with an initial response, in octets with its CRLF: AUTH is a command like others. A
/// longer one waits for the server's empty challenge.
const COMMAND_LINE: usize = 512;

/// How far authentication is.
#[derive(Debug, Default)]
pub(super) enum Auth {
    /// None is under way.
    #[default]
    None,
    /// The server owes us an answer. What it has to hear first, if its answer is 334.
    Said(Option<Secret>),
    /// We owe it a response.
    Challenged,
    /// We said `*`, because the challenge was no base64 or because the caller wants it.
    Cancelled { bad_challenge: bool },
    /// The server knows who we are.
    Done,
}

impl Client {
    /// Says AUTH with a SASL mechanism, and what it says without being asked. What comes of it is
    /// [`ClientStep::AuthChallenge`], [`ClientStep::Authenticated`] or [`ClientStep::AuthRefused`].
    ///
    /// Only before the first transaction, once a time until one succeeded, and with a name that can be a mechanism's
    /// (RFC 4422 3.1); otherwise this is `false` and nothing is said. Whether the server offers the
    /// mechanism is not asked ([`super::Capabilities::auth`]), nor whether the connection is under TLS.
    #[must_use = "nothing was said if it is false"]
    pub fn authenticate(&mut self, mechanism: &str, initial: Option<&[u8]>) -> bool {
        let fits = self.is_usable() && self.transactions == 0 && matches!(self.auth, Auth::None);
        if !fits || !is_mechanism(mechanism) {
            return false;
        }
        let begin = ["AUTH ", mechanism].concat();
        let length = initial.map_or(0, |octets| {
            begin.len() + 1 + secret::encoded_len(octets.len()) + 2
        });
        self.auth = Auth::Said(None);
        self.output.0.extend_from_slice(begin.as_bytes());
        match initial {
            Some(octets) if length > COMMAND_LINE => {
                self.auth = Auth::Said(Some(Secret::new(octets.to_vec())))
            }
            Some([]) => self.output.0.extend_from_slice(b" ="),
            Some(octets) => {
                self.output.0.push(b' ');
                secret::encode(octets, &mut self.output.0);
            }
            None => {}
        }
        self.say("\r\n", Due::Auth);
        true
    }

    /// The response to [`ClientStep::AuthChallenge`], which may be empty. Does nothing without such a step.
    pub fn auth_respond(&mut self, response: &[u8]) {
        if matches!(self.auth, Auth::Challenged) {
            self.auth = Auth::Said(None);
            secret::encode(response, &mut self.output.0);
            self.say("\r\n", Due::Auth);
        }
    }

    /// Ends the exchange instead of a response; [`ClientStep::AuthRefused`] follows. Does nothing without
    /// [`ClientStep::AuthChallenge`].
    pub fn auth_cancel(&mut self) {
        if matches!(self.auth, Auth::Challenged) {
            self.cancel(false);
        }
    }

    fn cancel(&mut self, bad_challenge: bool) {
        self.auth = Auth::Cancelled { bad_challenge };
        self.say("*\r\n", Due::Auth);
    }

    /// Whether the server's answer to this is ours to give: no command may be said.
    pub(super) fn is_challenged(&self) -> bool {
        matches!(self.auth, Auth::Challenged)
    }

    /// Whether `reply` can be none in an exchange. What was cancelled can only be refused.
    pub(super) fn is_no_auth_reply(&self, reply: &Reply) -> bool {
        let refuses = reply.is_transient() || reply.is_permanent();
        let goes_on = matches!(self.auth, Auth::Said(_)) && (reply.code == 334 || reply.is_positive());
        !refuses && !goes_on
    }

    pub(super) fn on_auth(&mut self, reply: Reply) -> Result<Option<ClientStep>, ClientError> {
        let auth = std::mem::take(&mut self.auth);
        if reply.is_positive() {
            self.auth = Auth::Done;
            return Ok(Some(ClientStep::Authenticated));
        }
        if reply.code != 334 {
            return match auth {
                Auth::Cancelled { bad_challenge: true } => Err(ClientError::Challenge),
                _ => Ok(Some(ClientStep::AuthRefused(reply))),
            };
        }
        self.auth = Auth::Challenged;
        if let Auth::Said(Some(initial)) = auth {
            self.auth_respond(&initial);
            return Ok(None);
        }
        match Secret::decode(reply.text.as_bytes()) {
            Some(challenge) => Ok(Some(ClientStep::AuthChallenge(challenge.to_vec()))),
            None => {
                self.cancel(true);
                Ok(None)
            }
        }
    }
}

/// Whether a text can be the name of a SASL mechanism (RFC 4422 3.1).
pub(super) fn is_mechanism(text: &str) -> bool {
    let fits = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
    (1..=20).contains(&text.len()) && text.bytes().all(fits)
}
