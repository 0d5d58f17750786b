//! What the chart says after the installation.

use crate::charts::rendering::{CHART, ci, name};
use blackbox::server::binary;
use blackbox::tools::run;
use packaging::tools::{Release, root};
use std::process::Command;

/// What Helm prints after an installation. Helm 3 asks a cluster even for a dry run; it renders the notes in every other
/// test, and lints them.
fn notes(values: &str, more: &[&str]) -> String {
    let mut helm = Release::Helm4.helm();
    helm.args(["install", "smtp-server"]).arg(root().join(CHART));
    helm.args(["--namespace", "mail", "--dry-run=client", "--values"]);
    let output = run(helm
        .arg(root().join(CHART).join(format!("ci/{values}-values.yaml")))
        .args(more));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.split_once("\nNOTES:\n").expect("notes").1.to_owned()
}

/// Whose address the server sees on ports that are no relay decides about limits and locks: it is said, and not refused.
#[test]
fn notes_tell_who_is_hidden() {
    const MX: &str = "mx.externalTrafficPolicy=Cluster";
    const SUBMISSION: &str = "submission.externalTrafficPolicy=Cluster";
    const PROXY: &str = "config.server.proxy_protocol=v2,config.server.proxy_networks={192.0.2.7}";
    for (set, said) in [
        ("replicaCount=1", ""),
        (MX, "mx.externalTrafficPolicy Cluster without PROXY v2"),
        (
            SUBMISSION,
            "submission.externalTrafficPolicy Cluster without PROXY v2",
        ),
        (
            &*format!("{MX},{SUBMISSION}"),
            "mx.externalTrafficPolicy Cluster, submission.externalTrafficPolicy Cluster without PROXY v2",
        ),
        (&*format!("{SUBMISSION},submission.type=ClusterIP"), ""),
        (&*format!("{MX},mx.enabled=false"), ""),
        (&*format!("{MX},{SUBMISSION},{PROXY}"), ""),
        // The header is asked for on the other listeners only.
        (
            &*format!("{MX},{SUBMISSION},{PROXY},config.smtps.proxy_protocol=off"),
            "submission.externalTrafficPolicy Cluster without PROXY v2",
        ),
        (
            &*format!(
                "{SUBMISSION},config.smtps.enabled=false,config.submission.enabled=false,submission.enabled=false"
            ),
            "",
        ),
        ("gateway.enabled=true", "the gateway without PROXY v2"),
        (&*format!("gateway.enabled=true,{PROXY}"), ""),
    ] {
        let notes = notes("single", &["--set", set]);
        match said {
            "" => assert!(!notes.contains("without PROXY v2"), "{set}: {notes}"),
            said => assert!(
                notes.contains(&format!("\n{said}: clients come")),
                "{set}: {notes}"
            ),
        }
    }
}

#[test]
fn notes_tell_what_to_publish() {
    let notes = |values: &str| notes(values, &[]);
    let single = notes("single");
    for line in [
        "example.com.  MX  10 mail.example.com.",
        "example.com.  TXT  \"v=spf1 ip4:<ADDRESS THAT MAIL LEAVES FROM> ~all\"",
        "_dmarc.example.com.  TXT  \"v=DMARC1; p=none; rua=mailto:postmaster@example.com\"",
        "PTR: the addresses that mail leaves from",
        "exec smtp-server-0 -- smtp-server dkim new example.com",
        "rollout status statefulset/smtp-server",
        "test smtp-server",
    ] {
        assert!(single.contains(line), "{line}\n{single}");
    }
    assert!(notes("development").contains("mail that waits is lost with the pod"));
    assert!(notes("smarthost").contains("Here mail leaves by smtp.provider.example:465"));
    assert!(notes("postgresql").contains("exec deployment/smtp-server -- smtp-server status"));
    assert!(notes("proxy-protocol").contains("are refused"));
    // Where no Service has the console's port: on the node's loopback.
    assert!(single.contains("port-forward service/smtp-server 8080:http "));
    assert!(notes("node-port").contains("port-forward service/smtp-server 8080:admin "));
    assert!(notes("edge").contains("port-forward smtp-server-0 8080:8081 "));
    // Every command of the server's in them is one.
    for values in ci() {
        for line in notes(&name(&values)).lines() {
            let Some((_, command)) = line.split_once(" -- smtp-server ") else {
                continue;
            };
            let words: Vec<&str> = command
                .split(' ')
                .take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()) && !word.contains('.'))
                .take(2)
                .collect();
            let help = Command::new(binary())
                .args(&words)
                .arg("--help")
                .output()
                .expect("the server");
            assert!(help.status.success(), "{line}");
        }
    }
}
