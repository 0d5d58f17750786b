//! A real Dovecot of the test's own: mailboxes by LMTP, and whom Postfix asks about logins.

use crate::ports::free_port;
use crate::tools::{as_root, is_root, run};
use crate::wait_for_secs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The one who has a mailbox and a login.
pub const USER: &str = "ann@y.test";
/// Her password.
pub const PASSWORD: &str = "s3cret/pass@word";

/// A running Dovecot. Dropped, it is stopped.
pub struct Dovecot {
    folder: tempfile::TempDir,
    pub lmtp: SocketAddr,
    auth: SocketAddr,
}

impl Dovecot {
    /// Starts one that offers these mechanisms (`plain login scram-sha-256`).
    pub fn start(mechanisms: &str) -> Dovecot {
        Dovecot::start_with(mechanisms, "ssl = no")
    }
    /// The same with TLS, by `cert.pem` and `key.pem` of a folder.
    pub fn with_tls(mechanisms: &str, certificates: &Path) -> Dovecot {
        let folder = certificates.display();
        let ssl = format!("ssl = yes\nssl_cert = <{folder}/cert.pem\nssl_key = <{folder}/key.pem");
        Dovecot::start_with(mechanisms, &ssl)
    }
    fn start_with(mechanisms: &str, ssl: &str) -> Dovecot {
        assert!(
            Path::new("/usr/lib/dovecot/lmtp").exists(),
            "dovecot is missing: `cargo xtask peers` installs it"
        );
        let folder = tempfile::Builder::new()
            .prefix("dovecot-")
            .tempdir()
            .expect("a folder");
        let (lmtp, auth) = (free_port(), free_port());
        write_configuration(folder.path(), (mechanisms, ssl), lmtp, auth);
        let dovecot = Dovecot { folder, lmtp, auth };
        let mut start = as_root("/usr/sbin/dovecot");
        // It leaves itself running, with what it was given.
        start
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        run(start.arg("-c").arg(dovecot.configuration()));
        wait_for_secs("Dovecot to listen", 30, || {
            TcpStream::connect(lmtp).is_ok() && TcpStream::connect(auth).is_ok()
        });
        dovecot
    }
    /// What makes a Postfix ask it, and take mail only from who is logged in.
    pub fn postfix_config(&self) -> String {
        format!(
            "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = inet:{}\n\
             smtpd_sasl_security_options =\nsmtpd_recipient_restrictions = permit_sasl_authenticated, reject\n",
            self.auth
        )
    }
    /// The Maildir of a mailbox.
    pub fn mailbox(&self, local: &str) -> PathBuf {
        self.folder.path().join("mail").join(local)
    }
    fn configuration(&self) -> PathBuf {
        self.folder.path().join("dovecot.conf")
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log"));
            eprintln!("--- Dovecot's log\n{}", log.unwrap_or_default());
        }
        let mut stop = as_root("/usr/sbin/dovecot");
        stop.arg("-c").arg(self.configuration()).arg("stop");
        let _ = stop.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !is_root() {
            let _ = as_root("/bin/rm").arg("-rf").arg(self.folder.path()).status();
        }
    }
}

fn write_configuration(folder: &Path, (mechanisms, ssl): (&str, &str), lmtp: SocketAddr, auth: SocketAddr) {
    use std::os::unix::fs::PermissionsExt;
    let mail = folder.join("mail");
    std::fs::create_dir_all(&mail).expect("folder");
    for (path, mode) in [(folder, 0o755), (mail.as_path(), 0o777)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permissions");
    }
    let users = folder.join("users");
    std::fs::write(&users, format!("{USER}:{{PLAIN}}{PASSWORD}\n")).expect("users");
    std::fs::set_permissions(&users, std::fs::Permissions::from_mode(0o644)).expect("permissions");
    let text = CONFIGURATION
        .replace("{folder}", &folder.display().to_string())
        .replace("{mechanisms}", mechanisms)
        .replace("{ssl}", ssl)
        .replace("{lmtp}", &lmtp.port().to_string())
        .replace("{auth}", &auth.port().to_string());
    std::fs::write(folder.join("dovecot.conf"), text).expect("dovecot.conf");
}

const CONFIGURATION: &str = "\
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
protocols = lmtp
listen = 127.0.0.1
{ssl}
disable_plaintext_auth = no
auth_mechanisms = {mechanisms}
mail_location = maildir:{folder}/mail/%n
first_valid_uid = 1
passdb {
  driver = passwd-file
  args = username_format=%u {folder}/users
}
userdb {
  driver = static
  args = uid=65534 gid=65534 home={folder}/mail/%n
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = {lmtp}
  }
}
service auth {
  inet_listener {
    address = 127.0.0.1
    port = {auth}
  }
}
";
