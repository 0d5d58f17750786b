//! Writes a `DKIM-Signature:` field, folded, its length known before its hashes are.

use crate::identity::Identity;
use crate::key::Algorithm;

/// Lines are shorter than this wherever a word allows it (RFC 5322 2.1.1).
const FOLD_AT: usize = 78;
const FOLD: &str = "\r\n\t";
/// Characters of a SHA-256 hash in Base64.
const HASH: usize = 44;
/// What stands between the hash and the signature: `;`, a fold and `b=`.
const BEFORE_SIGNATURE: &str = ";\r\n\tb=";

/// A field whose hash and signature are still to come.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// All up to `bh=`.
    head: String,
    /// Characters of the signature.
    signature: usize,
}

impl Layout {
    /// `signed` are the names for `h=`, `times` the tags `t=` and `x=`.
    pub(crate) fn new(identity: &Identity, signed: &[&str], times: &str) -> Self {
        let mut line = Folded::new("DKIM-Signature:");
        let algorithm = match identity.key().algorithm() {
            Algorithm::Rsa => " a=rsa-sha256;",
            Algorithm::Ed25519 => " a=ed25519-sha256;",
        };
        line.put(" v=1;");
        line.put(algorithm);
        line.put(" c=relaxed/relaxed;");
        line.put(&format!(" d={};", identity.domain()));
        line.put(&format!(" s={};", identity.selector()));
        for time in times.split_inclusive(';') {
            line.put(time);
        }
        let (last, before) = signed.split_last().unwrap_or((&"From", &[]));
        for (index, name) in before.iter().enumerate() {
            line.put(&format!("{}{name}:", if index == 0 { " h=" } else { "" }));
        }
        line.put(&format!("{}{last};", if before.is_empty() { " h=" } else { "" }));
        line.text.push_str(FOLD);
        line.text.push_str("bh=");
        Layout {
            head: line.text,
            signature: identity.key().signature_len().div_ceil(3) * 4,
        }
    }

    /// Octets of the finished field with its CRLF.
    pub(crate) fn len(&self) -> usize {
        // The signature begins behind `b=`, and each further line of it behind a tab.
        let folds = self.signature.saturating_sub(FIRST_LINE).div_ceil(OTHER_LINE);
        self.head.len() + HASH + BEFORE_SIGNATURE.len() + self.signature + folds * FOLD.len() + 2
    }

    /// The field without a signature, as it is signed (RFC 6376 3.7), without a CRLF at its end.
    pub(crate) fn unsigned(&self, body_hash: &str) -> String {
        let mut text = String::with_capacity(self.len());
        text.push_str(&self.head);
        text.push_str(body_hash);
        text.push_str(BEFORE_SIGNATURE);
        text
    }
}

/// Characters of the signature on the line of `b=`, and on each line behind it.
const FIRST_LINE: usize = FOLD_AT - 1 - 3;
const OTHER_LINE: usize = FOLD_AT - 1 - 1;

/// Appends the signature and a CRLF to what [`Layout::unsigned`] gave.
pub(crate) fn complete(unsigned: &mut String, signature: &str) {
    let mut rest = signature;
    let mut room = FIRST_LINE;
    while rest.len() > room {
        let (line, after) = rest.split_at(room);
        unsigned.push_str(line);
        unsigned.push_str(FOLD);
        rest = after;
        room = OTHER_LINE;
    }
    unsigned.push_str(rest);
    unsigned.push_str("\r\n");
}

/// Text that is folded before a word which the line has no room for.
struct Folded {
    text: String,
    column: usize,
}

impl Folded {
    fn new(text: &str) -> Self {
        Folded {
            text: text.to_owned(),
            column: text.len(),
        }
    }

    /// A word, whose leading blank a fold replaces.
    fn put(&mut self, word: &str) {
        if self.column + word.len() >= FOLD_AT {
            self.text.push_str(FOLD);
            self.column = 1;
            let word = word.trim_start();
            self.text.push_str(word);
            self.column += word.len();
        } else {
            self.text.push_str(word);
            self.column += word.len();
        }
    }
}
