//! Reads lists of mailboxes (RFC 5322 3.4 with RFC 6532), as `From:` and `Sender:` have them.
//!
//! The result decides whether a client may use an address, so it must not differ from what any reader of the mail would see. What is taken is
//! the grammar in its strict form; what readers are known to understand differently is an error, never a guess:
//! * obsolete forms: routes (`<@a:b@c>`), blanks or comments around `@` or within an address;
//! * a display name with `@`, `,`, `<` or other specials outside of quotes (`a@x <b@y>`);
//! * encoded words in an address, which some readers decode (`=?utf-8?q?b=40y?=@x`), and quotes in it around what some readers
//!   divide at (`"b@y"@x`);
//! * anything open at the end: a quote, a comment, `<`, a group.
//!
//! Empty list elements (`a@x,,b@y`) are taken: they hide nobody. Members of groups (`team: a@x, b@y;`) count like all others.

mod tokens;

use smtp::Address;
use smtp::address::AddressError;
use tokens::{Kind, Token, Tokens};

/// Most mailboxes of one list.
pub const MAX_MAILBOXES: usize = 1000;
/// What divides addresses, or ends quotes.
const DECEPTIVE: [char; 9] = ['@', ',', ';', ':', '<', '>', '(', ')', '\\'];

/// Why a list of mailboxes cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailboxError {
    /// Not the grammar.
    #[error("it is no list of addresses; a name that holds `@`, `,`, `<` or the like needs quotes")]
    Syntax,
    /// A quote, comment, literal, bracket or group that does not end.
    #[error("a quote, a comment, a bracket or a group does not end")]
    Open,
    /// Octets that are not UTF-8.
    #[error("it holds octets that are not UTF-8")]
    NotUtf8,
    /// A control character.
    #[error("it holds a control character")]
    Control,
    /// An address that is none.
    #[error("{0}")]
    Address(AddressError),
    /// An address that some readers take for another: with an encoded word (RFC 2047 5 forbids it), or with specials in quotes.
    #[error("an address holds an encoded word, or quotes around `@`, `,`, `<` or the like")]
    Deceptive,
    /// More than [`MAX_MAILBOXES`].
    #[error("it holds more than {MAX_MAILBOXES} addresses")]
    TooMany,
}

/// All mailboxes of a field's value, folds included, in their order. None when the list is empty, or holds only empty groups.
///
/// # Errors
/// Whatever the strict grammar does not have, and more than [`MAX_MAILBOXES`].
pub fn mailboxes(value: &[u8]) -> Result<Vec<Address>, MailboxError> {
    list(value, None)
}

/// As [`mailboxes`], where a name without a domain stands for a mailbox of `domain`: what people write who have one on the
/// machine (`To: root`). For mail on its way in, never for what others sent.
///
/// # Errors
/// As [`mailboxes`].
pub fn mailboxes_at(value: &[u8], domain: &str) -> Result<Vec<Address>, MailboxError> {
    list(value, Some(domain))
}

fn list(value: &[u8], domain: Option<&str>) -> Result<Vec<Address>, MailboxError> {
    let text = str::from_utf8(value).map_err(|_| MailboxError::NotUtf8)?;
    let mut tokens = Tokens::new(text, domain);
    let mut found = Vec::new();
    let mut in_group = false;
    loop {
        let end = match element(&mut tokens)? {
            Element::Mailbox(address) => {
                if found.len() >= MAX_MAILBOXES {
                    return Err(MailboxError::TooMany);
                }
                found.push(address);
                tokens.next()?.kind
            }
            Element::Bare(address, end) => {
                if found.len() >= MAX_MAILBOXES {
                    return Err(MailboxError::TooMany);
                }
                found.push(address);
                end
            }
            Element::Group if in_group => return Err(MailboxError::Syntax),
            Element::Group => {
                in_group = true;
                continue;
            }
            Element::Nothing(end) => end,
        };
        let end = match end {
            Kind::Special(';') if in_group => {
                in_group = false;
                tokens.next()?.kind
            }
            end => end,
        };
        match end {
            Kind::Special(',') => {}
            Kind::End if in_group => return Err(MailboxError::Open),
            Kind::End => return Ok(found),
            _ => return Err(MailboxError::Syntax),
        }
    }
}

/// What stands between two commas.
enum Element<'a> {
    Mailbox(Address),
    /// A name without a domain, and the token behind it.
    Bare(Address, Kind<'a>),
    /// The name of a group and its colon: the members follow.
    Group,
    /// Nothing before this token.
    Nothing(Kind<'a>),
}

fn element<'a>(tokens: &mut Tokens<'a>) -> Result<Element<'a>, MailboxError> {
    let first = tokens.next()?.kind;
    let mut words = 0;
    let mut token = first;
    while let Kind::Word(_) = token {
        words += 1;
        let next = tokens.next()?;
        if next.kind == Kind::Special('@') {
            return match first {
                Kind::Word(local) if words == 1 && !next.apart => {
                    Ok(Element::Mailbox(address(local, tokens)?))
                }
                _ => Err(MailboxError::Syntax),
            };
        }
        token = next.kind;
    }
    match token {
        Kind::Special('<') => Ok(Element::Mailbox(angle(tokens)?)),
        Kind::Special(',' | ';') | Kind::End
            if words == 1
                && let (Kind::Word(local), Some(domain)) = (first, tokens.domain) =>
        {
            Ok(Element::Bare(checked(local, domain)?, token))
        }
        Kind::Special(':') if words > 0 => Ok(Element::Group),
        _ if words == 0 => Ok(Element::Nothing(token)),
        _ => Err(MailboxError::Syntax),
    }
}

/// What follows a `<`.
fn angle(tokens: &mut Tokens<'_>) -> Result<Address, MailboxError> {
    let Kind::Word(local) = expected(tokens)?.kind else {
        return Err(MailboxError::Syntax);
    };
    let address = match expected(tokens)? {
        Token {
            kind: Kind::Special('@'),
            apart: false,
        } => address(local, tokens)?,
        Token {
            kind: Kind::Special('>'),
            ..
        } => {
            let domain = tokens.domain.ok_or(MailboxError::Syntax)?;
            return checked(local, domain);
        }
        _ => return Err(MailboxError::Syntax),
    };
    match expected(tokens)?.kind {
        Kind::Special('>') => Ok(address),
        _ => Err(MailboxError::Syntax),
    }
}

/// The next token, where the end may not come.
fn expected<'a>(tokens: &mut Tokens<'a>) -> Result<Token<'a>, MailboxError> {
    match tokens.next()? {
        Token { kind: Kind::End, .. } => Err(MailboxError::Open),
        token => Ok(token),
    }
}

/// The address that `local` and its `@` began.
fn address(local: &str, tokens: &mut Tokens<'_>) -> Result<Address, MailboxError> {
    let domain = tokens.next()?;
    let (Kind::Word(text) | Kind::Literal(text)) = domain.kind else {
        return Err(MailboxError::Syntax);
    };
    if domain.apart {
        return Err(MailboxError::Syntax);
    }
    checked(local, text)
}

fn checked(local: &str, domain: &str) -> Result<Address, MailboxError> {
    let address = Address::parse(&format!("{local}@{domain}")).map_err(MailboxError::Address)?;
    if address.local().contains("=?") || address.local().contains(DECEPTIVE) {
        return Err(MailboxError::Deceptive);
    }
    Ok(address)
}

#[cfg(test)]
mod tests;
