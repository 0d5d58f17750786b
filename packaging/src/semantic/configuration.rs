//! The configuration in the ConfigMap: what `smtp-server check` cannot know, because it knows no cluster.

use super::meaning::{Set, Workload, list};
use ipnet::IpNet;
use std::net::IpAddr;

/// Networks that pods, nodes and whatever is between them are in.
const PRIVATE: [&str; 5] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "fc00::/7",
];

pub fn look(set: &Set, found: &mut Vec<String>) {
    for workload in set.workloads() {
        let config = text(set, workload).unwrap_or_default();
        let config: toml::Table = match config.parse() {
            Ok(config) => config,
            Err(error) => {
                found.push(workload.finds(format!("its configuration is no TOML: {error}")));
                continue;
            }
        };
        for network in networks(workload, &config, "relay", "networks") {
            if private(&network) && !behind_a_proxy(set, workload) {
                found.push(workload.finds(format!(
                    "relay.networks has {network}: pods and nodes are there, and clients whose address is replaced by a node's"
                )));
            }
        }
        let own = setting(workload, &config, "http", "admin_port")
            .is_some_and(|port| port.to_string().trim_matches('"') != "0");
        for key in ["host", "admin_host"] {
            let addresses = networks(workload, &config, "http", key);
            let needed = key == "host" || (own && !addresses.is_empty());
            let loopback = |one: &String| one.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
            let kept = !addresses.is_empty() && addresses.iter().all(loopback);
            if workload.on_the_hosts_network() && needed && !kept {
                found.push(workload.finds(format!(
                    "http.{key} is not loopback: the node's addresses have metrics and the admin API, and no policy holds there"
                )));
            }
        }
        for section in ["server", "smtps", "submission"] {
            for network in networks(workload, &config, section, "proxy_networks") {
                if network
                    .parse::<IpNet>()
                    .is_ok_and(|network| network.prefix_len() == 0)
                {
                    found.push(workload.finds(format!(
                        "{section}.proxy_networks has {network}: anybody may say to be anybody"
                    )));
                }
            }
        }
    }
}

/// The text of the file that the server reads.
pub fn text<'a>(set: &Set<'a>, workload: Workload<'a>) -> Option<&'a str> {
    let mounts = list(&workload.server()?["volumeMounts"]);
    let mount = mounts
        .iter()
        .find(|mount| mount["mountPath"] == "/etc/smtp-server")?;
    let volumes = list(&workload.pod()["volumes"]);
    let volume = volumes.iter().find(|volume| volume["name"] == mount["name"])?;
    let map = set.get("ConfigMap", volume["configMap"]["name"].as_str()?)?;
    map["data"]["config.toml"].as_str()
}

/// The same, read. One that is no TOML is found by `look`.
pub fn table(set: &Set, workload: Workload) -> toml::Table {
    text(set, workload)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// The address of each client is what a proxy says, on the listener for everybody and on those that do as it does.
pub fn behind_a_proxy(set: &Set, workload: Workload) -> bool {
    let config = table(set, workload);
    setting(workload, &config, "server", "proxy_protocol").is_some_and(|value| value.as_str() == Some("v2"))
}

/// A setting: its variable, or in the file.
pub fn setting(workload: Workload, config: &toml::Table, section: &str, key: &str) -> Option<toml::Value> {
    let variable = format!("SMTP_{}__{}", section.to_uppercase(), key.to_uppercase());
    match workload.variable(&variable) {
        Some(value) => Some(toml::Value::String(value.to_owned())),
        None => config.get(section)?.get(key).cloned(),
    }
}

/// Who may say by a PROXY header who the client is, on a listener that wants one; `None` where it wants none. `smtps` and `submission` do as
/// `server` has it where they say nothing themselves.
pub fn proxies(set: &Set, workload: Workload, listener: &str) -> Option<Vec<String>> {
    let config = table(set, workload);
    let own = if listener == "smtp" { "server" } else { listener };
    let sections = [own, "server"];
    let said = |key: &str| {
        let mut all = sections.into_iter();
        all.find(|section| setting(workload, &config, section, key).is_some())
    };
    let protocol = setting(workload, &config, said("proxy_protocol")?, "proxy_protocol")?;
    if protocol.as_str() != Some("v2") {
        return None;
    }
    let mut all = networks(
        workload,
        &config,
        said("proxy_networks").unwrap_or("server"),
        "proxy_networks",
    );
    all.sort();
    Some(all)
}

fn networks(workload: Workload, config: &toml::Table, section: &str, key: &str) -> Vec<String> {
    match setting(workload, config, section, key) {
        Some(toml::Value::String(text)) => text.split(',').map(|one| one.trim().to_owned()).collect(),
        Some(toml::Value::Array(all)) => all
            .iter()
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}

fn private(network: &str) -> bool {
    network.parse::<IpNet>().is_ok_and(|network| {
        PRIVATE.iter().any(|private| {
            let private: IpNet = private.parse().expect("a network");
            private.contains(&network) || network.contains(&private)
        })
    })
}
