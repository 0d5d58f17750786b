//! What an operator fills in, and what is around a cluster.

use blackbox::postgres::Postgres;
use blackbox::sink::{Sink, put_off_while};
use blackbox::tools::{run, s_client, swaks_by};
use blackbox::wire::Wire;
use packaging::kubelet::{Node, Pod};
use packaging::render::{KUBERNETES, chart, kustomize, objects};
use packaging::tools::{Release, root};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// The database, as pods know it.
const DATABASE: &str = "postgresql.mail.svc.cluster.local";

/// One of ours delivers by `smtp:` to a mailbox server, the other goes out by its MX.
pub(crate) const OURS: &str = r#"
[[domains]]
name = "example.com"
deliver = "smtp:mailboxes.mail.svc.cluster.local:25"
recipients = "any"

[[accounts]]
name = "billing"
password_file = "/run/secrets/smtp/ACCOUNT_BILLING"
senders = ["*@example.com"]
"#;

/// What the chart makes of one of its values files for CI, with the Secrets that an operator makes for it.
pub(crate) fn released(values: &str, more: &[&str]) -> Vec<Value> {
    let values = root().join(format!("charts/smtp-server/ci/{values}-values.yaml"));
    let newest = KUBERNETES[KUBERNETES.len() - 1];
    let mut all = objects(&chart(Release::Helm4, Some(&values), newest, more));
    let kustomized = Mode::Embedded.objects().into_iter();
    all.extend(kustomized.filter(|object| object["kind"] == "Secret"));
    all
}

/// Where the queue is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// In a file on the claim of each pod of the StatefulSet.
    Embedded,
    /// In a database for all pods of the Deployment.
    Postgresql,
}

/// A node with an overlay's objects as an operator would complete them, and a server for the mail that leaves.
pub(crate) struct Stage {
    pub(crate) node: Node,
    pub(crate) sink: Sink,
    closed: Arc<AtomicBool>,
    pub(crate) mode: Mode,
    /// In PostgreSQL mode.
    database: Option<Postgres>,
}

impl Mode {
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Mode::Embedded => "StatefulSet",
            Mode::Postgresql => "Deployment",
        }
    }

    /// The objects of its overlay.
    pub(crate) fn objects(self) -> Vec<Value> {
        let overlay = match self {
            Mode::Embedded => "embedded",
            Mode::Postgresql => "postgresql",
        };
        objects(&kustomize(Release::Helm4, &format!("k8s/overlays/{overlay}")))
    }
}

impl Stage {
    pub(crate) fn new(mode: Mode) -> Stage {
        let stage = Stage::of(mode, mode.objects());
        if mode == Mode::Embedded {
            return stage;
        }
        let database = Postgres::start();
        let url = format!("postgresql://postgres@postgresql:5432/{}", database.name);
        stage
            .node
            .change("Secret", "smtp-secrets", &[("SMTP_DATABASE_URL", &url)]);
        stage.with_database(database)
    }

    /// The same with these objects; in PostgreSQL mode without a database yet.
    pub(crate) fn of(mode: Mode, objects: Vec<Value>) -> Stage {
        let node = Node::new(objects);
        node.fill_in(PASSWORD);
        node.configure(OURS);
        let closed = Arc::default();
        let sink = next_hop(&node.at(25).to_string(), &closed);
        let address = node.address().to_string();
        node.names.mx("partner.example", 10, "mx.partner.example");
        for name in ["mx.partner.example", "mailboxes.mail.svc.cluster.local"] {
            node.names.a(name, &address);
        }
        Stage {
            node,
            sink,
            closed,
            mode,
            database: None,
        }
    }

    /// With a database under the name of a Service.
    pub(crate) fn with_database(mut self, database: Postgres) -> Stage {
        self.knows_the_database(true);
        self.node.lends(5432, database.address());
        self.database = Some(database);
        self
    }

    pub(crate) fn database(&self) -> &Postgres {
        self.database.as_ref().expect("a database")
    }

    /// Whether the database is found.
    pub(crate) fn knows_the_database(&self, known: bool) {
        let address = self.node.address().to_string();
        let names = &self.node.names;
        match known {
            true => names.a(DATABASE, &address),
            false => names.remove(DATABASE),
        }
    }

    /// Starts a pod of the mode's workload.
    pub(crate) fn start(&self, number: u32) -> Pod {
        self.node.start(self.mode.kind(), "smtp-server", number)
    }

    /// Changes the workload's template: the pod's `spec`. Pods that are started from then on follow.
    pub(crate) fn edit(&self, change: impl FnOnce(&mut Value)) {
        self.node.edit(self.mode.kind(), "smtp-server", |workload| {
            change(&mut workload["spec"]["template"]["spec"]);
        });
    }

    /// Whether the server for the mail that leaves puts everything off.
    pub(crate) fn put_off(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
    }
}

/// A server for the mail that leaves, which puts everything off as long as it is closed.
pub(crate) fn next_hop(address: &str, closed: &Arc<AtomicBool>) -> Sink {
    Sink::on(address, &["PIPELINING", "8BITMIME"], put_off_while(closed))
}

/// Brings a message for a domain of ours, as anybody may.
pub(crate) fn bring(pod: &Pod, subject: &str) {
    let mut wire = Wire::hello(pod.at(2525));
    assert_eq!(give(&mut wire, subject), 250);
}

/// A message on a connection that is open: the reply's code.
pub(crate) fn give(wire: &mut Wire, subject: &str) -> u16 {
    let content =
        format!("From: <a@far.example>\r\nTo: <ann@example.com>\r\nSubject: {subject}\r\n\r\nHello\r\n");
    wire.mail("a@far.example", &["ann@example.com"], &content).code
}

/// Has the server of a pod try all its mail again now.
pub(crate) fn retry(pod: &Pod) {
    pod.done(&["smtp-server", "queue", "retry", "--all"]);
}

/// Submits a message for somebody else, as an account may.
pub(crate) fn submit(pod: &Pod, subject: &str) {
    submit_to("bob@partner.example", pod.at(5870), "--tls", subject);
}

/// The same for whom it is said, at a port with `--tls` (STARTTLS) or with `--tls-on-connect`.
pub(crate) fn submit_to(recipient: &str, address: SocketAddr, tls: &str, subject: &str) {
    let mut swaks = swaks_by("PLAIN", tls, address, "billing", PASSWORD);
    swaks.args(["--from", "billing@example.com", "--to", recipient]);
    run(swaks.args(["--header", &format!("Subject: {subject}")]));
}

/// The subjects that have arrived, in order.
pub(crate) fn subjects(sink: &Sink) -> Vec<String> {
    let subjects = sink
        .messages()
        .into_iter()
        .filter_map(|message| message.field("Subject"));
    let mut subjects: Vec<String> = subjects.collect();
    subjects.sort();
    subjects
}

/// The certificate that is shown in TLS, as PEM.
pub(crate) fn shown(address: SocketAddr) -> String {
    let output = s_client(address, false, &[])
        .stdin(std::process::Stdio::null())
        .output()
        .expect("openssl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let start = text.find("-----BEGIN CERTIFICATE-----").unwrap_or(0);
    let end = text.find("-----END CERTIFICATE-----").unwrap_or(0);
    text[start..end].trim().to_owned()
}
