//! Services whose pods see clients' addresses, and such as hide them behind the node's.

use super::pods::{assert_each_is_who_it_is, hello, relaying};
use blackbox::server::Server;
use blackbox::wait_for;
use packaging::net::addresses::{NODE, internet, pod, service};
use packaging::net::cluster::{Cluster, Service};
use packaging::net::pods::{setup, sink, start};
use std::net::{IpAddr, SocketAddr};

/// Who the server says was connected: clients of its sessions so far.
fn clients(server: &Server) -> Vec<IpAddr> {
    let connected = server
        .events("connected")
        .into_iter()
        .filter(|line| line["listener"] == "smtp");
    let peer = |line: serde_json::Value| {
        line["peer"]
            .as_str()
            .expect("a peer")
            .parse::<SocketAddr>()
            .expect("an address")
    };
    connected.map(|line| peer(line).ip()).collect()
}

#[test]
fn a_client_is_trusted_by_its_own_address_and_by_no_other() {
    let cluster = Cluster::new();
    let (trusted, stranger) = (cluster.host(&internet(7)), cluster.host(&internet(8)));
    let hop = cluster.host(&internet(25));
    let sink = sink(&hop, 25);
    let config = format!(
        "[relay]\nnetworks = [\"{}/32\", \"{}/128\"]\nsmarthost = \"smtp://{}:25\"\n[[domains]]\nname = \"here.test\"\ndeliver = \"capture\"\n",
        trusted.v4(),
        trusted.v6(),
        hop.v4(),
    );
    let hosts = [1, 2].map(|n| cluster.host(&pod(n)));
    let servers = [0, 1].map(|n| start(&hosts[n], setup(&config)));
    cluster.claim(&service(1));
    let mut mx = Service {
        addresses: service(1).to_vec(),
        port: 25,
        target: 2525,
        masquerade: false,
        endpoints: hosts.iter().map(|host| host.addresses.clone()).collect(),
    };
    // Clients' addresses are kept, as by `externalTrafficPolicy: Local`.
    cluster.serve(std::slice::from_ref(&mx));
    for address in service(1) {
        // Until each pod had its turn.
        let before = servers.each_ref().map(|server| clients(server).len());
        for _ in 0..64 {
            assert_each_is_who_it_is(&trusted, &stranger, address);
            if (0..2).all(|n| clients(&servers[n]).len() > before[n]) {
                break;
            }
        }
        assert!(
            (0..2).all(|n| clients(&servers[n]).len() > before[n]),
            "both pods are behind {address}"
        );
    }
    let reply =
        hello(&trusted, mx.addresses[0], 25).mail("a@x.test", &["b@foreign.test"], "Subject: kept\r\n\r\n");
    assert_eq!(reply.code, 250);
    assert_eq!(sink.wait(1)[0].field("Subject").as_deref(), Some("kept"));
    let known = [trusted.addresses.clone(), stranger.addresses.clone()].concat();
    for server in &servers {
        assert!(clients(server).iter().all(|client| known.contains(client)));
    }
    // Clients are hidden, as by `externalTrafficPolicy: Cluster`: nobody is trusted, and mail for local domains still comes.
    mx.masquerade = true;
    cluster.serve(&[mx]);
    let before = servers.each_ref().map(|server| clients(server).len());
    for address in service(1) {
        for client in [&trusted, &stranger] {
            assert_eq!(
                relaying(&mut hello(client, address, 25)),
                554,
                "whoever it is, at {address}"
            );
        }
    }
    let node: Vec<IpAddr> = NODE
        .iter()
        .map(|address| address.parse().expect("an address"))
        .collect();
    let since = || {
        (0..2)
            .flat_map(|n| clients(&servers[n]).split_off(before[n]))
            .collect::<Vec<IpAddr>>()
    };
    wait_for("the log of four connections", || since().len() == 4);
    let hidden = since();
    assert!(node.iter().all(|address| hidden.contains(address)), "{hidden:?}");
    assert!(hidden.iter().all(|address| node.contains(address)), "{hidden:?}");
    assert_eq!(sink.count(), 1, "nothing was relayed for strangers");
}
