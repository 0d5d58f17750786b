//! haproxy before pods, saying by PROXY v2 who the client is.

use super::pods::{hello, relaying, setup, sink, start};
use blackbox::server::Server;
use blackbox::wire::Wire;
use packaging::net::addresses::{internet, other_pod, pod};
use packaging::net::cluster::{Cluster, Host};
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
            haproxy.spawn().expect("haproxy is missing: `cargo xtask peers` installs it")
        };
        let child = host.space.inside(spawn);
        blackbox::wait_for("haproxy to listen", || {
            [25, 26].iter().all(|port| {
                let address = SocketAddr::new(host.addresses[0], *port);
                host.space.inside(|| std::net::TcpStream::connect(address).is_ok())
            })
        });
        Haproxy { child, _folder: folder }
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
        balancer.v4(), balancer.v6(), trusted.v4(), trusted.v6(), hop.v4(),
    );
    let servers = [0, 1].map(|n| start(&hosts[n], setup(&config)));
    let _haproxy = Haproxy::start(&balancer, &[&hosts[0], &hosts[1]]);
    let count = |result: &str| (0..2).map(|n| headers(&hosts[n], &servers[n], result)).sum::<f64>();
    let none = ["taken", "missing", "invalid", "untrusted"].map(&count);

    // Right: each client is who it is, to both pods in turn, and by both families.
    for address in balancer.addresses.clone() {
        for _ in 0..2 {
            assert_eq!(relaying(&mut hello(&trusted, address, 25)), 250, "the trusted client at {address}");
            assert_eq!(relaying(&mut hello(&stranger, address, 25)), 554, "a stranger at {address}");
        }
    }
    let reply = hello(&trusted, balancer.v6(), 25).mail("a@x.test", &["b@foreign.test"], "Subject: proxied\r\n\r\n");
    assert_eq!(reply.code, 250);
    let received = sink.wait(1)[0].field("Received").expect("a Received field");
    assert!(received.contains(&format!("[IPv6:{}]", trusted.v6())), "{received}");
    assert_eq!(count("taken") - none[0], 9.0);

    // Missing: the proxy itself, without a header, gets nowhere.
    for server in &balancer.addresses {
        let address = SocketAddr::new(*server, 26);
        let mut client = trusted.space.inside(|| Wire::connect(address));
        client.try_send("EHLO client.test\r\n");
        assert!(client.is_closed(), "no SMTP without a header");
    }
    // Two of them, of which haproxy's own look-up at its start is none: it never reached a pod with anything in it.
    assert!(count("missing") - none[1] >= 2.0);

    // Forged: who is no proxy says it is the trusted client.
    for (n, to) in hosts[0].addresses.iter().enumerate() {
        let before = count("untrusted");
        let address = SocketAddr::new(*to, 2525);
        let mut client = stranger.space.inside(|| Wire::connect(address));
        client.try_send(header(trusted.addresses[n], *to));
        client.try_send("EHLO client.test\r\n");
        assert!(client.is_closed(), "a forged header is no way in");
        assert_eq!(count("untrusted") - before, 1.0);
        // Nor is a client let in that sends none at all.
        let mut client = stranger.space.inside(|| Wire::connect(address));
        client.try_send("EHLO client.test\r\n");
        assert!(client.is_closed(), "nobody is let in beside the proxy");
    }
    // A header of the client's own, behind the proxy's: it is no SMTP.
    let mut client = stranger.space.inside(|| Wire::connect(SocketAddr::new(balancer.v4(), 25)));
    client.try_send([&header(trusted.v4(), balancer.v4())[..], b"EHLO client.test\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@foreign.test>\r\n"].concat());
    while let Some(reply) = client.try_reply() {
        assert!(!(reply.code == 250 && reply.text().contains("2.1.5")), "{reply:?}");
    }
    assert_eq!(sink.count(), 1, "nothing was relayed for strangers");
}
