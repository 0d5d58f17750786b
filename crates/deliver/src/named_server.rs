//! Hands mail to one server that is named: what `sendmail` does, and the look through its drop folder.
//!
//! Promises: every recipient has one outcome; nothing is resolved by MX, queued or tried again here; a password goes over TLS or
//! loopback only.

use crate::connection::{Announce, Connection, ContentLimits, Failure, Gate, Nothing, Settings};
use crate::resolve::Endpoint;
use crate::tls::Tls;
use bytes::Bytes;
use smtp::client::{Outgoing, Phase};
use smtp::{Enhanced, Reply};
use smtp_config::{NextHop, TlsPolicy};
use smtp_queue::Body;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// For a TCP connection: somebody waits for the command to end.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// RFC 5321 4.5.3.2.6.
const FINAL_TIMEOUT: Duration = Duration::from_secs(600);
/// RFC 5321 4.5.3.2.5; no least rate.
const CONTENT: ContentLimits = ContentLimits {
    block_timeout: Duration::from_secs(180),
    min_rate: 0,
};

/// What a recipient was answered, and to which command.
pub type Answer = (Phase, Reply);

/// The server that mail is handed to.
#[derive(Clone, Debug)]
pub struct NamedServer<'a> {
    /// Where it is, and whom it knows us as.
    pub hop: &'a NextHop,
    /// TLS towards it.
    pub tls: TlsPolicy,
    /// PEM: what `verified` trusts instead of the built-in roots.
    pub ca_file: Option<&'a Path>,
    /// The name that EHLO says.
    pub hostname: &'a str,
    /// Who is told where the connection comes from, before it is made. Only for a server on this machine.
    pub announce: Option<&'a dyn Announce>,
}

impl NamedServer<'_> {
    /// Sends one message, by several transactions if it has more recipients than one may have. Gives an answer for each
    /// recipient, in their order; 4yz also where the connection was lost, after which the server may have the message.
    ///
    /// # Errors
    /// The server was not reached, refused the connection or the login: what it said, or 4yz. Nothing was sent.
    pub async fn send(&self, message: Outgoing, content: Bytes) -> Result<Vec<Answer>, Reply> {
        let mut connection = self.open().await?;
        let body = Body::Memory(content);
        let mut answers: Vec<Answer> = Vec::with_capacity(message.recipients.len());
        for recipients in message.recipients.chunks(connection.recipient_limit()) {
            let part = Outgoing {
                sender: message.sender.clone(),
                params: message.params.clone(),
                recipients: recipients.to_vec(),
                ..message
            };
            match connection.send(part, &body, &Open, &mut Nothing).await {
                Ok(outcome) | Err(Failure::AfterDot(outcome)) => answers.extend(outcome.recipients),
                Err(failure) => {
                    let reply = reply_of(failure);
                    answers.extend(recipients.iter().map(|_| (Phase::Content, reply.clone())));
                }
            }
        }
        connection.quit().await;
        Ok(answers)
    }

    /// Carries a dialog: what comes from `input` goes to the server, its replies go to `output`, until the server closes. The
    /// connection is secured and logged in before; then the client is greeted, and begins with EHLO.
    ///
    /// # Errors
    /// What `output` was told: the server was not reached, or refused us. Reading or writing failed: 4yz.
    pub async fn carry(
        &self,
        input: impl AsyncRead + Unpin,
        mut output: impl AsyncWrite + Unpin,
    ) -> Result<(), Reply> {
        let broken = |error: io::Error| Reply::with(451, Enhanced(4, 4, 2), error.to_string());
        let (opened, greeting) = match self.open().await {
            Ok(connection) => (Ok(connection), Reply::plain(220, "ESMTP")),
            // A client that is turned away is told so by 421 (RFC 5321 3.1).
            Err(reply) => (Err(reply.clone()), Reply { code: 421, ..reply }),
        };
        let mut line = Vec::new();
        greeting.write(&mut line);
        tokio::io::AsyncWriteExt::write_all(&mut output, &line)
            .await
            .map_err(broken)?;
        tokio::io::AsyncWriteExt::flush(&mut output)
            .await
            .map_err(broken)?;
        opened?.carry(input, output).await.map_err(broken)
    }

    /// Tries the server's addresses in their order.
    async fn open(&self) -> Result<Connection, Reply> {
        let local = |why: String| Reply::with(451, Enhanced(4, 3, 5), why);
        let tls = Tls::new(self.ca_file).map_err(local)?;
        let hop = self.hop;
        let found = tokio::net::lookup_host((hop.host.as_str(), hop.port)).await;
        let addresses: Vec<SocketAddr> = found.map_or_else(
            |error| {
                let why = format!("{}: {error}", hop.host);
                Err(Reply::with(451, Enhanced(4, 4, 3), why))
            },
            |found| Ok(found.collect()),
        )?;
        let mut result = Err(local(format!("{} has no address", hop.host)));
        for address in addresses {
            let endpoint = Endpoint {
                name: hop.host.clone(),
                address,
            };
            result = self.connect(&endpoint, &tls).await;
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// In clear if TLS is offered, fails, and need not be.
    async fn connect(&self, endpoint: &Endpoint, tls: &Tls) -> Result<Connection, Reply> {
        let settings = Settings {
            hostname: self.hostname,
            protocol: self.hop.protocol,
            login: self.hop.login.as_ref(),
            policy: self.tls,
            tls,
            connect_timeout: CONNECT_TIMEOUT,
            final_timeout: FINAL_TIMEOUT,
            content: CONTENT,
            moves: &Arc::default(),
            announce: self.announce,
        };
        let mut opened = Connection::open(endpoint, &settings).await;
        if self.tls == TlsPolicy::Opportunistic && matches!(opened, Err(Failure::Tls(_))) {
            let in_clear = Settings {
                policy: TlsPolicy::None,
                ..settings
            };
            opened = Connection::open(endpoint, &in_clear).await;
        }
        opened.map_err(reply_of)
    }
}

/// Nobody else could have the message.
struct Open;

impl Gate for Open {
    fn may_commit(&self) -> bool {
        true
    }
}

fn reply_of(failure: Failure) -> Reply {
    match failure {
        Failure::Connection(reply) | Failure::Tls(reply) | Failure::Login(reply) => reply,
        Failure::AfterDot(_) | Failure::Gate | Failure::Content(_) => {
            Reply::new(451, Enhanced(4, 3, 0), "connection failed")
        }
    }
}
