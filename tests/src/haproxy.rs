//! A real HAProxy of the test's own in front of a server's three listeners.

use crate::ports::free_port;
use crate::server::Server;
use crate::wait_for_secs;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Where it connects from.
pub const ADDRESS: &str = "127.0.0.9";

/// A running HAProxy. Dropped, it is stopped.
pub struct HaProxy {
    child: Child,
    folder: tempfile::TempDir,
    pub smtp: SocketAddr,
    pub smtps: SocketAddr,
    pub submission: SocketAddr,
}

impl HaProxy {
    /// Starts one that tells the listeners of `server` who its clients are, by `send-proxy-v2`, and asks each twice a second whether it
    /// is there: `smtp` by EHLO, the others by a connection.
    pub fn before(server: &Server) -> HaProxy {
        assert!(
            Path::new("/usr/sbin/haproxy").exists(),
            "haproxy is missing: `cargo xtask peers` installs it"
        );
        let folder = tempfile::Builder::new()
            .prefix("haproxy-")
            .tempdir()
            .expect("a folder");
        let (smtp, smtps, submission) = (free_port(), free_port(), free_port());
        let mut text = format!(
            "global\n stats socket {}/stats\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n",
            folder.path().display()
        );
        // What the header holds besides addresses differs, as it does among proxies.
        for (name, front, back, more) in [
            ("smtp", smtp, server.smtp, " option smtpchk EHLO check.test\n"),
            (
                "smtps",
                smtps,
                server.smtps(),
                " unique-id-format %ci:%cp\n default-server proxy-v2-options crc32c,authority,unique-id\n",
            ),
            (
                "submission",
                submission,
                server.submission(),
                " default-server proxy-v2-options crc32c\n",
            ),
        ] {
            let _ = write!(
                text,
                "listen {name}\n bind {front}\n{more} server one {back} source {ADDRESS} send-proxy-v2 check check-send-proxy inter 500ms\n"
            );
        }
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, text).expect("haproxy.cfg");
        let said = std::fs::File::create(folder.path().join("said")).expect("said");
        let child = Command::new("/usr/sbin/haproxy")
            .args(["-db", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(said.try_clone().expect("said"))
            .stderr(said)
            .spawn()
            .expect("haproxy");
        let proxy = HaProxy {
            child,
            folder,
            smtp,
            smtps,
            submission,
        };
        wait_for_secs("HAProxy to listen", 30, || {
            [smtp, smtps, submission]
                .iter()
                .all(|front| TcpStream::connect(front).is_ok())
        });
        proxy
    }

    /// What its checks found of the server behind one of `smtp`, `smtps`, `submission`: `UP`, `DOWN`, and the last check (`L7OK/221`).
    pub fn health(&self, listener: &str) -> (String, String) {
        let mut socket = UnixStream::connect(self.folder.path().join("stats")).expect("its socket");
        socket.write_all(b"show stat\n").expect("ask");
        let mut text = String::new();
        socket.read_to_string(&mut text).expect("answer");
        let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let names = lines.next().expect("names");
        let row = lines
            .find(|row| row.first() == Some(&listener) && row.get(1) == Some(&"one"))
            .unwrap_or_else(|| panic!("no {listener} in\n{text}"));
        let cell = |name: &str| {
            let place = names.iter().position(|one| *one == name).expect("a column");
            row[place].to_owned()
        };
        let last = cell("check_status");
        // One that is running is marked.
        let check = format!("{}/{}", last.trim_start_matches("* "), cell("check_code"));
        (cell("status"), check)
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = std::fs::read_to_string(self.folder.path().join("said"));
            eprintln!("--- HAProxy\n{}", said.unwrap_or_default());
        }
    }
}
