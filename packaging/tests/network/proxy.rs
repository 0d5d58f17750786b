//! haproxy before pods, saying by PROXY v2 who the client is.

use super::pods::{assert_each_is_who_it_is, hello};
use blackbox::server::Server;
use blackbox::wire::Wire;
use packaging::net::addresses::{internet, other_pod, pod};
use packaging::net::cluster::{Cluster, Host};
use packaging::net::haproxy::{Front, Haproxy, header};
use packaging::net::pods::{setup, sink, start};
use std::net::{IpAddr, SocketAddr};

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
    // One of the pods by IPv4, the other by IPv6; on port 26 without a header.
    let pods: Vec<SocketAddr> = (0..2)
        .map(|n| SocketAddr::new(hosts[n].addresses[n], 2525))
        .collect();
    let front = |port: u16, header: bool| Front {
        port,
        pods: pods.clone(),
        header,
    };
    let _haproxy = Haproxy::start(&balancer, &[front(25, true), front(26, false)]);
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
