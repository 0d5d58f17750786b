//! haproxy before pods, saying by PROXY v2 who the client is.

use super::pods::{assert_each_is_who_it_is, hello};
use blackbox::server::Server;
use blackbox::wire::Wire;
use packaging::net::addresses::{internet, other_pod, pod};
use packaging::net::cluster::{Cluster, Host};
use packaging::net::pods::{setup, sink, start};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};

/// A running haproxy. Dropped, it is ended.
struct Haproxy {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Haproxy {
    /// Passes connections to port 25 on to pods with a PROXY header, and those to port 26 without.
    fn start(host: &Host, pods: &[&Host]) -> Haproxy {
        let folder = tempfile::tempdir().expect("a folder");
        let servers = |option: &str| {
            let line = |(n, pod): (usize, &&Host)| {
                // One by IPv4, one by IPv6.
                let address = pod.addresses[n % 2];
                format!("  server pod{n} {} {option}\n", SocketAddr::new(address, 2525))
            };
            pods.iter().enumerate().map(line).collect::<String>()
        };
        let text = format!(
            "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n\
             listen with\n  bind :::25 v4v6\n{}listen without\n  bind :::26 v4v6\n{}",
            servers("send-proxy-v2"),
            servers("")
        );
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
            [25, 26].iter().all(|port| {
                let address = SocketAddr::new(host.addresses[0], *port);
                host.space
                    .inside(|| std::net::TcpStream::connect(address).is_ok())
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

/// A header of PROXY v2 that says a TCP connection comes from `client`.
fn header(client: IpAddr, to: IpAddr) -> Vec<u8> {
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

const HELLO: &[u8] = b"EHLO client.test\r\n";

/// Connects, says something that must not be listened to, and is told to come another way.
fn turned_away(from: &Host, to: IpAddr, port: u16, words: &[&[u8]]) {
    let mut client = from.space.inside(|| Wire::connect(SocketAddr::new(to, port)));
    client.try_send(words.concat());
    let reply = client.reply();
    assert_eq!(reply.code, 421, "{reply:?}");
    assert!(client.try_reply().is_none(), "closed");
}

/// The count of headers with this result.
fn headers(host: &Host, server: &Server, result: &str) -> f64 {
    let series = format!("smtp_proxy_headers_total{{listener=\"smtp\",result=\"{result}\"}}");
    host.space.inside(|| server.metric(&series))
}

#[test]
fn only_the_proxy_says_who_the_client_is() {
    let cluster = Cluster::new();
    let (trusted, stranger) = (cluster.host(&internet(7)), cluster.host(&internet(8)));
    let hop = cluster.host(&internet(25));
    let sink = sink(&hop, 25);
    let balancer = cluster.host(&other_pod(1));
    let hosts = [1, 2].map(|n| cluster.host(&pod(n)));
    let config = format!(
        "[server]\nproxy_protocol = \"v2\"\nproxy_networks = [\"{}/32\", \"{}/128\"]\n\
         [relay]\nnetworks = [\"{}/32\", \"{}/128\"]\nsmarthost = \"smtp://{}:25\"\n\
         [[domains]]\nname = \"here.test\"\ndeliver = \"capture\"\n",
        balancer.v4(),
        balancer.v6(),
        trusted.v4(),
        trusted.v6(),
        hop.v4(),
    );
    let servers = [0, 1].map(|n| start(&hosts[n], setup(&config)));
    let _haproxy = Haproxy::start(&balancer, &[&hosts[0], &hosts[1]]);
    let count = |result: &str| {
        (0..2)
            .map(|n| headers(&hosts[n], &servers[n], result))
            .sum::<f64>()
    };
    // The connection that found haproxy listening is counted a moment after it.
    blackbox::wait_for("the first header", || count("taken") >= 1.0);
    let taken = count("taken");

    // Right: each client is who it is, to both pods in turn, and by both families.
    for address in balancer.addresses.clone() {
        for _ in 0..2 {
            assert_each_is_who_it_is(&trusted, &stranger, address);
        }
    }
    let reply =
        hello(&trusted, balancer.v6(), 25).mail("a@x.test", &["b@foreign.test"], "Subject: proxied\r\n\r\n");
    assert_eq!(reply.code, 250);
    let received = sink.wait(1)[0].field("Received").expect("a Received field");
    assert!(
        received.contains(&format!("[IPv6:{}]", trusted.v6())),
        "{received}"
    );
    assert_eq!(count("taken") - taken, 9.0);

    // Missing: the proxy, set up without.
    for server in &balancer.addresses {
        let before = count("missing");
        turned_away(&trusted, *server, 26, &[HELLO]);
        assert_eq!(count("missing") - before, 1.0);
    }
    for (n, to) in hosts[0].addresses.iter().enumerate() {
        // Forged: who is no proxy says it is the trusted client, or says nothing of it.
        let before = count("untrusted");
        turned_away(&stranger, *to, 2525, &[&header(trusted.addresses[n], *to), HELLO]);
        turned_away(&trusted, *to, 2525, &[HELLO]);
        assert_eq!(count("untrusted") - before, 2.0);
        // From the proxy, and of another version.
        let before = count("invalid");
        turned_away(
            &balancer,
            *to,
            2525,
            &[b"PROXY TCP4 203.0.113.7 198.18.2.1 1000 25\r\n", HELLO],
        );
        assert_eq!(count("invalid") - before, 1.0);
    }
    // A header of the client's own, behind the proxy's, is no header, and gives no right.
    let mut client = stranger
        .space
        .inside(|| Wire::connect(SocketAddr::new(balancer.v4(), 25)));
    assert_eq!(client.reply().code, 220);
    client.send(
        [
            &header(trusted.v4(), balancer.v4())[..],
            HELLO,
            b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@foreign.test>\r\n",
        ]
        .concat(),
    );
    // It is made to look like QUIT to whoever takes it for SMTP.
    let codes: Vec<u16> = std::iter::from_fn(|| client.try_reply())
        .map(|reply| reply.code)
        .collect();
    assert!(!codes.contains(&250) && codes.last() == Some(&221), "{codes:?}");
    assert_eq!(sink.count(), 1, "nothing was relayed for strangers");
    assert_eq!(count("taken") - taken, 10.0);
}
