//! `[[certificates]]` and `[[dkim_keys]]`: key material in files.

use super::{Fields, ListKey, Listed, domain_name, path};
use crate::tree::Config;
use crate::value::Value;
use serde_json::{Value as Json, json};
use std::path::PathBuf;

/// A certificate beside the one of `[tls]`, for the names in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// `cert_file`: PEM, the server's own certificate first, then its issuers.
    pub cert_file: PathBuf,
    /// `key_file`: PEM.
    pub key_file: PathBuf,
}

impl Listed for CertificateFiles {
    const DOC: &'static str = "Further certificates. A client that asks for a name in one of them (SNI) gets it; everybody else gets that of `[tls]`.";
    const UNIQUE: &'static str = "cert_file";
    const KEYS: &'static [ListKey] = &[
        ListKey {
            name: "cert_file",
            kind: "path",
            doc: "PEM: the server's certificate, then its issuers.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "key_file",
            kind: "path",
            doc: "PEM: its private key.",
            ..ListKey::BLANK
        },
    ];

    fn read(fields: &mut Fields<'_>, _config: &Config) -> Option<Self> {
        let cert_file = fields.read("cert_file", path);
        let key_file = fields.read("key_file", path);
        Some(CertificateFiles {
            cert_file: cert_file?,
            key_file: key_file?,
        })
    }

    fn unique(&self) -> String {
        self.cert_file.to_string_lossy().into_owned()
    }

    fn show(&self) -> Json {
        json!({"cert_file": self.cert_file.show(), "key_file": self.key_file.show()})
    }
}

/// A DKIM key in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DkimKeyFile {
    /// `domain`; lower case.
    pub domain: String,
    /// `selector`; lower case.
    pub selector: String,
    /// `key_file`: PEM, RSA or Ed25519.
    pub key_file: PathBuf,
}

impl Listed for DkimKeyFile {
    const DOC: &'static str = "DKIM keys in files. What accounts and trusted networks send is signed by every key of the domain in `From:`.";
    const UNIQUE: &'static str = "selector";
    const KEYS: &'static [ListKey] = &[
        ListKey {
            name: "domain",
            kind: "domain",
            doc: "The domain it signs for, and its subdomains.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "selector",
            doc: "Its selector: the public key is published at `selector._domainkey.domain`.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "key_file",
            kind: "path",
            doc: "PEM: the private key, RSA (2048 bits or more) or Ed25519.",
            ..ListKey::BLANK
        },
    ];

    fn read(fields: &mut Fields<'_>, _config: &Config) -> Option<Self> {
        let domain = fields.read("domain", |raw| domain_name(&String::read(raw)?));
        let selector = fields.read("selector", |raw| {
            let text = String::read(raw)?;
            domain_name(&text)
                .map_err(|_| format!("{text:?} is no selector: letters, digits, hyphens and dots"))
        });
        let key_file = fields.read("key_file", path);
        Some(DkimKeyFile {
            domain: domain?,
            selector: selector?,
            key_file: key_file?,
        })
    }

    fn unique(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }

    fn show(&self) -> Json {
        json!({"domain": self.domain, "selector": self.selector, "key_file": self.key_file.show()})
    }
}
