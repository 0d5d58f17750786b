//! A real Postfix of the test's own: configuration, queue and ports in a folder that goes with it.

use crate::ports::free_port;
use crate::tools::{as_root, is_root, run};
use crate::wait_for_secs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A running Postfix. Dropped, it is stopped.
pub struct Postfix {
    folder: tempfile::TempDir,
    pub address: SocketAddr,
}

impl Postfix {
    /// Starts one that takes mail from loopback. `main_cf` adds to its configuration:
    /// `{folder}` stands for its folder.
    pub fn start(main_cf: &str) -> Postfix {
        assert!(
            Path::new("/usr/sbin/postfix").exists(),
            "postfix is missing: `cargo xtask peers` installs it"
        );
        let folder = tempfile::Builder::new()
            .prefix("postfix-")
            .tempdir()
            .expect("a folder");
        let address = free_port();
        write_configuration(folder.path(), address, main_cf);
        let postfix = Postfix { folder, address };
        postfix.control("start");
        wait_for_secs("Postfix to listen", 30, || TcpStream::connect(address).is_ok());
        postfix
    }
    /// Where mail for `local` of its own domains lands with `home_mailbox = Maildir/`-like settings.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }
    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
    /// How many messages are in its queue.
    pub fn queued(&self) -> usize {
        let output = as_root("/usr/sbin/postqueue")
            .arg("-c")
            .arg(self.folder.path().join("etc"))
            .arg("-j")
            .output()
            .expect("postqueue");
        String::from_utf8_lossy(&output.stdout).lines().count()
    }
    fn control(&self, what: &str) {
        let mut command = as_root("/usr/sbin/postfix");
        command.arg("-c").arg(self.folder.path().join("etc")).arg(what);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        run(&mut command);
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- Postfix's log\n{}", self.log());
        }
        let mut command = as_root("/usr/sbin/postfix");
        command.arg("-c").arg(self.folder.path().join("etc")).arg("stop");
        let _ = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !is_root() {
            let _ = as_root("/bin/rm").arg("-rf").arg(self.folder.path()).status();
        }
    }
}

fn write_configuration(folder: &Path, address: SocketAddr, more: &str) {
    let etc = folder.join("etc");
    for part in ["etc", "queue", "data", "mail"] {
        std::fs::create_dir_all(folder.join(part)).expect("folder");
    }
    let mode = |path: PathBuf, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permissions");
    };
    mode(folder.to_path_buf(), 0o755);
    run(as_root("/bin/chown").arg("postfix").arg(folder.join("data")));
    mode(folder.join("mail"), 0o777);
    let main_cf = format!(
        "compatibility_level = 3.6\n\
         config_directory = {0}/etc\nqueue_directory = {0}/queue\ndata_directory = {0}/data\n\
         maillog_file = {0}/log\nmaillog_file_prefixes = {0}\n\
         myhostname = postfix.test\nmydestination =\nmynetworks = 127.0.0.0/8\n\
         inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n\
         alias_maps =\nalias_database =\nlocal_recipient_maps =\n\
         smtpd_recipient_restrictions = permit_mynetworks, reject\n\
         message_drop_headers =\nlocal_header_rewrite_clients =\n\
         smtp_host_lookup = native\nsmtp_dns_support_level = disabled\ndisable_dns_lookups = yes\n\
         {1}\n",
        folder.display(),
        more.replace("{folder}", &folder.display().to_string())
    );
    std::fs::write(etc.join("main.cf"), main_cf).expect("main.cf");
    std::fs::write(
        etc.join("master.cf"),
        MASTER_CF.replace("{listen}", &address.to_string()),
    )
    .expect("master.cf");
}

const MASTER_CF: &str = "\
{listen}  inet  n  -  n  -  -  smtpd
pickup    unix  n  -  n  60 1  pickup
cleanup   unix  n  -  n  -  0  cleanup
qmgr      unix  n  -  n  300 1 qmgr
rewrite   unix  -  -  n  -  -  trivial-rewrite
bounce    unix  -  -  n  -  0  bounce
defer     unix  -  -  n  -  0  bounce
trace     unix  -  -  n  -  0  bounce
verify    unix  -  -  n  -  1  verify
flush     unix  n  -  n  1000? 0 flush
proxymap  unix  -  -  n  -  -  proxymap
smtp      unix  -  -  n  -  -  smtp
relay     unix  -  -  n  -  -  smtp
showq     unix  n  -  n  -  -  showq
error     unix  -  -  n  -  -  error
retry     unix  -  -  n  -  -  error
discard   unix  -  -  n  -  -  discard
local     unix  -  n  n  -  -  local
virtual   unix  -  n  n  -  -  virtual
lmtp      unix  -  -  n  -  -  lmtp
anvil     unix  -  -  n  -  1  anvil
scache    unix  -  -  n  -  1  scache
tlsmgr    unix  -  -  n  1000? 1 tlsmgr
postlog   unix-dgram n - n  -  1  postlogd
";
