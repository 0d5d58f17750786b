//! The overlay `smarthost`, under its own policies: everything leaves by a provider, who takes mail under TLS from who logs in.

use super::around::{Around, of_the_workload};
use super::stage::{retry, submit_to};
use blackbox::dovecot::{Dovecot, PASSWORD, USER};
use blackbox::postfix::Postfix;
use blackbox::tools::{certificates_for, maildir};
use blackbox::wait_for;
use blackbox::wire::Wire;
use packaging::net::addresses;
use packaging::net::cluster::Host;
use packaging::net::service;
use packaging::render::{find, kustomize, objects};
use packaging::tools::Release;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// The account of a program in the cluster; no domain is ours.
const ACCOUNT: &str = "[[accounts]]\nname = \"billing\"\npassword_file = \"/run/secrets/smtp/ACCOUNT_BILLING\"\nsenders = [\"*@example.com\"]\n";

/// The provider: a Postfix that offers TLS, and no login without it.
struct Provider {
    postfix: Postfix,
    _dovecot: Dovecot,
    /// Whose authority is `ca.pem`.
    certificates: tempfile::TempDir,
    _host: Host,
}

impl Provider {
    /// Where the overlay's policy has it.
    fn start(around: &Around) -> Provider {
        let host = around
            .cluster
            .host(&addresses::both("192.0.2.25", "2001:db8::25"));
        around.knows("smtp.provider.example", host.v4());
        let certificates = tempfile::tempdir().expect("a folder");
        certificates_for(certificates.path(), "DNS:smtp.provider.example");
        let (postfix, dovecot) = host.space.inside(|| {
            let dovecot = Dovecot::start("plain");
            let postfix = Postfix::start(&(main_cf(certificates.path()) + &dovecot.postfix_config()));
            (postfix, dovecot)
        });
        // Both chose their ports, on loopback.
        host.space.set(&[("ipv4/conf/all/route_localnet", "1")]);
        host.space.nft(&format!(
            "table inet port {{\nchain in {{ type nat hook prerouting priority dstnat; tcp dport 587 dnat ip to {}; }}\n}}\n",
            postfix.address
        ));
        Provider {
            postfix,
            _dovecot: dovecot,
            certificates,
            _host: host,
        }
    }

    fn has(&self) -> usize {
        maildir(&self.postfix.folder().join("mail/b")).len()
    }
}

fn main_cf(certificates: &Path) -> String {
    let folder = certificates.display();
    format!(
        "virtual_mailbox_domains = partner.example\nvirtual_mailbox_base = {{folder}}/mail\nvirtual_mailbox_maps = static:b/\n\
         virtual_minimum_uid = 1\nvirtual_uid_maps = static:65534\nvirtual_gid_maps = static:65534\n\
         smtpd_tls_security_level = may\nsmtpd_tls_auth_only = yes\nsmtpd_tls_loglevel = 1\n\
         smtpd_tls_cert_file = {folder}/cert.pem\nsmtpd_tls_key_file = {folder}/key.pem\n"
    )
}

/// What an operator changes: the user in the smarthost's URL.
fn name_the_user(around: &Around) {
    let config = around.node.value("ConfigMap", "smtp-config", "config.toml");
    let named = config.replace("smtp://USER@", &format!("smtp://{}@", USER.replace('@', "%40")));
    assert_ne!(config, named, "no user to be replaced in the configuration");
    let keys = [("config.toml", named.as_str())];
    around.node.change("ConfigMap", "smtp-config", &keys);
}

#[test]
fn everything_leaves_by_a_provider_that_shows_its_name_and_knows_ours() {
    let all = objects(&kustomize(Release::Helm4, "k8s/overlays/smarthost"));
    let around = Around::new(all.clone());
    let provider = Provider::start(&around);
    around.node.configure(ACCOUNT);
    name_the_user(&around);
    around
        .node
        .change("Secret", "smtp-secrets", &[("SMTP_RELAY_PASSWORD", PASSWORD)]);
    let host = Arc::new(around.cluster.host(&addresses::pod(1)));
    let server = of_the_workload(&host, &all);
    around.enforce(&all, std::slice::from_ref(&server));
    let submission = find(&all, "Service", "smtp-server-submission");
    let virtual_addresses = addresses::service(1);
    around.cluster.claim(&virtual_addresses);
    around
        .cluster
        .serve(&service::of(submission, &virtual_addresses, &[server]));
    let pod = around.node.start_on(&host, "StatefulSet", "smtp-server", 0);
    pod.wait_ready();

    // A provider whose certificate nobody vouches for gets neither mail nor password.
    around
        .client
        .space
        .inside(|| submit(virtual_addresses[0], "--tls"));
    let put_off = pod.wait_event("delivery", |line| line["status"] == "deferred");
    assert!(put_off.to_string().contains("certificate"), "{put_off}");
    assert_eq!(
        (provider.has(), provider.postfix.log().contains("sasl_")),
        (0, false)
    );
    assert_eq!(pod.delete().code, 0);
    drop(pod);

    // The mail has waited on the claim. With the provider's authority it goes.
    let authority = std::fs::read_to_string(provider.certificates.path().join("ca.pem")).expect("ca.pem");
    around
        .node
        .change("Secret", "smtp-secrets", &[("PROVIDER_CA", &authority)]);
    around
        .node
        .configure("[delivery]\nca_file = \"/run/secrets/smtp/PROVIDER_CA\"\n");
    let pod = around.node.start_on(&host, "StatefulSet", "smtp-server", 0);
    pod.wait_ready();
    assert_eq!(pod.metric("smtp_queue_depth"), 1.0);
    around
        .client
        .space
        .inside(|| submit(virtual_addresses[0], "--tls-on-connect"));
    retry(&pod);
    wait_for("both messages at the provider's", || provider.has() == 2);
    let sent = pod.wait_event("delivery", |line| line["status"] == "sent");
    assert!(sent["tls"].is_string(), "{sent}");
    assert!(
        provider.postfix.log().contains(&format!("sasl_username={USER}")),
        "{}",
        provider.postfix.log()
    );
    // Nothing by the MX, which is known; and nothing of strangers'.
    let mut stranger = around
        .client
        .space
        .inside(|| Wire::hello(SocketAddr::new(host.v4(), 2525)));
    stranger.expect("MAIL FROM:<a@far.example>", 250);
    stranger.expect("RCPT TO:<bob@partner.example>", 554);
    assert_eq!(around.sink.connections(), 0);
    wait_for("the queue to be empty", || pod.metric("smtp_queue_depth") == 0.0);
}

/// By a Service's address, at the port where it is under TLS as it is said.
fn submit(service: IpAddr, tls: &str) {
    let port = if tls == "--tls" { 587 } else { 465 };
    submit_to("bob@partner.example", SocketAddr::new(service, port), tls, "bill");
}
