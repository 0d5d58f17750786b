//! One port from the world to the listener: Services, containers, and where the server listens.

use super::configuration::{behind_a_proxy, proxies, setting, table};
use super::meaning::{Set, Workload, finds, labels, list, namespace_of};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::OnceLock;

/// A listener: its port's name in the pods, its setting, the short variable of that, its port on a Service.
const LISTENERS: [(&str, &str, &str, u64); 4] = [
    ("smtp", "server", "SMTP_PORT", 25),
    ("smtps", "smtps", "SMTP_SMTPS_PORT", 465),
    ("submission", "submission", "SMTP_SUBMISSION_PORT", 587),
    ("http", "http", "SMTP_HTTP_PORT", 8080),
];

/// The ports of the server's listeners when nothing is configured, by the names that they have in the pods; the server itself
/// is asked.
pub fn defaults() -> &'static BTreeMap<&'static str, u16> {
    static PORTS: OnceLock<BTreeMap<&'static str, u16>> = OnceLock::new();
    PORTS.get_or_init(|| {
        let mut server = Command::new(blackbox::server::binary());
        let output = server
            .env_clear()
            .args(["config", "show", "--defaults", "--output", "json"])
            .output()
            .expect("the server's defaults");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let settings: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("a setting a line"))
            .collect();
        LISTENERS
            .iter()
            .map(|(name, section, ..)| {
                let key = format!("{section}.port");
                let setting = settings.iter().find(|setting| setting["key"] == key);
                let port = setting
                    .and_then(|setting| setting["value"].as_u64())
                    .expect("a port");
                (*name, u16::try_from(port).expect("a port"))
            })
            .collect()
    })
}

/// Where a workload's server listens: its variables, its file, its defaults. Listeners that are off are left out; metrics
/// and the admin API are there when they have a listener of their own.
pub fn listening(set: &Set, workload: Workload) -> BTreeMap<&'static str, u16> {
    let config = table(set, workload);
    let configured = |section: &str, key: &str| -> Option<String> {
        let value = setting(workload, &config, section, key)?;
        Some(value.to_string().trim_matches('"').to_owned())
    };
    let mut ports = defaults().clone();
    for (name, section, short, _) in LISTENERS {
        let port = workload.variable(short).map(str::to_owned);
        let port = port.or_else(|| configured(section, "port"));
        if let Some(port) = port.and_then(|port| port.parse().ok()) {
            ports.insert(name, port);
        }
        // Both need TLS, and are open where there is some.
        let tls = configured("tls", "enabled").unwrap_or_else(|| "true".into());
        if ["smtps", "submission"].contains(&name) && configured(section, "enabled").unwrap_or(tls) == "false"
        {
            ports.remove(name);
        }
    }
    let admin = configured("http", "admin_port").and_then(|port| port.parse().ok());
    if let Some(port) = admin.filter(|port| *port != 0) {
        ports.insert("admin", port);
    }
    let metrics = configured("metrics", "port").and_then(|port| port.parse().ok());
    if let Some(port) = metrics.filter(|port| *port != ports["http"]) {
        ports.insert("metrics", port);
    }
    ports
}

pub fn look(set: &Set, found: &mut Vec<String>) {
    for workload in set.workloads() {
        if workload.server().is_none() {
            continue;
        }
        let listening = listening(set, workload);
        let open = workload.ports();
        for (name, port) in &listening {
            match open.get(*name) {
                None => found.push(workload.finds(format!("no container port {name}"))),
                Some(other) if other != port => found.push(workload.finds(format!(
                    "the container port {name} is {other}, the server listens on {port}"
                ))),
                Some(_) => {}
            }
        }
        for name in open.keys().filter(|name| !listening.contains_key(name.as_str())) {
            found.push(workload.finds(format!(
                "the server has no listener for the container port {name}"
            )));
        }
    }
    for service in set.of_kind("Service") {
        service_ports(set, service, found);
        exposure(set, service, found);
    }
}

fn service_ports(set: &Set, service: &Value, found: &mut Vec<String>) {
    let selector = labels(&service["spec"]["selector"]);
    let pods: Vec<Workload> = set
        .workloads()
        .into_iter()
        .filter(|pods| {
            let its = pods.labels();
            pods.namespace() == namespace_of(service)
                && selector.iter().all(|(key, value)| its.get(key) == Some(value))
        })
        .collect();
    for port in list(&service["spec"]["ports"]) {
        let name = port["name"].as_str().unwrap_or("without a name");
        let headless = service["spec"]["clusterIP"] == "None";
        if let Some((.., wanted)) = LISTENERS.iter().find(|(listener, ..)| *listener == name)
            && !headless
            && port["port"] != *wanted
        {
            found.push(finds(
                service,
                format!("the port {name} is {}, clients use {wanted}", port["port"]),
            ));
        }
        if port["appProtocol"].is_null() {
            found.push(finds(service, format!("the port {name} has no appProtocol")));
        }
        let target = if port["targetPort"].is_null() {
            &port["port"]
        } else {
            &port["targetPort"]
        };
        for pods in &pods {
            let reached = pods.port(target);
            let wanted = pods.ports().get(name).copied();
            if reached.is_none() || reached != wanted {
                found.push(finds(
                    service,
                    format!(
                        "the port {name} leads to {target}, the pods of {} have {wanted:?}",
                        pods.name()
                    ),
                ));
            }
            if headless && reached.map(u64::from) != port["port"].as_u64() {
                found.push(finds(
                    service,
                    format!("the port {name} is not the pods' own, and nothing translates it"),
                ));
            }
        }
    }
}

/// What is open to the world.
fn exposure(set: &Set, service: &Value, found: &mut Vec<String>) {
    let spec = &service["spec"];
    if spec["ipFamilyPolicy"] != "PreferDualStack" && spec["ipFamilyPolicy"] != "RequireDualStack" {
        found.push(finds(service, "one address family only"));
    }
    if spec["type"] != "LoadBalancer" && spec["type"] != "NodePort" {
        return;
    }
    // A proxy says who the client is, whatever address the connection has.
    let told = set
        .workloads()
        .into_iter()
        .any(|workload| behind_a_proxy(set, workload));
    if spec["externalTrafficPolicy"] != "Local" && !told {
        found.push(finds(
            service,
            "clients get a node's address (externalTrafficPolicy is not Local)",
        ));
    }
    let names: Vec<&str> = list(&spec["ports"])
        .iter()
        .filter_map(|port| port["name"].as_str())
        .collect();
    if names.contains(&"http") || names.contains(&"admin") {
        found.push(finds(service, "metrics and the admin API are open to the world"));
    }
    if names.contains(&"smtp") && names.len() > 1 {
        found.push(finds(service, "MX and submission share an address"));
    }
    for workload in set.workloads() {
        let believed = names.iter().filter_map(|name| proxies(set, workload, name));
        if believed.collect::<BTreeSet<_>>().len() > 1 {
            found.push(finds(
                service,
                "one balancer connects to listeners that believe different proxy_networks: one of them refuses it",
            ));
        }
    }
}
