//! Probes.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// One probe of a container.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    asks: Asks,
    pub(super) initial_delay: Duration,
    pub(super) period: Duration,
    timeout: Duration,
    pub(super) failures: u32,
    pub(super) successes: u32,
}

#[derive(Clone, Debug)]
enum Asks {
    /// At an address of its own, or the pod's.
    Http {
        host: Option<IpAddr>,
        port: u16,
        path: String,
    },
    Tcp {
        port: u16,
    },
    Exec(Vec<String>),
}

impl Probe {
    /// A probe of a container's template, with the API's defaults.
    pub(super) fn read(container: &Value, name: &str) -> Option<Probe> {
        let probe = container.get(name)?;
        super::spec::only(
            probe,
            name,
            &[
                "httpGet",
                "tcpSocket",
                "exec",
                "initialDelaySeconds",
                "periodSeconds",
                "timeoutSeconds",
                "failureThreshold",
                "successThreshold",
            ],
        );
        let number = |field: &str, default: u64| probe[field].as_u64().unwrap_or(default);
        let port = |of: &Value| port(container, &of["port"]);
        let asks = if let Some(get) = probe.get("httpGet") {
            super::spec::only(get, "httpGet", &["host", "path", "port", "scheme"]);
            assert!(get["scheme"] == Value::Null || get["scheme"] == "HTTP", "{get}");
            let host = get["host"].as_str();
            Asks::Http {
                host: host.map(|host| host.parse().expect("a host by its address is played")),
                port: port(get),
                path: get["path"].as_str().unwrap_or("/").to_owned(),
            }
        } else if let Some(socket) = probe.get("tcpSocket") {
            Asks::Tcp { port: port(socket) }
        } else {
            let command = probe["exec"]["command"].as_array().expect("a probe's command");
            let words = command.iter().map(|word| word.as_str().expect("text").to_owned());
            Asks::Exec(words.collect())
        };
        Some(Probe {
            asks,
            initial_delay: Duration::from_secs(number("initialDelaySeconds", 0)),
            period: Duration::from_secs(number("periodSeconds", 10)),
            timeout: Duration::from_secs(number("timeoutSeconds", 1)),
            failures: u32::try_from(number("failureThreshold", 3)).expect("a threshold"),
            successes: u32::try_from(number("successThreshold", 1)).expect("a threshold"),
        })
    }

    /// The same with its times divided.
    pub(super) fn faster(self, pace: u32) -> Probe {
        Probe {
            initial_delay: self.initial_delay / pace,
            period: self.period / pace,
            timeout: self.timeout / pace,
            ..self
        }
    }

    /// The address that it asks in place of the pod's.
    pub(super) fn host(&self) -> Option<IpAddr> {
        match self.asks {
            Asks::Http { host, .. } => host,
            Asks::Tcp { .. } | Asks::Exec(_) => None,
        }
    }

    /// Asks once, as the kubelet does: from the node, at the pod's address unless it says another.
    pub(super) fn succeeds(&self, pod: IpAddr, exec: impl Fn(&[String], Duration) -> bool) -> bool {
        match &self.asks {
            Asks::Http { host, port, path } => {
                let status = get(SocketAddr::new(host.unwrap_or(pod), *port), path, self.timeout);
                status.is_ok_and(|status| (200..400).contains(&status))
            }
            Asks::Tcp { port } => {
                TcpStream::connect_timeout(&SocketAddr::new(pod, *port), self.timeout).is_ok()
            }
            Asks::Exec(command) => exec(command, self.timeout),
        }
    }
}

/// A port by its number or its name.
fn port(container: &Value, wanted: &Value) -> u16 {
    let number = wanted.as_u64().or_else(|| {
        let ports = container["ports"].as_array()?;
        let named = ports.iter().find(|port| port["name"] == *wanted)?;
        named["containerPort"].as_u64()
    });
    let number = number.unwrap_or_else(|| panic!("no port {wanted}"));
    u16::try_from(number).expect("a port")
}

/// The status of a GET.
fn get(address: SocketAddr, path: &str, timeout: Duration) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: kube-probe/1.37\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(64 << 10).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::Error::other("no answer"))
}
