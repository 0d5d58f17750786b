//! What a refusal means to the program that called `sendmail`: a code of sysexits.

use crate::exit::Exit;
use smtp::client::Phase;
use smtp::{Enhanced, Reply};

/// For a 5yz, by its enhanced status code (RFC 3463), else by the command that it answered.
pub(super) fn exit(phase: Phase, reply: &Reply) -> Exit {
    match (reply.enhanced, phase) {
        (Some(Enhanced(_, 7, _)), _) => Exit::NoPermission,
        (Some(Enhanced(_, 1, 0..=6 | 10)), Phase::Rcpt) => Exit::NoUser,
        (Some(Enhanced(_, 6, _) | Enhanced(_, 3, 4)), _) => Exit::Data,
        (Some(_), _) => Exit::Unavailable,
        (None, _) if matches!(reply.code, 530 | 535) => Exit::NoPermission,
        (None, Phase::Rcpt) if matches!(reply.code, 550 | 551 | 553) => Exit::NoUser,
        (None, Phase::Data | Phase::Content | Phase::Final) => Exit::Data,
        (None, _) if reply.code == 552 => Exit::Data,
        (None, _) => Exit::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_can_tell_refusals_apart() {
        let reply = |code, enhanced| Reply {
            code,
            enhanced,
            text: "".into(),
        };
        for (phase, code, enhanced, expected) in [
            (Phase::Rcpt, 550, Some(Enhanced(5, 1, 1)), Exit::NoUser),
            (Phase::Rcpt, 554, Some(Enhanced(5, 7, 1)), Exit::NoPermission),
            (Phase::Mail, 550, Some(Enhanced(5, 1, 8)), Exit::Unavailable),
            (Phase::Mail, 552, Some(Enhanced(5, 3, 4)), Exit::Data),
            (Phase::Final, 554, Some(Enhanced(5, 6, 0)), Exit::Data),
            (Phase::Final, 554, None, Exit::Data),
            (Phase::Rcpt, 550, None, Exit::NoUser),
            (Phase::Mail, 530, None, Exit::NoPermission),
            (Phase::Greeting, 554, None, Exit::Unavailable),
        ] {
            assert_eq!(
                exit(phase, &reply(code, enhanced)),
                expected,
                "{code} {enhanced:?}"
            );
        }
    }
}
