//! DKIM by others: keys of openssl's, and verifiers that know nothing of ours: dkimpy, and Mail::DKIM for RSA.

use crate::tools::peer;
use crate::tools::{program, run};
use base64::Engine as _;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A private key made by openssl, and its record.
pub struct Key {
    /// Its file.
    pub pem: PathBuf,
    /// What its TXT record says.
    pub record: String,
}

impl Key {
    /// `kind` is RSA or ED25519, as openssl says.
    pub fn new(folder: &Path, kind: &str) -> Key {
        let pem = folder.join(format!("{kind}.pem"));
        let mut make = program("/usr/bin/openssl");
        make.args(["genpkey", "-quiet", "-algorithm", kind, "-out"])
            .arg(&pem);
        if kind == "RSA" {
            make.args(["-pkeyopt", "rsa_keygen_bits:2048"]);
        }
        run(&mut make);
        let mut public = program("/usr/bin/openssl");
        let der = run(public
            .args(["pkey", "-pubout", "-outform", "DER", "-in"])
            .arg(&pem))
        .stdout;
        // An Ed25519 record has the bare key: the last 32 octets (RFC 8463 4).
        let (tag, key) = match kind {
            "RSA" => ("rsa", &der[..]),
            _ => ("ed25519", &der[der.len() - 32..]),
        };
        let key = base64::engine::general_purpose::STANDARD.encode(key);
        Key {
            pem,
            record: format!("v=DKIM1; k={tag}; p={key}"),
        }
    }
}

/// TXT records, and a folder for the messages that are looked at.
pub struct Verifiers {
    folder: tempfile::TempDir,
    records: Map<String, Value>,
}

impl Default for Verifiers {
    fn default() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let records = Map::new();
        Verifiers { folder, records }
    }
}

impl Verifiers {
    /// Publishes a record.
    pub fn publish(&mut self, name: &str, value: &str) {
        self.records.insert(name.to_lowercase(), value.into());
    }

    /// What each verifier says of a message, a line for each signature: `dkimpy rsa-sha256 x.test pass`.
    pub fn judge(&self, message: &[u8]) -> Vec<String> {
        let records = self.file(
            "records.json",
            Value::from(self.records.clone()).to_string().as_bytes(),
        );
        let message = self.file("message.eml", message);
        let mut python = program("/usr/bin/python3");
        python.env("PYTHONPATH", peer("dkimpy")).arg(script("dkimpy.py"));
        let mut perl = program("/usr/bin/perl");
        perl.arg(script("mail_dkim.pl"));
        let mut lines = Vec::new();
        for (name, mut verifier) in [("dkimpy", python), ("Mail::DKIM", perl)] {
            let output = run(verifier.arg(&records).arg(&message));
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            lines.extend(text.lines().map(|line| format!("{name} {line}")));
        }
        lines
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).expect("write");
        path
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("verifiers").join(name)
}
