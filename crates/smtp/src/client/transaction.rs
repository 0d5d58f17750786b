//! One message on its way: which command comes next, and what is decided for each recipient.
//!
//! A recipient is undecided until a reply settles it. Once every RCPT is answered, the undecided
//! ones are those the server accepted: the content is for them.

use super::phase::{Due, Phase};
use super::{Capabilities, Outcome, Outgoing, envelope};
use crate::reply::{Enhanced, Reply};

#[derive(Debug)]
pub(super) struct Transaction {
    message: Outgoing,
    /// It ends before DATA: the replies to RCPT are all that is wanted.
    probe: bool,
    decided: Vec<Option<(Phase, Reply)>>,
    /// How many of them are `None`.
    undecided: usize,
    next: Next,
    /// The server accepted MAIL or a RCPT and has not ended the transaction: it needs a RSET.
    pub(super) open: bool,
    /// The server accepted a RCPT, whatever it said to MAIL.
    pub(super) accepted_rcpt: bool,
}

/// The command to be written next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Mail,
    Rcpt(usize),
    Data,
    Nothing,
}

impl Transaction {
    pub(super) fn new(message: Outgoing, probe: bool) -> Self {
        let decided = vec![None; message.recipients.len()];
        let undecided = decided.len();
        Transaction {
            message,
            probe,
            decided,
            undecided,
            next: Next::Mail,
            open: false,
            accepted_rcpt: false,
        }
    }

    /// Whether it is this message's.
    pub(super) fn is_of(&self, message: &Outgoing) -> bool {
        self.message == *message
    }

    /// Appends the next command; `None` when none is left that makes sense, or BDAT is next.
    pub(super) fn write_next(&mut self, server: &Capabilities, out: &mut Vec<u8>) -> Option<Due> {
        if !self.any_undecided() {
            return None;
        }
        match self.next {
            Next::Mail => {
                envelope::write_mail(&self.message, server, out);
                self.next = Next::Rcpt(0);
                Some(Due::Mail)
            }
            Next::Rcpt(index) => {
                envelope::write_rcpt(&self.message, index, server, out);
                let following = index + 1;
                self.next = if following < self.decided.len() {
                    Next::Rcpt(following)
                } else if self.probe {
                    Next::Nothing
                } else {
                    Next::Data
                };
                Some(Due::Rcpt(index))
            }
            Next::Data if self.is_chunked() => None,
            Next::Data => {
                out.extend_from_slice(b"DATA\r\n");
                self.next = Next::Nothing;
                Some(Due::Data)
            }
            Next::Nothing => None,
        }
    }

    /// Appends BDAT for all of the content, if that is what comes next. Every RCPT must be answered.
    pub(super) fn write_bdat(&mut self, out: &mut Vec<u8>) -> bool {
        if self.next != Next::Data || !self.is_chunked() || !self.any_undecided() {
            return false;
        }
        out.extend_from_slice(format!("BDAT {} LAST\r\n", self.message.size).as_bytes());
        self.next = Next::Nothing;
        true
    }

    fn is_chunked(&self) -> bool {
        envelope::is_binary(&self.message)
    }

    pub(super) fn on_mail(&mut self, reply: &Reply) {
        if reply.is_positive() {
            self.open = true;
        } else {
            self.decide_rest(Phase::Mail, reply);
        }
    }

    pub(super) fn on_rcpt(&mut self, index: usize, reply: Reply) {
        if reply.is_positive() {
            self.open = true;
            self.accepted_rcpt = true;
            if self.probe {
                self.decide(index, Phase::Rcpt, reply);
            }
        } else {
            self.decide(index, Phase::Rcpt, reply);
        }
    }

    /// Settles one recipient, unless it is settled.
    pub(super) fn decide(&mut self, index: usize, phase: Phase, reply: Reply) {
        if let Some(undecided @ None) = self.decided.get_mut(index) {
            *undecided = Some((phase, reply));
            self.undecided -= 1;
        }
    }

    /// Settles every recipient that is not settled.
    pub(super) fn decide_rest(&mut self, phase: Phase, reply: &Reply) {
        for undecided in self.decided.iter_mut().filter(|decided| decided.is_none()) {
            *undecided = Some((phase, reply.clone()));
        }
        self.undecided = 0;
    }

    pub(super) fn any_undecided(&self) -> bool {
        self.undecided > 0
    }

    /// The numbers of the recipients that are not settled.
    pub(super) fn undecided(&self) -> impl Iterator<Item = usize> {
        self.decided
            .iter()
            .enumerate()
            .filter(|(_, decided)| decided.is_none())
            .map(|(index, _)| index)
    }

    pub(super) fn into_outcome(self) -> Outcome {
        const UNDECIDED: Reply = Reply::new(451, Enhanced(4, 5, 0), "The next server gave no answer");
        let settled = |decided: Option<_>| decided.unwrap_or((Phase::Final, UNDECIDED));
        Outcome {
            recipients: self.decided.into_iter().map(settled).collect(),
        }
    }
}
