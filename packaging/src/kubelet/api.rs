//! A cluster's API server, as far as pods ask it (`tests/receivers/api_server.py`): it knows them by the tokens that the kubelet has got for
//! them, and lets them do what the rendered Roles say.

use super::identity::Identity;
use blackbox::receiver::Receiver;
use blackbox::tools::certificates_for;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// A running API server.
pub(super) struct Api {
    receiver: Receiver,
    folder: tempfile::TempDir,
}

/// The tokens that are good, by their pods.
#[derive(Default)]
pub(super) struct Tokens(Mutex<BTreeMap<String, Token>>);

struct Token {
    text: String,
    /// Who shows it.
    user: String,
}

/// What the API server was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub path: String,
    /// What the asker showed to be known by.
    pub authorization: String,
}

impl Tokens {
    /// The pod's, which is made if it has none.
    pub(super) fn of(&self, pod: &Identity) -> String {
        static MADE: AtomicU32 = AtomicU32::new(1);
        let mut tokens = self.0.lock().expect("tokens");
        let token = tokens.entry(pod.name.clone()).or_insert_with(|| Token {
            text: format!("token-{}-of-{}", MADE.fetch_add(1, Ordering::Relaxed), pod.name),
            user: pod.user(),
        });
        token.text.clone()
    }

    /// None of those that were good is any more.
    pub(super) fn expire(&self) {
        self.0.lock().expect("tokens").clear();
    }

    /// Who shows which.
    fn users(&self) -> BTreeMap<String, String> {
        let tokens = self.0.lock().expect("tokens");
        let users = tokens
            .values()
            .map(|token| (token.text.clone(), token.user.clone()));
        users.collect()
    }
}

impl Api {
    /// One that is reached at this address, by its certificate.
    pub(super) fn start(address: Ipv4Addr) -> Api {
        let folder = tempfile::tempdir().expect("a folder");
        certificates_for(folder.path(), &format!("IP:{address}"));
        let path = |name: &str| folder.path().join(name).display().to_string();
        let args = [path("cluster.json"), path("cert.pem"), path("key.pem")];
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let receiver = Receiver::start("api_server.py", &args, None);
        Api { receiver, folder }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        let port = self.receiver.url.rsplit(':').next().expect("a port");
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.parse().expect("a port"))
    }

    /// Who vouches for it, as PEM.
    pub(super) fn authority(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("ca.pem")).expect("ca.pem")
    }

    /// What is in its store, and who is who, from now on.
    pub(super) fn knows(&self, tokens: &Tokens, objects: &[Value]) {
        let cluster = json!({ "users": tokens.users(), "objects": objects });
        let new = self.folder.path().join("cluster.new");
        std::fs::write(&new, cluster.to_string()).expect("cluster.new");
        std::fs::rename(new, self.folder.path().join("cluster.json")).expect("cluster.json");
    }

    /// What it was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let asked = self.receiver.with("asked");
        let asked = asked.iter().map(|one| Asked {
            path: text(&one["asked"]),
            authorization: text(&one["authorization"]),
        });
        asked.collect()
    }
}
