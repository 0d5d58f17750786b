//! What each reply leads to: the client's half that reacts.

use super::phase::{Due, Phase};
use super::{Capabilities, Client, ClientError, ClientStep};
use crate::reply::Reply;

/// The server closes the connection (RFC 5321 3.8).
const CLOSING: u16 = 421;

impl Client {
    /// Matches a reply with the oldest command that has none. `more` is whether input is left.
    pub(super) fn take_reply(&mut self, reply: Reply, more: bool) -> Result<Option<ClientStep>, ClientError> {
        let due = self.due.front().copied();
        if due == Some(Due::Quit) {
            self.ended = true;
            return Ok(Some(ClientStep::Closed));
        }
        if reply.code == CLOSING {
            return Ok(Some(self.hung_up(reply)));
        }
        if self.is_out_of_turn(due, &reply, more) {
            return Err(ClientError::Unexpected(reply));
        }
        self.due.pop_front();
        self.early_input = more && self.due.is_empty();
        Ok(match due {
            // Only a refusal in the middle of the content gets here without a command.
            None => Some(self.hung_up(reply)),
            Some(Due::Greeting) => self.on_greeting(reply),
            Some(due @ (Due::Hello | Due::Helo)) => self.on_hello(due, reply),
            Some(Due::StartTls) if reply.is_positive() => {
                self.ready = false;
                Some(ClientStep::StartTls)
            }
            Some(Due::StartTls) => Some(ClientStep::TlsRefused(reply)),
            Some(Due::Auth) => return self.on_auth(reply),
            Some(due) => self.on_transaction_reply(due, reply),
        })
    }

    /// Whether a reply comes where none is due, or is none that the command can have. To go on would be
    /// to take it for the answer to something else.
    fn is_out_of_turn(&self, due: Option<Due>, reply: &Reply, more: bool) -> bool {
        let refuses = reply.is_transient() || reply.is_permanent();
        let Some(due) = due else {
            return !(self.in_content && refuses);
        };
        // A server may refuse content before it has all of it; it cannot accept it then.
        let is_early = self.early_input && !(due.phase() == Phase::Final && refuses);
        let is_nonsense = match due {
            Due::Data => reply.is_positive(),
            Due::Reset => !reply.is_positive(),
            // What came with the go-ahead came in clear, and would be read as if it were protected.
            Due::StartTls => !refuses && (!reply.is_positive() || more),
            Due::Auth => self.is_no_auth_reply(reply),
            _ => !refuses && !reply.is_positive(),
        };
        is_early || is_nonsense
    }

    /// The server goes: everyone who is not settled gets its reply.
    fn hung_up(&mut self, reply: Reply) -> ClientStep {
        let phase = self.phase();
        self.ended = true;
        self.due.clear();
        self.next = None;
        match &mut self.transaction {
            Some(transaction) => {
                transaction.decide_rest(phase, &reply);
                self.finish().unwrap_or(ClientStep::Closed)
            }
            None => ClientStep::Refused { phase, reply },
        }
    }

    fn on_greeting(&mut self, reply: Reply) -> Option<ClientStep> {
        if reply.is_positive() {
            self.say_hello();
            return None;
        }
        self.ended = true;
        Some(ClientStep::Refused {
            phase: Phase::Greeting,
            reply,
        })
    }

    fn on_hello(&mut self, due: Due, reply: Reply) -> Option<ClientStep> {
        if reply.is_positive() {
            if due == Due::Hello {
                self.capabilities = Capabilities::from_ehlo(&reply);
            }
            self.ready = true;
            return Some(ClientStep::Ready);
        }
        if due == Due::Hello && reply.is_permanent() && !self.lmtp {
            self.say(&format!("HELO {}\r\n", self.name), Due::Helo);
            return None;
        }
        self.ended = true;
        Some(ClientStep::Refused {
            phase: Phase::Hello,
            reply,
        })
    }

    fn on_transaction_reply(&mut self, due: Due, reply: Reply) -> Option<ClientStep> {
        let transaction = self.transaction.as_mut()?;
        match due {
            Due::Mail => transaction.on_mail(&reply),
            Due::Rcpt(index) => transaction.on_rcpt(index, reply),
            Due::Data if reply.is_transient() || reply.is_permanent() => {
                transaction.decide_rest(Phase::Data, &reply);
            }
            Due::Data => return self.on_go_ahead(),
            Due::FinalOf(index) => {
                transaction.open = false;
                transaction.decide(index, Phase::Final, reply);
                // The replies that are still due may be the next transaction's.
                return match transaction.any_undecided() {
                    true => None,
                    false => self.finish(),
                };
            }
            Due::Final | Due::FinalOfNothing => {
                transaction.open = false;
                transaction.decide_rest(Phase::Final, &reply);
                return self.finish();
            }
            _ => {}
        }
        self.advance()
    }

    /// 354: the content follows, if anyone is there to get it.
    fn on_go_ahead(&mut self) -> Option<ClientStep> {
        let transaction = self.transaction.as_ref()?;
        if transaction.any_undecided() {
            self.in_content = true;
            return Some(ClientStep::SendContent { chunked: false });
        }
        if transaction.accepted_rcpt || self.lmtp {
            // A dot now would send an empty message to whom the server accepted after it refused
            // MAIL; and LMTP's replies to it could not be counted. Only closing is safe.
            self.ended = true;
            return self.finish();
        }
        self.say(".\r\n", Due::FinalOfNothing);
        None
    }

    /// Goes on with the transaction: more commands, the content by BDAT, or its end.
    fn advance(&mut self) -> Option<ClientStep> {
        self.write_commands();
        if !self.due.is_empty() {
            return None;
        }
        if self.transaction.as_mut()?.write_bdat(&mut self.output.0) {
            self.in_content = true;
            return Some(ClientStep::SendContent { chunked: true });
        }
        self.finish()
    }

    fn finish(&mut self) -> Option<ClientStep> {
        let transaction = self.transaction.take()?;
        self.in_content = false;
        self.after_final_dot = false;
        self.reset_needed = transaction.open;
        self.transaction = self.next.take();
        self.ahead = self.transaction.is_some();
        Some(ClientStep::Finished(transaction.into_outcome()))
    }
}
