//! A message's content as the body of an answer; a file is read as fast as the client reads.

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

/// Octets read at a time.
const CHUNK: usize = 64 << 10;

/// The content of `content`. Fails when its file cannot be opened.
pub(super) async fn stream(content: smtp_queue::Body) -> io::Result<Body> {
    match content {
        smtp_queue::Body::Memory(bytes) => Ok(Body::from(bytes)),
        smtp_queue::Body::File { path, size, .. } => Ok(Body::new(FileBody::open(path, size).await?)),
    }
}

/// A file on its way to the client: at most two pieces are in memory.
struct FileBody {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
}

impl FileBody {
    async fn open(path: PathBuf, size: u64) -> io::Result<FileBody> {
        let file = File::open(path).await?;
        let (send, pieces) = mpsc::channel(1);
        tokio::spawn(read(file, size, send));
        Ok(FileBody { pieces, left: size })
    }
}

/// Reads until the end, or until nobody listens.
async fn read(file: File, size: u64, send: mpsc::Sender<io::Result<Bytes>>) {
    let mut file = file.take(size);
    loop {
        let mut piece = Vec::with_capacity(CHUNK);
        let result = match (&mut file).take(CHUNK as u64).read_to_end(&mut piece).await {
            Ok(0) => return,
            Ok(_) => Ok(Bytes::from(piece)),
            Err(error) => Err(error),
        };
        let failed = result.is_err();
        if send.send(result).await.is_err() || failed {
            return;
        }
    }
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = ready!(self.pieces.poll_recv(cx)).transpose()?;
        self.left = self
            .left
            .saturating_sub(piece.as_ref().map_or(0, Bytes::len) as u64);
        match piece {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            // A file that is too short must not look like a whole message.
            None if self.left > 0 => Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
