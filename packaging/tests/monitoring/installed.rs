//! Installations as they are rendered, with servers for their pods: what Prometheus reads comes of the monitors that ship.

use blackbox::server::Server;
use packaging::render::{customized, file, kustomize, moved, objects, released};
use packaging::scraping::{Running, scrapes};
use packaging::semantic::Set;
use packaging::tools::Release;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Namespaces with what is installed in them.
#[derive(Default)]
pub(crate) struct Installed<'s> {
    objects: Vec<Value>,
    pods: Vec<Pod<'s>>,
}

struct Pod<'s> {
    namespace: String,
    workload: String,
    name: String,
    server: &'s Server,
}

/// An overlay with the component that has the PodMonitor.
pub(crate) fn with_pod_monitor(overlay: &str) -> Vec<Value> {
    objects(&customized(Release::Helm4, overlay, &["monitoring"]))
}

/// An overlay, and the ServiceMonitor.
pub(crate) fn with_service_monitor(overlay: &str) -> Vec<Value> {
    let mut all = objects(&kustomize(Release::Helm4, &format!("k8s/overlays/{overlay}")));
    all.extend(file("k8s/monitoring/servicemonitor.yaml"));
    all
}

/// A release of the chart in a namespace with a monitor (`podMonitor` or `serviceMonitor`, with these values of it), and other
/// values.
pub(crate) fn release(name: &str, namespace: &str, monitor: &str, of_it: Value, more: &Value) -> Vec<Value> {
    let mut values = json!({"config": {"server": {"hostname": "mx.test"}}, (monitor): of_it});
    values[monitor]["enabled"] = true.into();
    for (key, value) in more.as_object().expect("values") {
        if let (Some(there), Some(more)) = (values[key].as_object_mut(), value.as_object()) {
            there.extend(more.clone());
        } else {
            values[key] = value.clone();
        }
    }
    released(name, namespace, &values)
}

impl<'s> Installed<'s> {
    /// Installs objects in a namespace, with these servers as the pods of their workload.
    pub(crate) fn add(&mut self, namespace: &str, objects: &[Value], pods: &[(&str, &'s Server)]) {
        let objects = moved(objects.to_vec(), namespace);
        let set = Set::new(&objects, &[]);
        let workload = set.workloads()[0].name().to_owned();
        self.pods.extend(pods.iter().map(|(name, server)| Pod {
            namespace: namespace.to_owned(),
            workload: workload.clone(),
            name: (*name).to_owned(),
            server,
        }));
        self.objects.extend(objects);
    }

    /// How many pods there are.
    pub(crate) fn pods(&self) -> usize {
        self.pods.len()
    }

    /// The entries of `scrape_configs`.
    pub(crate) fn scrapes(&self) -> Vec<Value> {
        let set = Set::new(&self.objects, &[]);
        let running = self.pods.iter().map(|pod| {
            let workload = set
                .workloads()
                .into_iter()
                .find(|one| (one.namespace(), one.name()) == (pod.namespace.as_str(), pod.workload.as_str()))
                .expect("its workload");
            let ports = workload.ports();
            let address = move |number: u16| {
                let (name, _) = ports.iter().find(|(_, port)| **port == number)?;
                listens(pod.server, name)
            };
            Running {
                namespace: &pod.namespace,
                workload: &pod.workload,
                name: &pod.name,
                address: Box::new(address),
            }
        });
        scrapes(&self.objects, &running.collect::<Vec<_>>())
    }
}

/// Where a server has a listener of this name, as its log says.
fn listens(server: &Server, listener: &str) -> Option<SocketAddr> {
    let listening = server.events("listening");
    let line = listening.iter().find(|line| line["listener"] == listener)?;
    let address = line["address"].as_str()?.replace("[::]:", "127.0.0.1:");
    address.parse().ok()
}
