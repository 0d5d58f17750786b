//! What pods may ask of the API server: nothing, or with a token of their own whether their StatefulSet still wants them.

use super::configuration::table;
use super::meaning::{Set, Workload, finds, list, name_of, selects};
use serde_json::{Value, json};

/// Where the server looks for its token unless the configuration says otherwise.
const CREDENTIALS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Seconds: the kubelet renews it, so nobody needs one that is good for longer.
const LONGEST: u64 = 3600;
/// Where API servers listen: the Service, and what is behind it.
const PORTS: [u64; 2] = [443, 6443];

pub fn look(set: &Set, pods: Workload, found: &mut Vec<String>) {
    let account = pods.pod()["serviceAccountName"].as_str().unwrap_or("default");
    if account_mounts(set, pods, account) {
        found.push(pods.finds("a token of the API server is mounted, which nothing reads"));
        return;
    }
    let asks = asks(set, pods);
    let bindings: Vec<&Value> = set
        .of_kind("RoleBinding")
        .chain(set.of_kind("ClusterRoleBinding"))
        .filter(|binding| {
            list(&binding["subjects"])
                .iter()
                .any(|one| one["name"] == account)
        })
        .collect();
    match token(pods) {
        None => {
            for binding in bindings {
                found.push(finds(
                    binding,
                    format!("gives rights to {account}, whose pods have no token to use them with"),
                ));
            }
            if asks.is_some() {
                found.push(pods.finds("kubernetes.statefulset is set, and there is no token to ask with"));
            }
        }
        Some(_) if asks.is_none() => {
            found.push(pods.finds("a token of the API server is mounted, which nothing reads"));
        }
        Some((volume, token)) => {
            if asks.as_deref() != Some(pods.name()) || pods.object["kind"] != "StatefulSet" {
                found.push(pods.finds("kubernetes.statefulset names another than the pods' own"));
            }
            credentials(set, pods, volume, token, found);
            granted(set, pods, &bindings, found);
            reached(set, pods, found);
        }
    }
}

/// Whether Kubernetes mounts the account's token by itself, in every container.
fn account_mounts(set: &Set, pods: Workload, account: &str) -> bool {
    let by_account = set.get("ServiceAccount", account);
    match &pods.pod()["automountServiceAccountToken"] {
        Value::Null => by_account.is_none_or(|account| account["automountServiceAccountToken"] != false),
        value => *value != false,
    }
}

/// The StatefulSet that the server asks about.
fn asks(set: &Set, pods: Workload) -> Option<String> {
    let config = || {
        pods.server()?;
        let config = table(set, pods);
        Some(config.get("kubernetes")?.get("statefulset")?.as_str()?.to_owned())
    };
    let variable = pods.variable("SMTP_KUBERNETES__STATEFULSET").map(str::to_owned);
    variable.or_else(config)
}

/// A volume with a token of the pod's own, and the token.
fn token<'a>(pods: Workload<'a>) -> Option<(&'a Value, &'a Value)> {
    list(&pods.pod()["volumes"]).iter().find_map(|volume| {
        let sources = list(&volume["projected"]["sources"]);
        let token = sources
            .iter()
            .map(|source| &source["serviceAccountToken"])
            .find(|token| !token.is_null());
        Some((volume, token?))
    })
}

/// The token is short-lived, for the API server, and with its authority where the server looks.
fn credentials(set: &Set, pods: Workload, volume: &Value, token: &Value, found: &mut Vec<String>) {
    let seconds = token["expirationSeconds"].as_u64().unwrap_or(LONGEST);
    if seconds > LONGEST {
        found.push(pods.finds(format!("its token is good for {seconds} s, {LONGEST} are enough")));
    }
    if !token["audience"].is_null() {
        found.push(pods.finds("its token has an audience: the API server does not take it"));
    }
    let configured = pods.server().map(|_| table(set, pods));
    let folder = configured
        .as_ref()
        .and_then(|config| config.get("kubernetes")?.get("credentials_path")?.as_str())
        .unwrap_or(CREDENTIALS);
    for container in pods.containers().chain(list(&pods.pod()["initContainers"])) {
        let mounts = list(&container["volumeMounts"]);
        let mount = mounts.iter().find(|mount| mount["name"] == volume["name"]);
        let is_server = pods
            .server()
            .is_some_and(|server| std::ptr::eq(server, container));
        match mount {
            Some(mount) if is_server => {
                if mount["mountPath"] != folder {
                    found.push(pods.finds(format!("its token is not in {folder}, where it is looked for")));
                }
                if mount["readOnly"] != true {
                    found.push(pods.finds("its token is mounted to be written"));
                }
            }
            Some(_) => found.push(pods.finds(format!("{} has the server's token", name_of(container)))),
            None => {}
        }
    }
    let sources = list(&volume["projected"]["sources"]).iter();
    let items = sources.flat_map(|source| {
        list(&source["configMap"]["items"])
            .iter()
            .chain(list(&source["downwardAPI"]["items"]))
    });
    let mut paths: Vec<&str> = items.filter_map(|item| item["path"].as_str()).collect();
    paths.extend(token["path"].as_str());
    for file in ["token", "ca.crt", "namespace"] {
        if !paths.contains(&file) {
            found.push(pods.finds(format!("there is no {file} beside its token")));
        }
    }
}

/// It may get its own StatefulSet, and nothing else.
fn granted(set: &Set, pods: Workload, bindings: &[&Value], found: &mut Vec<String>) {
    if bindings.is_empty() {
        found.push(pods.finds("its token opens nothing: no Role lets it get the StatefulSet"));
    }
    let wanted = json!([{"apiGroups": ["apps"], "resources": ["statefulsets"], "resourceNames": [pods.name()], "verbs": ["get"]}]);
    for binding in bindings {
        let role = binding["roleRef"]["name"].as_str().unwrap_or_default();
        if binding["kind"] != "RoleBinding" || binding["roleRef"]["kind"] != "Role" {
            found.push(finds(
                binding,
                "gives rights that a Role in the namespace does not name",
            ));
        } else if let Some(role) = set.get("Role", role)
            && role["rules"] != wanted
        {
            let name = pods.name();
            found.push(finds(
                role,
                format!("gives more or other than to get the StatefulSet {name}"),
            ));
        }
    }
}

/// A policy leads to the API server, where there are policies.
fn reached(set: &Set, pods: Workload, found: &mut Vec<String>) {
    if pods.on_the_hosts_network() || set.of_kind("NetworkPolicy").next().is_none() {
        return;
    }
    let labels = pods.labels();
    let own = set
        .of_kind("NetworkPolicy")
        .filter(|policy| selects(&policy["spec"]["podSelector"], &labels));
    let mut rules = own.flat_map(|policy| list(&policy["spec"]["egress"]));
    let leads = rules.any(|rule| {
        let peers = list(&rule["to"]);
        let narrow = |peer: &Value| {
            let network = peer["ipBlock"]["cidr"]
                .as_str()
                .and_then(|cidr| cidr.parse::<ipnet::IpNet>().ok());
            network.is_some_and(|network| network.prefix_len() > 0)
        };
        let ports = list(&rule["ports"]);
        let port = |one: &Value| one["port"].as_u64().is_some_and(|port| PORTS.contains(&port));
        !peers.is_empty() && peers.iter().all(narrow) && ports.iter().any(port)
    });
    if !leads {
        found.push(pods.finds("policies do not lead to the API server, by its addresses"));
    }
}
