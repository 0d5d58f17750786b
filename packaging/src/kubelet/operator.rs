//! What an operator fills in.

use super::node::Node;
use blackbox::tools::{certificate, program, run};
use std::path::Path;

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Node {
    /// Replaces what the Secrets hold to be refused: a password for everybody, a key that signs, a certificate.
    pub fn fill_in(&self, password: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("dkim.pem");
        let mut openssl = program("/usr/bin/openssl");
        openssl.args(["genpkey", "-algorithm", "ed25519", "-out"]);
        run(openssl.arg(&key));
        let values = [
            ("SMTP_ADMIN_PASSWORD", password),
            ("SMTP_DKIM_PRIVATE_KEY", &read(&key)),
            ("ACCOUNT_BILLING", password),
        ];
        self.change("Secret", "smtp-secrets", &values);
        self.certify(90);
    }

    /// Puts a new certificate in the Secret, good for so many days. Gives it, as PEM.
    pub fn certify(&self, days: u32) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        certificate(folder.path(), &["mail.example.com"], days);
        let (cert, key) = ["cert.pem", "key.pem"]
            .map(|name| read(&folder.path().join(name)))
            .into();
        self.change("Secret", "smtp-tls", &[("tls.crt", &cert), ("tls.key", &key)]);
        cert
    }

    /// Appends to the configuration, as rendered or as it is by now.
    pub fn configure(&self, more: &str) {
        let name = self.config_map("config.toml");
        let config = self.value("ConfigMap", &name, "config.toml");
        let config = format!("{config}\n{more}");
        self.change("ConfigMap", &name, &[("config.toml", &config)]);
    }
}
