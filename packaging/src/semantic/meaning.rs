//! The objects as what they are: workloads with their pods, and what selects them.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Display;

/// An object's labels.
pub type Labels = BTreeMap<String, String>;

/// What one apply brings.
pub struct Set<'a> {
    pub objects: &'a [Value],
    outside: Vec<(String, String)>,
}

/// A Deployment, StatefulSet, DaemonSet or Job.
#[derive(Clone, Copy)]
pub struct Workload<'a> {
    pub object: &'a Value,
}

impl<'a> Set<'a> {
    pub fn new(objects: &'a [Value], outside: &[(&str, &str)]) -> Self {
        let outside = outside
            .iter()
            .map(|(kind, name)| (kind.to_string(), name.to_string()))
            .collect();
        Set { objects, outside }
    }

    pub fn of_kind<'s>(&'s self, kind: &'s str) -> impl Iterator<Item = &'a Value> + 's {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    pub fn get(&self, kind: &str, name: &str) -> Option<&'a Value> {
        self.objects
            .iter()
            .find(|object| object["kind"] == kind && name_of(object) == name)
    }

    /// Made by somebody else.
    pub fn is_outside(&self, kind: &str, name: &str) -> bool {
        self.outside.iter().any(|(k, n)| k == kind && n == name)
    }

    /// What runs the server: everything with pods that a Service or a budget could be about.
    pub fn workloads(&self) -> Vec<Workload<'a>> {
        let long = ["Deployment", "StatefulSet", "DaemonSet"];
        let workloads = self.objects.iter();
        let workloads = workloads.filter(|object| long.iter().any(|kind| object["kind"] == *kind));
        workloads.map(|object| Workload { object }).collect()
    }

    /// Workloads, and pods that end.
    pub fn all_pods(&self) -> Vec<Workload<'a>> {
        let pods = self
            .objects
            .iter()
            .filter(|object| object["kind"] == "Job" || object["kind"] == "Pod");
        let mut all = self.workloads();
        all.extend(pods.map(|object| Workload { object }));
        all
    }

    /// HPAs and ScaledObjects that scale a workload.
    pub fn scalers(&self, workload: Workload) -> Vec<&'a Value> {
        let scalers = self
            .objects
            .iter()
            .filter(|o| o["kind"] == "HorizontalPodAutoscaler" || o["kind"] == "ScaledObject");
        scalers
            .filter(|scaler| {
                let target = &scaler["spec"]["scaleTargetRef"];
                // KEDA's default is a Deployment.
                let kind = target["kind"].as_str().unwrap_or("Deployment");
                workload.object["kind"] == kind && target["name"] == workload.name()
            })
            .collect()
    }
}

impl<'a> Workload<'a> {
    pub fn name(&self) -> &'a str {
        name_of(self.object)
    }
    pub fn namespace(&self) -> &'a str {
        namespace_of(self.object)
    }
    pub fn template(&self) -> &'a Value {
        match self.object["kind"].as_str() {
            Some("Pod") => self.object,
            _ => &self.object["spec"]["template"],
        }
    }
    pub fn pod(&self) -> &'a Value {
        &self.template()["spec"]
    }
    pub fn labels(&self) -> Labels {
        labels(&self.template()["metadata"]["labels"])
    }
    pub fn containers(&self) -> impl Iterator<Item = &'a Value> {
        list(&self.pod()["containers"]).iter()
    }
    /// The one that is the server: it has a port called smtp.
    pub fn server(&self) -> Option<&'a Value> {
        self.containers().find(|container| {
            list(&container["ports"])
                .iter()
                .any(|port| port["name"] == "smtp")
        })
    }
    /// A variable of the server's container.
    pub fn variable(&self, name: &str) -> Option<&'a str> {
        let env = list(&self.server()?["env"]);
        env.iter().find(|one| one["name"] == name)?["value"].as_str()
    }
    /// The queue is in PostgreSQL.
    pub fn shares_its_queue(&self) -> bool {
        let names = ["SMTP_DATABASE_URL", "SMTP_DATABASE_URL_FILE"];
        let env = self
            .server()
            .map(|server| list(&server["env"]))
            .unwrap_or_default();
        env.iter()
            .any(|one| names.iter().any(|name| one["name"] == *name))
    }
    pub fn on_the_hosts_network(&self) -> bool {
        self.pod()["hostNetwork"] == true
    }
    /// Names and numbers of the containers' ports.
    pub fn ports(&self) -> BTreeMap<String, u16> {
        let ports = self.containers().flat_map(|container| list(&container["ports"]));
        ports
            .filter_map(|port| Some((port["name"].as_str()?.to_owned(), number(&port["containerPort"])?)))
            .collect()
    }
    /// The number of a port that is named or numbered.
    pub fn port(&self, port: &Value) -> Option<u16> {
        match port.as_str() {
            Some(name) => self.ports().get(name).copied(),
            None => number(port),
        }
    }
    /// Without an HPA.
    pub fn replicas(&self) -> u64 {
        self.object["spec"]["replicas"].as_u64().unwrap_or(1)
    }
    pub fn finds(&self, text: impl Display) -> String {
        finds(self.object, text)
    }
}

/// `Kind/name: text`.
pub fn finds(object: &Value, text: impl Display) -> String {
    format!(
        "{}/{}: {text}",
        object["kind"].as_str().unwrap_or("?"),
        name_of(object)
    )
}

pub fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

pub fn namespace_of(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or("default")
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

pub fn labels(value: &Value) -> Labels {
    let pairs = value.as_object().into_iter().flatten();
    pairs
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|n| u16::try_from(n).ok())
}

/// Whether a label selector (`matchLabels`, `matchExpressions`) means these labels. An empty one means all.
pub fn selects(selector: &Value, labels_of_it: &Labels) -> bool {
    let wanted = labels(&selector["matchLabels"]);
    let all = wanted
        .iter()
        .all(|(key, value)| labels_of_it.get(key) == Some(value));
    all && list(&selector["matchExpressions"]).iter().all(|expression| {
        let has = labels_of_it.get(expression["key"].as_str().unwrap_or_default());
        let among = list(&expression["values"])
            .iter()
            .any(|value| has.map(String::as_str) == value.as_str());
        match expression["operator"].as_str() {
            Some("In") => has.is_some() && among,
            Some("NotIn") => !among,
            Some("Exists") => has.is_some(),
            Some("DoesNotExist") => has.is_none(),
            other => panic!("operator {other:?} of a selector"),
        }
    })
}

/// A quantity (`500m`, `1Gi`, `2`) in thousandths.
pub fn quantity(value: &Value) -> Option<u128> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u128 = match &text[digits.len()..] {
        "m" => 1,
        "" => 1000,
        "k" => 1000 * 1000,
        "M" => 1000 * 1000_u128.pow(2),
        "G" => 1000 * 1000_u128.pow(3),
        "Ki" => 1000 * 1024,
        "Mi" => 1000 * 1024_u128.pow(2),
        "Gi" => 1000 * 1024_u128.pow(3),
        "Ti" => 1000 * 1024_u128.pow(4),
        other => panic!("unit {other:?} of a quantity"),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = 10_u128.pow(u32::try_from(part.len()).expect("a short number"));
    let number: u128 = format!("{whole}{part}").parse().ok()?;
    Some(number * unit / scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities() {
        for (text, thousandths) in [
            ("500m", 500),
            ("2", 2000),
            ("1.5", 1500),
            ("1Ki", 1_024_000),
            ("1k", 1_000_000),
        ] {
            assert_eq!(quantity(&json!(text)), Some(thousandths), "{text}");
        }
        assert_eq!(quantity(&json!(3)), Some(3000));
        assert!(quantity(&json!("1088Mi")) > quantity(&json!("1Gi")));
    }

    #[test]
    fn selectors() {
        let pod = labels(&json!({"app": "a", "tier": "b"}));
        for (selector, selected) in [
            (json!({}), true),
            (json!({"matchLabels": {"app": "a"}}), true),
            (json!({"matchLabels": {"app": "a", "more": "c"}}), false),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "z"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["a"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}),
                false,
            ),
        ] {
            assert_eq!(selects(&selector, &pod), selected, "{selector}");
        }
    }
}
