//! From the first octet to a command, and the commands that need no mail.

use super::line::Line;
use super::state::{Event, Peer, State};
use super::{Note, Session, replies};
use crate::command::{self, Command, CommandError, Verb};
use crate::limits;
use bytes::{Buf, BytesMut};
use zeroize::Zeroize as _;

/// The first octet of a TLS handshake record: ClientHello.
const TLS_HANDSHAKE: u8 = 0x16;

impl<T> Session<T> {
    /// Before [`Session::greet`]: nothing may come.
    pub(super) fn before_greeting(&mut self, input: &mut BytesMut) -> Option<Event<T>> {
        if !input.is_empty() && matches!(self.peer, Peer::Silent) {
            self.early_talk(input);
            return None;
        }
        Some(Event::Read)
    }

    /// Reads one command, or one response to a challenge of AUTH.
    pub(super) fn line(&mut self, input: &mut BytesMut) -> Option<Event<T>> {
        if matches!(self.peer, Peer::Silent) && !input.is_empty() {
            if input.first() == Some(&TLS_HANDSHAKE) {
                self.other_protocol();
                return None;
            }
            if !self.output.is_empty() {
                self.early_talk(input);
                return None;
            }
        }
        match self.lines.next(input, self.longest_line(input)) {
            Line::Partial => Some(Event::Read),
            Line::TooLong => {
                self.heard();
                self.note(Note::LongCommandLine);
                None
            }
            Line::Dropped if self.is_challenged() => Some(self.cancel_auth(replies::LINE_TOO_LONG)),
            Line::Dropped => {
                self.answer(Verb::Other, replies::LINE_TOO_LONG);
                None
            }
            Line::Whole { text, next } => {
                self.heard();
                let (line, more) = (&input[..text], input.len() > next);
                let (verb, event) = if self.is_challenged() {
                    (Verb::Auth, self.auth_response(line, more))
                } else {
                    let (verb, command) = command::parse(line);
                    (verb, self.dispatch(verb, command, more))
                };
                if verb == Verb::Auth {
                    input[..text].zeroize();
                }
                input.advance(next);
                event
            }
        }
    }

    fn is_challenged(&self) -> bool {
        matches!(self.state, State::Challenged)
    }

    /// Tokens of some mechanisms are long.
    fn longest_line(&self, input: &BytesMut) -> usize {
        if self.is_challenged() || (self.advertises_auth() && Verb::of(input) == Verb::Auth) {
            limits::AUTH_LINE
        } else {
            limits::COMMAND_LINE
        }
    }

    fn heard(&mut self) {
        if matches!(self.peer, Peer::Silent) {
            self.peer = Peer::Heard;
        }
    }

    /// Something came before the greeting.
    fn early_talk(&mut self, input: &BytesMut) {
        self.heard();
        if input.first() == Some(&TLS_HANDSHAKE) || Verb::of(input) == Verb::Http {
            self.other_protocol();
        } else {
            self.unauthorized_pipelining(Verb::Other);
        }
    }

    /// Whether the session ends for it.
    pub(super) fn unauthorized_pipelining(&mut self, verb: Verb) -> bool {
        self.note(Note::UnauthorizedPipelining);
        if self.settings.refuse_unauthorized_pipelining {
            self.close_with(verb, &replies::SYNCHRONIZATION);
        }
        self.settings.refuse_unauthorized_pipelining
    }

    fn other_protocol(&mut self) {
        self.note(Note::OtherProtocol);
        self.close_with(Verb::Http, &replies::OTHER_PROTOCOL);
    }

    /// `more`: the client sent something behind this command already.
    fn dispatch(
        &mut self,
        verb: Verb,
        command: Result<Command<'_>, CommandError>,
        more: bool,
    ) -> Option<Event<T>> {
        if verb == Verb::Http {
            self.other_protocol();
            return None;
        }
        if more && verb.ends_a_group() && self.unauthorized_pipelining(verb) {
            return None;
        }
        if self.fruitless >= limits::FRUITLESS && verb != Verb::Quit {
            self.note(Note::TooManyErrors);
            self.close_with(verb, &replies::TOO_MANY_COMMANDS);
            return None;
        }
        match command {
            Ok(Command::Hello { name, extended }) => return Some(self.hello(name, extended)),
            Ok(Command::Mail { sender, params }) => return self.mail(sender, params),
            Ok(Command::Rcpt { recipient, params }) => return self.rcpt(recipient, params),
            Ok(Command::Data) => return self.data(),
            Ok(Command::Bdat { size, last }) => return self.bdat(size, last),
            Ok(Command::Auth { mechanism, initial }) => return self.auth(mechanism, initial),
            Ok(Command::StartTls) => self.start_tls(),
            Ok(Command::Rset) => self.reset(),
            Ok(Command::Noop) => self.write(verb, &replies::NOOP),
            Ok(Command::Vrfy) => self.write(verb, &replies::VRFY),
            Ok(Command::Help) => self.write(verb, &replies::HELP),
            Ok(Command::Quit) => self.close_with(verb, &replies::QUIT),
            Ok(Command::NotOffered) => self.answer(verb, replies::NOT_OFFERED),
            // Content follows, nobody knows how much: it must not be read as commands.
            Err(error) if verb == Verb::Bdat => {
                self.close_with(verb, &replies::syntax(verb, error));
            }
            Err(error) => self.answer(verb, replies::syntax(verb, error)),
        }
        None
    }

    /// EHLO and HELO: both end a mail like RSET (RFC 5321 4.1.4).
    fn hello(&mut self, name: &str, extended: bool) -> Event<T> {
        let verb = if extended { Verb::Ehlo } else { Verb::Helo };
        self.state = State::Idle;
        self.peer = Peer::Named {
            name: name.into(),
            extended,
        };
        self.write(verb, &replies::hello(&self.settings, extended));
        Event::Hello
    }

    fn reset(&mut self) {
        self.state = State::Idle;
        self.write(Verb::Rset, &replies::RESET);
    }
}
