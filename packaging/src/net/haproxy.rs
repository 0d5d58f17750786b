//! haproxy on a host, before pods.

use super::cluster::Host;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

/// A port of a haproxy's.
pub struct Front {
    pub port: u16,
    /// Where its connections go, in turn.
    pub pods: Vec<SocketAddr>,
    /// Whether it says by PROXY v2 who the client is.
    pub header: bool,
}

/// A running haproxy. Dropped, it is ended.
pub struct Haproxy {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Haproxy {
    /// Starts one on all addresses of a host. Each of its fronts has had a connection by then, which its pod saw too.
    pub fn start(host: &Host, fronts: &[Front]) -> Haproxy {
        let folder = tempfile::tempdir().expect("a folder");
        let mut text = "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n".to_owned();
        for front in fronts {
            let _ = writeln!(text, "listen port{0}\n  bind :::{0} v4v6", front.port);
            let option = if front.header { "send-proxy-v2" } else { "" };
            for (n, pod) in front.pods.iter().enumerate() {
                let _ = writeln!(text, "  server pod{n} {pod} {option}");
            }
        }
        let path = folder.path().join("haproxy.cfg");
        std::fs::write(&path, text).expect("haproxy.cfg");
        let spawn = || {
            let mut haproxy = Command::new("/usr/sbin/haproxy");
            haproxy.arg("-db").arg("-f").arg(&path).stdin(Stdio::null());
            haproxy
                .spawn()
                .expect("haproxy is missing: `cargo xtask peers` installs it")
        };
        let child = host.space.inside(spawn);
        blackbox::wait_for("haproxy to listen", || {
            fronts.iter().all(|front| {
                let address = SocketAddr::new(host.addresses[0], front.port);
                host.space.inside(|| TcpStream::connect(address).is_ok())
            })
        });
        Haproxy {
            child,
            _folder: folder,
        }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A header of PROXY v2, to port 25, that says a TCP connection comes from `client`.
pub fn header(client: IpAddr, to: IpAddr) -> Vec<u8> {
    let mut octets = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    let mut pair = |family: u8, addresses: &[u8]| {
        octets.push(family);
        let length = u16::try_from(addresses.len() + 4).expect("short");
        octets.extend(length.to_be_bytes());
        octets.extend(addresses);
        octets.extend([4, 1, 0, 25]);
    };
    match (client, to) {
        (IpAddr::V4(client), IpAddr::V4(to)) => pair(0x11, &[client.octets(), to.octets()].concat()),
        (IpAddr::V6(client), IpAddr::V6(to)) => pair(0x21, &[client.octets(), to.octets()].concat()),
        _ => panic!("addresses of one family"),
    }
    octets
}
