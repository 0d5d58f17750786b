//! Sizes that bound what a peer can make us hold.

/// Longest command line taken, in octets with its CRLF. RFC 5321 4.5.3.1.4
/// asks for 512, and each extension adds (RFC 3461: 500 for ORCPT).
pub const COMMAND_LINE: usize = 2048;
/// Longest line of an AUTH exchange taken, the command's too where AUTH is offered, in octets with its
/// CRLF (RFC 4954 4).
pub const AUTH_LINE: usize = 12288;
/// Longest local part, in octets (RFC 5321 4.5.3.1.1).
pub const LOCAL_PART: usize = 64;
/// Longest domain, in octets (RFC 5321 4.5.3.1.2).
pub const DOMAIN: usize = 255;
/// Longest path with its angle brackets, in octets (RFC 5321 4.5.3.1.3).
pub const PATH: usize = 256;
/// Longest ENVID as xtext, in octets (RFC 3461 4.4).
pub const ENVID: usize = 100;
/// Longest ORCPT value, in octets (RFC 3461 4.2).
pub const ORCPT: usize = 500;
/// Longest reply line taken from a server, in octets with its CRLF. RFC 5321
/// 4.5.3.1.5 asks for 512; servers with long URLs in their replies exceed it.
pub const REPLY_LINE: usize = 4096;
/// Most lines taken in one reply.
pub const REPLY_LINES: usize = 256;
/// Errors after which each further error's reply is delayed.
pub const SOFT_ERRORS: u32 = 10;
/// How long such a reply is delayed. It does not grow: a session that is slowed
/// down still holds a connection of ours.
pub const ERROR_DELAY: std::time::Duration = std::time::Duration::from_secs(1);
/// Errors after which the session ends with 421.
pub const HARD_ERRORS: u32 = 20;
/// Commands since the last message that brought none further (NOOP, RSET, EHLO, refusals of any kind) after which
/// the session ends with 421: 4yz are no errors, but nobody may ask for them for ever.
pub const FRUITLESS: u32 = 1000;
