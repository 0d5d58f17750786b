//! A bridge on this machine, and its pods' network namespaces.

use blackbox::tools::{program, run};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A bridge and its network, 198.19.N.0/24 of the range for measuring devices: no address of anybody.
pub(in crate::kubelet) struct Bridge {
    number: u8,
    name: String,
}

impl Bridge {
    /// The first number that is free. Who makes the bridge has it: the kernel refuses a second one of that name.
    pub(in crate::kubelet) fn new() -> Bridge {
        sweep();
        static MADE: AtomicU32 = AtomicU32::new(0);
        let first = (std::process::id() + MADE.fetch_add(1, Ordering::Relaxed)) % 256;
        for number in (0..256).map(|more| (first + more) % 256) {
            let number = u8::try_from(number).expect("below 256");
            let name = format!("kubelet{number}");
            let made = ip(&["link", "add", &name, "type", "bridge"]).output();
            if made.expect("ip").status.success() {
                let bridge = Bridge { number, name };
                let mark = format!("process {}", std::process::id());
                run(&mut ip(&["link", "set", &bridge.name, "alias", &mark, "up"]));
                let address = format!("{}/24", bridge.address());
                run(&mut ip(&["address", "add", &address, "dev", &bridge.name]));
                return bridge;
            }
        }
        panic!("all 256 networks are taken");
    }

    /// The node's own.
    pub(in crate::kubelet) fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 19, self.number, 1)
    }

    /// A network namespace for a pod.
    pub(in crate::kubelet) fn attach(&self, host: u8) -> Namespace {
        let name = format!("kubelet{}-{host}", self.number);
        let address = Ipv4Addr::new(198, 19, self.number, host);
        run(&mut ip(&["netns", "add", &name]));
        let namespace = Namespace { name, address };
        let (name, outside) = (namespace.name.as_str(), format!("kube{}-{host}", self.number));
        run(&mut ip(&[
            "link", "add", &outside, "type", "veth", "peer", "name", "eth0", "netns", name,
        ]));
        run(&mut ip(&["link", "set", &outside, "master", &self.name, "up"]));
        let with_mask = format!("{address}/24");
        run(&mut ip(&[
            "-n", name, "address", "add", &with_mask, "dev", "eth0",
        ]));
        run(&mut ip(&["-n", name, "link", "set", "lo", "up"]));
        run(&mut ip(&["-n", name, "link", "set", "eth0", "up"]));
        let gateway = self.address().to_string();
        run(&mut ip(&["-n", name, "route", "add", "default", "via", &gateway]));
        namespace
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = ip(&["link", "delete", &self.name]).output();
    }
}

/// A pod's network namespace.
pub(in crate::kubelet) struct Namespace {
    pub(in crate::kubelet) name: String,
    pub(in crate::kubelet) address: Ipv4Addr,
}

impl Namespace {
    pub(in crate::kubelet) fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its end of the veth goes with it, and so does the other.
        let _ = ip(&["netns", "delete", &self.name]).output();
    }
}

fn ip(args: &[&str]) -> Command {
    let mut ip = program("/usr/sbin/ip");
    ip.args(args);
    ip
}

/// Removes what was left by tests that were killed: their process, which the alias names, is gone.
fn sweep() {
    let links = run(ip(&["-json", "link", "show", "type", "bridge"]).arg("up"));
    let links: serde_json::Value = serde_json::from_slice(&links.stdout).unwrap_or_default();
    for link in links.as_array().into_iter().flatten() {
        let (name, alias) = (link["ifname"].as_str(), link["ifalias"].as_str());
        let (Some(name), Some(process)) = (name, alias.and_then(|alias| alias.strip_prefix("process ")))
        else {
            continue;
        };
        let is_ours = name.starts_with("kubelet");
        if !is_ours || PathBuf::from("/proc").join(process).exists() {
            continue;
        }
        let spaces = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
        for space in spaces.filter_map(|space| space.file_name().into_string().ok()) {
            if space.starts_with(&format!("{name}-")) {
                let _ = ip(&["netns", "delete", &space]).output();
            }
        }
        let _ = ip(&["link", "delete", name]).output();
    }
}
