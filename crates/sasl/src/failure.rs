//! Why an exchange failed: for the log. The client is told only that it failed.

/// Why the server's end gave up. Holds nothing of what the client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Failure {
    /// The mechanism was not offered on this connection.
    #[error("this mechanism is not offered on this connection")]
    NotOffered,
    /// A message does not follow its grammar.
    #[error("a message does not follow the mechanism's grammar")]
    Malformed,
    /// A message, a name, a password or a token is too long.
    #[error("a message, name, password or token is too long")]
    TooLong,
    /// A name or password is empty or has characters that SASLprep (RFC 4013) prohibits.
    #[error("a name or password is empty or has characters that are not allowed")]
    Prohibited,
    /// The password, proof, token or certificate does not open the account.
    #[error("the credentials are wrong")]
    WrongCredentials,
    /// The client asked to act as an account other than the one it proved to be.
    #[error("the client asked to act for another account")]
    OtherIdentity,
    /// The client asked for a kind of channel binding that is not known here.
    #[error(
        "the client asked for a channel binding other than tls-exporter, or for none where one is needed"
    )]
    UnsupportedBinding,
    /// The client's channel binding is not that of this connection: somebody may sit in between.
    #[error("the channel binding is not that of this connection: somebody may sit in between")]
    WrongBinding,
    /// The client believes that no channel binding was offered, although one was (RFC 5802, section 6).
    #[error("the client did not see the offer of channel binding: somebody may have removed it")]
    Downgrade,
    /// The client demands a SCRAM extension (`m=`); none is known.
    #[error("the client demands a SCRAM extension")]
    UnknownExtension,
    /// The client's second message has another nonce.
    #[error("the nonce is not that of this exchange")]
    WrongNonce,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
}
