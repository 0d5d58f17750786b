//! The content of one mail while it is received: its way through the header's treatment into the spool.
//!
//! ```text
//!  Received: ── room for signatures ── header, held until its end ── body, hashed as it passes ──▶ spool
//! ```
//!
//! Promises: the signatures are over exactly the octets that are stored; memory does not grow with the body; what goes wrong is
//! remembered until the end of the content, and the message is then refused whole.

use crate::author::{Signing, Treatment};
use crate::header::{Completion, Held, Parts, Taken, check_author, completed, plain_names};
use crate::received::FieldScan;
use crate::transaction::NotStored;
use jiff::Timestamp;
use smtp::Address;
use smtp_dkim::Signer;
use smtp_observe::TraceContext;
use smtp_queue::{Body, BodyWriter, QueueId};
use std::io;

/// The content of a mail, from DATA on.
#[derive(Debug)]
pub(crate) struct Content {
    id: QueueId,
    /// Gone after a failure.
    writer: Result<BodyWriter, Box<NotStored>>,
    message_id: FieldScan,
    /// While mail is traced.
    traceparent: Option<FieldScan>,
    /// While the header is held.
    held: Option<Box<Held>>,
    signer: Option<Box<Signer>>,
    unsigned: Option<Box<str>>,
}

/// Fields of the client's header.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) message_id: Option<String>,
    pub(crate) traceparent: Option<TraceContext>,
    /// The domain that should have had a key to sign it.
    pub(crate) unsigned: Option<Box<str>>,
}

/// What the treatment of a header needs to know of its mail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) treatment: &'a Treatment,
    pub(crate) sender: Option<&'a Address>,
    pub(crate) hostname: &'a str,
    pub(crate) received_at: Timestamp,
    /// Largest header that is held.
    pub(crate) max_header: usize,
    /// Whether it may name a trace that it belongs to.
    pub(crate) traced: bool,
}

impl Content {
    /// Begins with our trace field.
    pub(crate) async fn open(id: QueueId, writer: BodyWriter, trace: &str, envelope: &Envelope<'_>) -> Self {
        let held = match envelope.treatment {
            Treatment::Passed => None,
            Treatment::Signed(_) | Treatment::Authored(_) => Some(Box::new(Held::new(envelope.max_header))),
        };
        let mut content = Content {
            id,
            writer: Ok(writer),
            message_id: FieldScan::message_id(),
            traceparent: envelope.traced.then(FieldScan::traceparent),
            held,
            signer: None,
            unsigned: None,
        };
        content.append(trace.as_bytes()).await;
        content
    }

    pub(crate) fn id(&self) -> QueueId {
        self.id
    }

    /// Takes a piece. A failure shows in [`Content::finish`].
    pub(crate) async fn push(&mut self, chunk: &[u8], envelope: &Envelope<'_>) {
        match self.held.as_mut().map(|held| held.push(chunk)) {
            None => {
                if self.held.is_none() {
                    self.pass(chunk).await;
                }
            }
            Some(Taken::More) => {}
            Some(Taken::Ended(Parts { header, body })) => {
                self.held = None;
                self.take_header(&header, envelope).await;
                // What follows the empty line is what is signed as the body.
                self.append(b"\r\n").await;
                self.pass_body(&body).await;
            }
            Some(Taken::TooLarge) => {
                self.held = None;
                self.fail(NotStored::header_too_large(envelope.max_header));
            }
        }
    }

    /// A piece of content whose header is not held, or has passed.
    async fn pass(&mut self, chunk: &[u8]) {
        self.look_at(chunk);
        self.pass_body(chunk).await;
    }

    fn look_at(&mut self, chunk: &[u8]) {
        self.message_id.push(chunk);
        if let Some(traceparent) = &mut self.traceparent {
            traceparent.push(chunk);
        }
    }

    async fn pass_body(&mut self, chunk: &[u8]) {
        if let Some(signer) = &mut self.signer {
            signer.update(chunk);
        }
        self.append(chunk).await;
    }

    /// The header is whole.
    async fn take_header(&mut self, header: &[u8], envelope: &Envelope<'_>) {
        let mut header = match self.treated(header, envelope) {
            Ok(header) => header,
            Err(refusal) => return self.fail(refusal),
        };
        self.look_at(&header);
        self.look_at(b"\r\n");
        match envelope.treatment.signing(&header, envelope.received_at) {
            Signing::Signer(signer) => {
                header = plain_names(&header);
                let room = signer.field_len();
                self.signer = Some(signer);
                if let Ok(writer) = &mut self.writer
                    && let Err(error) = writer.reserve(room).await
                {
                    self.fail(NotStored::of_io(&error));
                }
            }
            Signing::NoKey(domain) => self.unsigned = Some(domain),
            Signing::Nobody => {}
        }
        self.append(&header).await;
    }

    fn treated(&self, header: &[u8], envelope: &Envelope<'_>) -> Result<Vec<u8>, NotStored> {
        let Some(author) = envelope.treatment.author() else {
            return Ok(header.to_vec());
        };
        check_author(header, |addresses| author.may_write_from(addresses)).map_err(NotStored::of_header)?;
        let mail = Completion {
            sender: envelope.sender,
            hostname: envelope.hostname,
            id: self.id,
            received_at: envelope.received_at,
        };
        completed(header, &mail).map_err(NotStored::of_header)
    }

    async fn append(&mut self, octets: &[u8]) {
        if let Ok(writer) = &mut self.writer
            && let Err(error) = writer.write(octets).await
        {
            self.fail(NotStored::of_io(&error));
        }
    }

    /// The first failure counts. Dropping the writer gives its space back at once.
    fn fail(&mut self, why: NotStored) {
        self.signer = None;
        if self.writer.is_ok() {
            self.writer = Err(Box::new(why));
        }
    }

    /// The end: signs, and makes a body that is a file durable. Gives the body, and what was seen in its header.
    pub(crate) async fn finish(mut self, envelope: &Envelope<'_>) -> Result<(Body, Seen), NotStored> {
        if let Some(held) = self.held.take() {
            // A mail without a body.
            self.take_header(&held.finish(), envelope).await;
        }
        let mut writer = self.writer.map_err(|why| *why)?;
        if let Some(signer) = self.signer {
            let fields = signer
                .finish()
                .map_err(|error| NotStored::of_io(&io::Error::other(error)))?;
            writer
                .fill(fields)
                .await
                .map_err(|error| NotStored::of_io(&error))?;
        }
        let body = writer.finish().await.map_err(|error| NotStored::of_io(&error))?;
        let traceparent = self.traceparent.as_ref().and_then(FieldScan::found);
        let seen = Seen {
            message_id: self.message_id.found().map(str::to_owned),
            traceparent: traceparent.and_then(TraceContext::parse),
            unsigned: self.unsigned,
        };
        Ok((body, seen))
    }
}

#[cfg(test)]
mod tests;
