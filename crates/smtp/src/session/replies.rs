//! Every reply of our own, with its enhanced code (RFC 3463, RFC 5248).

use super::{AuthOffer, Settings, Tls};
use crate::address::AddressError;
use crate::body::Breach;
use crate::command::{CommandError, Verb};
use crate::params::ParamError;
use crate::reply::{Enhanced, Reply};
use std::borrow::Cow;

const fn reply(code: u16, subject: u16, detail: u16, text: &'static str) -> Reply {
    Reply::new(code, Enhanced((code / 100) as u8, subject, detail), text)
}

pub(super) const RESET: Reply = reply(250, 0, 0, "Ok");
pub(super) const NOOP: Reply = reply(250, 0, 0, "Ok");
pub(super) const SENDER: Reply = reply(250, 1, 0, "Sender ok");
pub(super) const VRFY: Reply = reply(252, 5, 2, "Send a message and see");
pub(super) const HELP: Reply = reply(
    214,
    0,
    0,
    "Commands: EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT\nEHLO says what is offered, RFC 5321 the rest",
);
pub(super) const QUIT: Reply = reply(221, 0, 0, "Bye");
/// No enhanced code: RFC 2034 4 has them for 2yz, 4yz and 5yz only.
pub(super) const START: Reply = Reply {
    code: 354,
    enhanced: None,
    text: Cow::Borrowed("End the message with <CR><LF>.<CR><LF>"),
};

pub(super) const LOCAL_ERROR: Reply = reply(451, 3, 0, "Local error, try again later");
pub(super) const TOO_MANY_ERRORS: Reply = reply(421, 7, 0, "Too many errors, closing");
pub(super) const TOO_MANY_COMMANDS: Reply = reply(421, 7, 0, "Too many commands without a message, closing");
pub(super) const SYNCHRONIZATION: Reply = reply(
    554,
    5,
    0,
    "You must wait for the reply before you send more, closing",
);
pub(super) const OTHER_PROTOCOL: Reply = reply(554, 5, 0, "This is SMTP, closing");
pub(super) const LINE_TOO_LONG: Reply = reply(500, 5, 6, "Line too long");

pub(super) const START_TLS: Reply = reply(220, 0, 0, "Ready to start TLS");
pub(super) const TLS_IS_UP: Reply = reply(503, 5, 1, "TLS is up already");
pub(super) const TLS_REQUIRED: Reply = reply(530, 7, 0, "Authentication required, send STARTTLS first");
pub(super) const AUTH_REQUIRED: Reply = reply(530, 7, 0, "Authentication required");
pub(super) const AUTH_ACCEPTED: Reply = reply(235, 7, 0, "Authentication successful");
pub(super) const AUTH_CANCELLED: Reply = reply(501, 7, 0, "Authentication cancelled");
pub(super) const AUTH_UNDECIDED: Reply =
    reply(454, 7, 0, "Temporary authentication failure, try again later");
pub(super) const AUTHENTICATED: Reply = reply(503, 5, 1, "Already authenticated");
pub(super) const AUTH_IN_MAIL: Reply = reply(503, 5, 1, "AUTH comes before MAIL, send RSET first");
pub(super) const NO_MECHANISM: Reply = reply(501, 5, 4, "Syntax: AUTH mechanism [initial-response]");
pub(super) const UNKNOWN_MECHANISM: Reply = reply(504, 5, 4, "Mechanism not offered, see the reply to EHLO");
pub(super) const BAD_BASE64: Reply = reply(501, 5, 2, "Not base64, authentication cancelled");
pub(super) const ENCRYPTION_REQUIRED: Reply = reply(
    538,
    7,
    11,
    "Encryption required for requested authentication mechanism",
);

pub(super) const NO_HELLO: Reply = reply(503, 5, 1, "Send EHLO first");
pub(super) const NESTED_MAIL: Reply = reply(503, 5, 1, "There is a transaction already, send RSET first");
pub(super) const NO_MAIL: Reply = reply(503, 5, 1, "Send MAIL first");
pub(super) const NO_RECIPIENTS: Reply = reply(554, 5, 1, "No valid recipients");
pub(super) const CHUNK_WITHOUT_RECIPIENTS: Reply = reply(503, 5, 1, "No valid recipients, chunk dropped");
pub(super) const CHUNK_WITHOUT_MAIL: Reply = reply(503, 5, 1, "No transaction, chunk dropped");
pub(super) const RCPT_AFTER_BDAT: Reply = reply(503, 5, 1, "Recipients come before BDAT");
pub(super) const DATA_AFTER_BDAT: Reply = reply(503, 5, 1, "After BDAT only BDAT goes on with a message");
pub(super) const BINARY_NEEDS_BDAT: Reply = reply(503, 5, 1, "BODY=BINARYMIME needs BDAT");
pub(super) const PARAMS_NEED_EHLO: Reply = reply(555, 5, 4, "Parameters need EHLO");
pub(super) const TOO_LARGE: Reply = reply(552, 3, 4, "Message is larger than SIZE in the reply to EHLO");
pub(super) const TOO_MANY_RECIPIENTS: Reply = reply(
    452,
    5,
    3,
    "Too many recipients, send the rest in another transaction",
);
pub(super) const NEEDS_SMTPUTF8: Reply = reply(
    553,
    6,
    7,
    "An address beyond ASCII needs the parameter SMTPUTF8 of MAIL",
);
pub(super) const NO_POSTMASTER: Reply = reply(550, 1, 3, "Send postmaster with a domain");

const OFFERED: &str = "PIPELINING\n8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES\nCHUNKING\nBINARYMIME\nDSN\nHELP";

/// Without an enhanced code, as RFC 2034 4 wants it for greetings and EHLO.
pub(super) fn greeting(settings: &Settings) -> Reply {
    plain(220, format!("{} {}", settings.hostname, settings.banner))
}

pub(super) fn hello(settings: &Settings, extended: bool) -> Reply {
    if !extended {
        return plain(250, settings.hostname.clone());
    }
    let Settings {
        hostname,
        max_message_size,
        max_recipients,
        ..
    } = settings;
    let mut text = format!("{hostname}\nSIZE {max_message_size}\nLIMITS RCPTMAX={max_recipients}\n{OFFERED}");
    if settings.tls == Tls::Offered {
        text.push_str("\nSTARTTLS");
    }
    if let AuthOffer::Mechanisms(mechanisms) = &settings.auth {
        text.push_str("\nAUTH");
        for mechanism in mechanisms {
            text.push(' ');
            text.push_str(mechanism);
        }
    }
    plain(250, text)
}

fn plain(code: u16, text: String) -> Reply {
    Reply {
        code,
        enhanced: None,
        text: Cow::Owned(text),
    }
}

pub(super) fn chunk_taken(size: u64) -> Reply {
    Reply::with(250, Enhanced(2, 0, 0), format!("{size} octets so far"))
}

pub(super) fn breach(breach: Breach, settings: &Settings) -> Reply {
    match breach {
        Breach::Size => TOO_LARGE,
        Breach::Line => {
            let text = format!("A line is longer than {} octets", settings.max_line_length);
            Reply::with(554, Enhanced(5, 6, 0), text)
        }
    }
}

pub(super) fn parameter(error: &ParamError) -> Reply {
    let code = if matches!(error, ParamError::Unknown(_)) {
        555
    } else {
        501
    };
    Reply::with(code, Enhanced(5, 5, 4), error.to_string())
}

/// The reply to a line that is not a command.
pub(super) fn syntax(verb: Verb, error: CommandError) -> Reply {
    match error {
        CommandError::Octets => reply(500, 5, 2, "A command holds no control characters, and is UTF-8"),
        CommandError::Verb => reply(500, 5, 1, "Command not known, try HELP"),
        CommandError::Missing if verb == Verb::Vrfy => reply(501, 5, 4, "Syntax: VRFY address"),
        CommandError::Missing => reply(501, 5, 4, "Syntax: EHLO your.host.name"),
        CommandError::Unexpected => reply(501, 5, 4, "This command takes no argument"),
        CommandError::Name => reply(501, 5, 4, "The name has to be a domain or an address literal"),
        CommandError::Keyword if verb == Verb::Mail => reply(501, 5, 4, "Syntax: MAIL FROM:<user@domain>"),
        CommandError::Keyword => reply(501, 5, 4, "Syntax: RCPT TO:<user@domain>"),
        CommandError::Chunk => reply(501, 5, 4, "Syntax: BDAT size [LAST], closing"),
        CommandError::Brackets if verb == Verb::Mail => reply(
            501,
            1,
            7,
            "Put the address in angle brackets: MAIL FROM:<user@domain>",
        ),
        CommandError::Brackets => reply(
            501,
            1,
            3,
            "Put the address in angle brackets: RCPT TO:<user@domain>",
        ),
        CommandError::Route => path(verb, "The source route is malformed, leave it out"),
        CommandError::NullRecipient => reply(501, 1, 3, "A recipient cannot be <>"),
        CommandError::Address(error) => path(verb, address(error)),
    }
}

fn path(verb: Verb, text: &'static str) -> Reply {
    if verb == Verb::Mail {
        reply(501, 1, 7, text)
    } else {
        reply(501, 1, 3, text)
    }
}

fn address(error: AddressError) -> &'static str {
    match error {
        AddressError::Incomplete => "The address is not user@domain",
        AddressError::LocalPart => "A character before the @ is not allowed, or needs quotes",
        AddressError::Domain => "What follows the @ is neither a domain nor an address literal",
        AddressError::TooLong => "The address is too long",
    }
}

pub(super) const NOT_OFFERED: Reply = reply(502, 5, 1, "Command not offered here");
