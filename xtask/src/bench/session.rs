//! A client that speaks SMTP, in clear and under TLS, the same for every server: `smtp-source` knows no TLS.

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What servers are called in their certificate.
const NAME: &str = "bench.test";
/// A server that is silent for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A certificate that every server shows: ECDSA on P-256, signed by itself.
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pair {
    pub(crate) fn make(folder: &Path) -> Result<Pair, String> {
        let pair = Pair {
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
        };
        let mut openssl = Command::new("/usr/bin/openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ]);
        openssl.args(["-nodes", "-days", "30", "-subj", "/CN=bench.test"]);
        openssl.args(["-addext", "subjectAltName=DNS:bench.test"]);
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        openssl
            .arg("-out")
            .arg(&pair.certificate)
            .arg("-keyout")
            .arg(&pair.key);
        let output = openssl.output().map_err(|error| format!("openssl: {error}"))?;
        if output.status.success() {
            Ok(pair)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Our configuration's table.
    pub(crate) fn ours(&self) -> String {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        format!("[tls]\nenabled = true\ncert_file = \"{certificate}\"\nkey_file = \"{key}\"\n")
    }

    /// Lines of Postfix's `main.cf`.
    pub(crate) fn postfix(&self) -> String {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        format!("smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {key}, {certificate}\n")
    }

    /// What a client connects with, TLS 1.3. One that resumes does so by a ticket of TLS 1.2: rustls shows one of TLS 1.3 only
    /// once, and Postfix gives no other when a session is resumed.
    pub(crate) fn client(&self, resumes: bool) -> Result<Arc<ClientConfig>, String> {
        let explain = |error: &dyn std::fmt::Display| format!("{}: {error}", self.certificate.display());
        let mut roots = RootCertStore::empty();
        let certificate =
            CertificateDer::from_pem_file(&self.certificate).map_err(|error| explain(&error))?;
        roots.add(certificate).map_err(|error| explain(&error))?;
        let version = if resumes { &TLS12 } else { &TLS13 };
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .map_err(|error| explain(&error))?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        if !resumes {
            config.resumption = Resumption::disabled();
        }
        Ok(Arc::new(config))
    }
}

enum Wire {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Wire::Clear(stream) => stream.read(buffer),
            Wire::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        match self {
            Wire::Clear(stream) => stream.write(octets),
            Wire::Tls(stream) => stream.write(octets),
        }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Wire::Clear(stream) => stream.flush(),
            Wire::Tls(stream) => stream.flush(),
        }
    }
}

/// A session that has said EHLO.
pub(crate) struct Session(BufReader<Wire>);

impl Session {
    pub(crate) fn open(to: SocketAddr) -> Result<Session, String> {
        let stream = TcpStream::connect(to).map_err(|error| format!("connect: {error}"))?;
        let prepared = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
        prepared.map_err(|error| error.to_string())?;
        let mut session = Session(BufReader::with_capacity(2048, Wire::Clear(stream)));
        session.expect("220")?;
        session.command("EHLO client.test\r\n", "250")?;
        Ok(session)
    }

    /// STARTTLS, and EHLO under TLS. Says whether the handshake was full or resumed.
    pub(crate) fn start_tls(
        mut self,
        config: &Arc<ClientConfig>,
    ) -> Result<(Session, HandshakeKind), String> {
        self.command("STARTTLS\r\n", "220")?;
        let Wire::Clear(mut stream) = self.0.into_inner() else {
            return Err("TLS is up already".into());
        };
        let name = ServerName::try_from(NAME).map_err(|error| error.to_string())?;
        let mut tls = ClientConnection::new(config.clone(), name).map_err(|error| error.to_string())?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)
                .map_err(|error| format!("handshake: {error}"))?;
        }
        let kind = tls.handshake_kind().ok_or("a handshake of no kind")?;
        let wire = Wire::Tls(Box::new(StreamOwned::new(tls, stream)));
        let mut session = Session(BufReader::with_capacity(2048, wire));
        session.command("EHLO client.test\r\n", "250")?;
        Ok((session, kind))
    }

    /// Sends a command, and takes a reply that begins so.
    pub(crate) fn command(&mut self, text: &str, reply: &str) -> Result<(), String> {
        let sent = self.0.get_mut().write_all(text.as_bytes());
        sent.map_err(|error| format!("send: {error}"))?;
        self.expect(reply)
    }

    fn expect(&mut self, code: &str) -> Result<(), String> {
        loop {
            let mut line = String::new();
            let read = self.0.read_line(&mut line);
            read.map_err(|error| format!("reply: {error}"))?;
            if line.as_bytes().get(3) == Some(&b'-') {
                continue;
            }
            return match line.starts_with(code) {
                true => Ok(()),
                false => Err(format!("{code} was expected, and not {line:?}")),
            };
        }
    }

    /// A transaction; the content ends with the dot's line.
    pub(crate) fn mail(&mut self, content: &str) -> Result<(), String> {
        self.command("MAIL FROM:<a@x.test>\r\n", "250")?;
        self.command("RCPT TO:<b@y.test>\r\n", "250")?;
        self.command("DATA\r\n", "354")?;
        self.command(content, "250")
    }

    pub(crate) fn quit(mut self) -> Result<(), String> {
        self.command("QUIT\r\n", "221")
    }
}

/// A message of about `size` octets, and the dot's line.
pub(crate) fn content(size: usize) -> String {
    let header = "From: <a@x.test>\r\nTo: <b@y.test>\r\nSubject: bench\r\n\
                  Date: Thu, 01 Jan 2026 10:00:00 +0000\r\nMessage-ID: <1@x.test>\r\n\r\n";
    let line = format!("{}\r\n", "x".repeat(76));
    format!(
        "{header}{}.\r\n",
        line.repeat(size.saturating_sub(header.len()) / line.len())
    )
}

/// Does `work` in so many threads at once; how long it took until all were done.
pub(crate) fn at_once(
    threads: usize,
    work: impl Fn() -> Result<(), String> + Sync,
) -> Result<Duration, String> {
    let start = Instant::now();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        running.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err("a client's thread failed".into()))
        })
    })?;
    Ok(start.elapsed())
}
