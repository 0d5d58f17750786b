//! The servers beside which ours is measured: Postfix with Dovecot as its judge of passwords, and `smtp-sink`, which keeps nothing.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// An address that nobody listens on now.
pub(crate) fn free_address() -> Result<SocketAddr, String> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map_err(|error| error.to_string())
}

fn wait_listening(address: SocketAddr, who: &str) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).is_err() {
        if Instant::now() > end {
            return Err(format!("{who} does not listen on {address}"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Seconds of processor time, by `/proc/PID/stat`.
pub(super) struct Usage {
    pub(super) own: f64,
    /// Of children that have ended.
    ended: f64,
}

impl Usage {
    pub(super) fn of(pid: u32) -> Usage {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks = |n: usize| fields.get(n).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
        Usage {
            own: (ticks(11) + ticks(12)) / 100.0,
            ended: (ticks(13) + ticks(14)) / 100.0,
        }
    }
}

/// `smtp-sink`, which takes everything and keeps nothing.
pub(crate) struct Sink {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Sink {
    pub(crate) fn start() -> Result<Sink, String> {
        let address = free_address()?;
        let mut command = Command::new("/usr/sbin/smtp-sink");
        if nix::unistd::geteuid().is_root() {
            command.args(["-u", "nobody"]);
        }
        command
            .arg(format!("{address}"))
            .arg("1000")
            .stdout(Stdio::null());
        let child = command.spawn().map_err(|error| format!("smtp-sink: {error}"))?;
        let sink = Sink { child, address };
        wait_listening(address, "smtp-sink")?;
        Ok(sink)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Postfix of our own.
pub(crate) struct Postfix {
    folder: PathBuf,
    pub(crate) address: SocketAddr,
}

impl Postfix {
    /// Starts one that relays to `relayhost`, or with `None` keeps everything queued.
    pub(crate) fn start(folder: &Path, relayhost: Option<SocketAddr>) -> Result<Postfix, String> {
        let more = match relayhost {
            Some(hop) => format!("relayhost = [{}]:{}\n", hop.ip(), hop.port()),
            None => "defer_transports = smtp\n".into(),
        };
        Postfix::configured(folder, &more)
    }
    /// Starts one with these lines in its `main.cf` too.
    pub(crate) fn configured(folder: &Path, more: &str) -> Result<Postfix, String> {
        let address = free_address()?;
        let fail = |error: std::io::Error| format!("{}: {error}", folder.display());
        for part in ["etc", "queue", "data"] {
            std::fs::create_dir_all(folder.join(part)).map_err(fail)?;
        }
        let main_cf = format!(
            "compatibility_level = 3.6\nconfig_directory = {0}/etc\nqueue_directory = {0}/queue\n\
             data_directory = {0}/data\nmaillog_file = {0}/log\nmaillog_file_prefixes = {0}\n\
             myhostname = postfix.test\nmydestination =\nmynetworks = 127.0.0.0/8\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nalias_maps =\nalias_database =\n\
             local_recipient_maps =\nsmtp_dns_support_level = disabled\ndisable_dns_lookups = yes\n\
             smtpd_peername_lookup = no\n{1}",
            folder.display(),
            more
        );
        std::fs::write(folder.join("etc/main.cf"), main_cf).map_err(fail)?;
        let master_cf = include_str!("postfix-master.cf").replace("{listen}", &address.to_string());
        std::fs::write(folder.join("etc/master.cf"), master_cf).map_err(fail)?;
        let _ = Command::new("chown")
            .arg("postfix")
            .arg(folder.join("data"))
            .status();
        let _ = Command::new("chmod").arg("755").arg(folder).status();
        let postfix = Postfix {
            folder: folder.into(),
            address,
        };
        postfix.control("start");
        wait_listening(address, "Postfix")?;
        Ok(postfix)
    }
    /// Processor time used so far by all its processes, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        let master = std::fs::read_to_string(self.folder.join("queue/pid/master.pid")).unwrap_or_default();
        let Ok(master) = master.trim().parse() else {
            return 0.0;
        };
        let usage = Usage::of(master);
        let list = format!("/proc/{master}/task/{master}/children");
        let children = std::fs::read_to_string(list).unwrap_or_default();
        let running = children.split_whitespace().filter_map(|child| child.parse().ok());
        usage.own + usage.ended + running.map(|child| Usage::of(child).own).sum::<f64>()
    }
    /// Messages in its queue.
    pub(crate) fn queued(&self) -> usize {
        ["maildrop", "incoming", "active", "deferred"]
            .iter()
            .map(|name| files(&self.folder.join("queue").join(name)))
            .sum()
    }
    fn control(&self, what: &str) {
        let mut command = Command::new("/usr/sbin/postfix");
        command.arg("-c").arg(self.folder.join("etc")).arg(what);
        let _ = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        self.control("stop");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Dovecot as Postfix's judge of passwords, and nothing else.
pub(crate) struct Dovecot {
    child: Child,
    /// Where Postfix asks it.
    pub(crate) socket: PathBuf,
}

impl Dovecot {
    /// Starts one that knows one user, by the argon2id hash of the password.
    pub(crate) fn start(folder: &Path, user: &str, hash: &str) -> Result<Dovecot, String> {
        let fail = |error: std::io::Error| format!("{}: {error}", folder.display());
        std::fs::create_dir_all(folder).map_err(fail)?;
        std::fs::write(folder.join("users"), format!("{user}:{{ARGON2ID}}{hash}\n")).map_err(fail)?;
        let text = format!(
            "base_dir = {0}/run\nstate_dir = {0}/state\nlog_path = {0}/log\nprotocols =\nssl = no\n\
             auth_mechanisms = plain\ndisable_plaintext_auth = no\n\
             passdb {{\n driver = passwd-file\n args = {0}/users\n}}\n\
             userdb {{\n driver = static\n args = uid=65534 gid=65534 home=/nonexistent\n}}\n\
             service auth {{\n unix_listener {0}/auth {{\n mode = 0666\n }}\n}}\n",
            folder.display()
        );
        let config = folder.join("dovecot.conf");
        std::fs::write(&config, text).map_err(fail)?;
        let mut command = Command::new("/usr/sbin/dovecot");
        command.arg("-F").arg("-c").arg(&config).stdin(Stdio::null());
        let child = command.spawn().map_err(|error| format!("dovecot: {error}"))?;
        let dovecot = Dovecot {
            child,
            socket: folder.join("auth"),
        };
        let end = Instant::now() + Duration::from_secs(30);
        while !dovecot.socket.exists() {
            if Instant::now() > end {
                return Err(format!("Dovecot does not start: see {}/log", folder.display()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(dovecot)
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        // Killed, it would leave its children.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

/// Files under a folder, at any depth.
fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|e| {
            if e.file_type().is_ok_and(|t| t.is_dir()) {
                files(&e.path())
            } else {
                1
            }
        })
        .sum()
}
