//! A message's header section, for people: read from its content up to a bound.

use smtp_queue::Body;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

/// Most octets of a header that are read.
const LONGEST: usize = 64 << 10;

/// The header as text, without the empty line behind it; octets that are no UTF-8 are replaced. `None` when it cannot be read.
pub(super) async fn of(body: Body) -> Option<Header> {
    let beginning = match body {
        Body::Memory(bytes) => bytes.get(..LONGEST.min(bytes.len()))?.to_vec(),
        Body::File { path, .. } => {
            let mut bytes = Vec::new();
            let file = File::open(path).await.ok()?;
            file.take(LONGEST as u64).read_to_end(&mut bytes).await.ok()?;
            bytes
        }
    };
    Some(Header::in_beginning(&beginning))
}

/// A header section.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) text: String,
    /// It goes on behind what was read.
    pub(super) cut: bool,
}

impl Header {
    fn in_beginning(beginning: &[u8]) -> Header {
        let end = match beginning.strip_prefix(b"\r\n") {
            // A message without a header.
            Some(_) => Some(0),
            None => beginning
                .windows(4)
                .position(|octets| octets == b"\r\n\r\n")
                .map(|end| end + 2),
        };
        let header = beginning
            .get(..end.unwrap_or(beginning.len()))
            .unwrap_or_default();
        Header {
            text: String::from_utf8_lossy(header).into_owned(),
            cut: end.is_none() && beginning.len() >= LONGEST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_ends_at_the_empty_line() {
        let header = |text: &str| Header::in_beginning(text.as_bytes());
        let whole = |text: &str| Header {
            text: text.into(),
            cut: false,
        };
        assert_eq!(
            header("A: b\r\nC: d\r\n\r\nE: f\r\n\r\n"),
            whole("A: b\r\nC: d\r\n")
        );
        assert_eq!(header("\r\nbody\r\n\r\n"), whole(""));
        assert_eq!(header("A: b\r\n"), whole("A: b\r\n"));
        assert_eq!(header(""), whole(""));
        let long = "A: b\r\n".repeat(LONGEST);
        let cut = Header::in_beginning(&long.as_bytes()[..LONGEST]);
        assert!(cut.cut && cut.text.len() == LONGEST);
        assert_eq!(Header::in_beginning(b"A: \xff\r\n\r\n"), whole("A: \u{fffd}\r\n"));
    }

    #[tokio::test]
    async fn no_more_than_the_beginning_is_read() {
        let memory = Body::Memory(vec![b'x'; 2 * LONGEST].into());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![b'x'; 2 * LONGEST]).unwrap();
        let on_disk = Body::file(file.path().to_owned(), 2 * LONGEST as u64);
        for body in [memory, on_disk] {
            let header = of(body).await.unwrap();
            assert!(header.cut && header.text.len() == LONGEST);
        }
        let path = file.path().with_extension("gone");
        assert_eq!(of(Body::file(path, 1)).await, None);
    }
}
