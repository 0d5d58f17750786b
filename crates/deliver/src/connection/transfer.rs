//! The content of a message: streamed in blocks, its last one only with leave, its reply awaited.

use super::opening::Lap;
use super::pace::Pace;
use super::{BLOCK, Connection, Failure, Following, Gate, same_for_all};
use smtp::client::{ClientStep, Outcome, Phase};
use smtp::{DotStuffer, Reply};
use smtp_queue::Body;
use std::pin::pin;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

/// How long a server that stopped reading a message may take to say why.
const EARLY_REPLY: Duration = Duration::from_secs(5);
/// How long a server may take for the envelope of a message that was begun ahead. Then it is tried without that.
const AHEAD_REPLY: Duration = Duration::from_secs(60);

impl Connection {
    /// Writes the content and waits for the reply to it.
    pub(super) async fn content(
        &mut self,
        count: usize,
        chunked: bool,
        body: &Body,
        gate: &dyn Gate,
        following: &mut impl Following,
    ) -> Result<Outcome, Failure> {
        let lap = Lap::start();
        let mut block = std::mem::take(self.wire.client.output());
        let mut pace = self.wire.pace();
        let mut encoder = if chunked {
            None
        } else {
            Some(DotStuffer::default())
        };
        match body {
            Body::Memory(bytes) => {
                let mut rest = &bytes[..];
                while rest.len() > BLOCK {
                    let (chunk, after) = rest.split_at(BLOCK);
                    rest = after;
                    encode(&mut encoder, chunk, &mut block);
                    if let Err(failure) = self.wire.write_block(&mut block, &mut pace).await {
                        return self.early_reply(failure).await;
                    }
                }
                encode(&mut encoder, rest, &mut block);
            }
            Body::File { path, size, .. } => {
                let mut file = tokio::fs::File::open(path).await.map_err(Failure::Content)?;
                let mut chunk = vec![0; BLOCK];
                let mut left = *size;
                while left > 0 {
                    let want = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
                    let (part, _) = chunk.split_at_mut(want);
                    file.read_exact(part).await.map_err(Failure::Content)?;
                    left -= want as u64;
                    encode(&mut encoder, part, &mut block);
                    if left > 0
                        && let Err(failure) = self.wire.write_block(&mut block, &mut pace).await
                    {
                        return self.early_reply(failure).await;
                    }
                }
            }
        }
        if let Some(encoder) = encoder {
            encoder.finish(&mut block);
        }
        if !gate.may_commit() {
            return Err(Failure::Gate);
        }
        self.wire.client.content_sent();
        if self.wire.client.may_begin_ahead()
            && let Some(next) = following.begin()
        {
            self.ahead = self.wire.client.begin_ahead(next);
            if self.ahead {
                block.append(self.wire.client.output());
            } else {
                following.let_go();
            }
        }
        self.finish(count, &mut block, pace, lap, following).await
    }

    /// Writes the last block and waits for the reply to the message.
    async fn finish(
        &mut self,
        count: usize,
        block: &mut Vec<u8>,
        mut pace: Pace,
        mut lap: Lap,
        following: &mut impl Following,
    ) -> Result<Outcome, Failure> {
        let (wire, begun, mut content) = (&mut self.wire, self.ahead, None);
        let (step, broken, let_go) = {
            let mut whole = pin!(async {
                let written = wire.write_block(block, &mut pace).await;
                content = Some(lap.time());
                match written {
                    Ok(()) => (wire.advance().await, false),
                    Err(failure) => {
                        let said = timeout(EARLY_REPLY, wire.advance()).await;
                        (said.unwrap_or(Err(failure)), true)
                    }
                }
            });
            let ended = tokio::select! {
                biased;
                ended = &mut whole => Some(ended),
                () = following.waits(), if begun => None,
            };
            match ended {
                Some((step, broken)) => (step, broken, false),
                None => {
                    following.let_go();
                    let (step, broken) = whole.await;
                    (step, broken, true)
                }
            }
        };
        self.phases.content = content.unwrap_or_default();
        // After it was let go the connection is in the middle of that message's transaction.
        self.closed |= let_go || broken;
        self.lost_ahead |= self.ahead && step.is_err();
        self.phases.reply = lap.time();
        match step {
            Ok(ClientStep::Finished(outcome)) => Ok(outcome),
            Ok(other) => {
                let failure = self.wire.unexpected(&other);
                Err(self.after_dot(failure, count))
            }
            Err(failure) => Err(self.after_dot(failure, count)),
        }
    }

    /// Goes on with a message that was begun ahead. Its commands left with what was answered already, so a server that is silent
    /// now has most probably lost them.
    pub(super) async fn begun_ahead(&mut self) -> Result<ClientStep, Failure> {
        let step = match timeout(AHEAD_REPLY, self.wire.advance()).await {
            Ok(Ok(ClientStep::Finished(outcome))) if is_out_of_step(&outcome) => {
                Err(self.wire.unexpected(&ClientStep::Finished(outcome)))
            }
            Ok(step) => step,
            Err(_) => Err(self.wire.timed_out(self.wire.client.phase())),
        };
        self.lost_ahead = step.is_err();
        step
    }

    /// The server hung up in the middle of a message: what it may have said before. It cannot have
    /// taken the message.
    async fn early_reply(&mut self, failure: Failure) -> Result<Outcome, Failure> {
        self.closed = true;
        self.wire.client.content_sent();
        match timeout(EARLY_REPLY, self.wire.advance()).await {
            Ok(Ok(ClientStep::Finished(outcome)))
                if !outcome.recipients.iter().any(|(_, reply)| reply.is_positive()) =>
            {
                Ok(outcome)
            }
            _ => Err(failure),
        }
    }

    fn after_dot(&mut self, failure: Failure, count: usize) -> Failure {
        let Failure::Connection(mut reply) = failure else {
            return failure;
        };
        self.closed = true;
        reply.text = format!("{} -- the message may be delivered more than once", reply.text).into();
        let outcome = self.wire.client.abort(&reply);
        Failure::AfterDot(outcome.unwrap_or_else(|| same_for_all(count, Phase::Final, reply)))
    }
}

/// Whether a server answers MAIL as what it does not understand or expect: it may have lost a part of what stood before it.
fn is_out_of_step(outcome: &Outcome) -> bool {
    let says_so = |(phase, reply): &(Phase, Reply)| *phase == Phase::Mail && matches!(reply.code, 500..=504);
    outcome.recipients.iter().all(says_so)
}

fn encode(encoder: &mut Option<DotStuffer>, chunk: &[u8], block: &mut Vec<u8>) {
    match encoder {
        Some(stuffer) => stuffer.push(chunk, block),
        None => block.extend_from_slice(chunk),
    }
}
