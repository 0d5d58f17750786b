//! Where a client waits, and for how long; and which reply is due.

use std::time::Duration;

/// Where in the conversation a client waits; each has its time-out (RFC 5321 4.5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// For the greeting: 5 minutes.
    Greeting,
    /// For the reply to EHLO, HELO or LHLO: 5 minutes.
    Hello,
    /// For the reply to STARTTLS: 2 minutes.
    StartTls,
    /// For the reply to AUTH or to a response in its exchange: 5 minutes.
    Auth,
    /// For the reply to MAIL: 5 minutes.
    Mail,
    /// For the reply to RCPT: 5 minutes.
    Rcpt,
    /// For the reply to DATA: 2 minutes.
    Data,
    /// While content is sent: 3 minutes a block.
    Content,
    /// For the reply after the final dot: 10 minutes.
    Final,
    /// For the reply to RSET: 20 seconds.
    Reset,
    /// For the reply to QUIT: 5 seconds.
    Quit,
    /// Between transactions: servers wait 5 minutes for a command.
    Idle,
}

impl Phase {
    /// How long to wait in this phase.
    pub fn timeout(self) -> Duration {
        let seconds = match self {
            Phase::Greeting | Phase::Hello | Phase::Auth | Phase::Mail | Phase::Rcpt | Phase::Idle => 300,
            Phase::StartTls | Phase::Data => 120,
            Phase::Content => 180,
            Phase::Final => 600,
            Phase::Reset => 20,
            Phase::Quit => 5,
        };
        Duration::from_secs(seconds)
    }

    /// The name a log uses: `greeting`, `EHLO`, `MAIL`, `end of data`…
    pub fn name(self) -> &'static str {
        match self {
            Phase::Greeting => "greeting",
            Phase::Hello => "EHLO",
            Phase::StartTls => "STARTTLS",
            Phase::Auth => "AUTH",
            Phase::Mail => "MAIL",
            Phase::Rcpt => "RCPT",
            Phase::Data => "DATA",
            Phase::Content => "content",
            Phase::Final => "end of data",
            Phase::Reset => "RSET",
            Phase::Quit => "QUIT",
            Phase::Idle => "idle",
        }
    }
}

/// A reply that the server owes us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Greeting,
    /// To EHLO or LHLO.
    Hello,
    /// To HELO, said because EHLO was refused.
    Helo,
    StartTls,
    /// To AUTH, a response, or `*`.
    Auth,
    Reset,
    Mail,
    /// To the RCPT of the recipient with this number.
    Rcpt(usize),
    Data,
    /// For all recipients that were accepted.
    Final,
    /// For the recipient with this number: LMTP.
    FinalOf(usize),
    /// To the lone dot after a DATA that should have been refused (RFC 2920 3.1).
    FinalOfNothing,
    Quit,
}

impl Due {
    pub(super) fn phase(self) -> Phase {
        match self {
            Due::Greeting => Phase::Greeting,
            Due::Hello | Due::Helo => Phase::Hello,
            Due::StartTls => Phase::StartTls,
            Due::Auth => Phase::Auth,
            Due::Reset => Phase::Reset,
            Due::Mail => Phase::Mail,
            Due::Rcpt(_) => Phase::Rcpt,
            Due::Data => Phase::Data,
            Due::Final | Due::FinalOf(_) | Due::FinalOfNothing => Phase::Final,
            Due::Quit => Phase::Quit,
        }
    }
}
