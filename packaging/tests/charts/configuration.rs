//! The configuration that the chart writes, read by the server; what it says after the installation; its test pod.

use crate::charts::rendering::{CHART, ci, each, folder, name, template, template_of};
use blackbox::server::{Server, Setup, binary};
use blackbox::tools::{certificate, run};
use packaging::render::find;
use packaging::tools::{Release, root};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

/// The configuration, and the pod that reads it.
fn rendered(objects: &[Value]) -> (String, Value) {
    let map = objects
        .iter()
        .find(|object| object["kind"] == "ConfigMap" && !object["data"]["config.toml"].is_null())
        .expect("a configuration");
    let workload = objects
        .iter()
        .find(|object| object["kind"] == "StatefulSet" || object["kind"] == "Deployment")
        .expect("pods");
    let text = map["data"]["config.toml"].as_str().expect("text");
    (text.to_owned(), workload["spec"]["template"]["spec"].clone())
}

/// Where a pod's path is for a test.
fn here(folder: &Path, path: &str) -> String {
    format!("{}{path}", folder.display())
}

/// Every file that a variable or the configuration names, with something in it that the server takes.
fn make_files(folder: &Path, paths: impl Iterator<Item = String>) {
    certificate(
        folder,
        &["mail.example.com", "mx.example.com", "relay.example.com"],
        30,
    );
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a file of the certificate");
    let (certificate, key) = (read("cert.pem"), read("key.pem"));
    let dkim = run(Command::new("openssl").args(["genrsa", "2048"])).stdout;
    let dkim = String::from_utf8(dkim).expect("PEM");
    for path in paths {
        let content = match path.rsplit('/').next().expect("a name") {
            name if name.ends_with(".crt") => certificate.clone(),
            name if name.ends_with(".key") => key.clone(),
            name if name.contains("DKIM") => dkim.clone(),
            name if name.contains("WEBHOOK") => "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".into(),
            name if name == "uri" || name.contains("DATABASE") => {
                "postgresql://smtp:secret@127.0.0.1:1/smtp".into()
            }
            _ => "0123456789abcdef0123456789abcdef".into(),
        };
        let path = here(folder, &path);
        std::fs::create_dir_all(Path::new(&path).parent().expect("a folder")).expect("a folder");
        std::fs::write(path, content).expect("written");
    }
}

/// `/…` in the values of a configuration.
fn paths(value: &toml::Value, found: &mut Vec<String>) {
    match value {
        toml::Value::String(text) if text.starts_with('/') => found.push(text.clone()),
        toml::Value::Array(list) => list.iter().for_each(|one| paths(one, found)),
        toml::Value::Table(table) => table.values().for_each(|one| paths(one, found)),
        _ => {}
    }
}

fn moved(value: &mut toml::Value, folder: &Path) {
    match value {
        toml::Value::String(text) if text.starts_with('/') => *text = here(folder, text),
        toml::Value::Array(list) => list.iter_mut().for_each(|one| moved(one, folder)),
        toml::Value::Table(table) => table.iter_mut().for_each(|(_, one)| moved(one, folder)),
        _ => {}
    }
}

/// What the server says of a rendered configuration, with files where the pod would have them.
fn check(objects: &[Value]) -> std::process::Output {
    let folder = folder();
    let (text, pod) = rendered(objects);
    let mut config: toml::Value =
        toml::Value::Table(text.parse().unwrap_or_else(|error| panic!("{error}\n{text}")));
    let variables: Vec<(String, String)> = pod["containers"][0]["env"]
        .as_array()
        .expect("variables")
        .iter()
        .filter_map(|one| {
            Some((
                one["name"].as_str()?.to_owned(),
                one["value"].as_str()?.to_owned(),
            ))
        })
        .collect();
    let mut named = Vec::new();
    paths(&config, &mut named);
    named.extend(
        variables
            .iter()
            .filter(|(name, _)| name.ends_with("_FILE") || name == "PGSSLROOTCERT")
            .map(|(_, value)| value.clone()),
    );
    make_files(folder.path(), named.into_iter());
    moved(&mut config, folder.path());
    std::fs::create_dir_all(folder.path().join("data")).expect("a folder");
    let file = folder.path().join("config.toml");
    std::fs::write(&file, toml::to_string(&config).expect("TOML")).expect("written");
    let mut server = Command::new(binary());
    server.env_clear().arg("check").arg("--config").arg(&file);
    for (name, value) in variables {
        let value = if value.starts_with('/') {
            here(folder.path(), &value)
        } else {
            value
        };
        server.env(name, value);
    }
    server.output().expect("the server")
}

/// `smtp-server check` takes what every values file makes.
#[test]
fn the_server_takes_every_configuration() {
    let answers = each(&ci(), |values| (name(values), check(&template(values))));
    for (name, answer) in answers {
        assert!(
            answer.status.success(),
            "{name}: {}{}",
            String::from_utf8_lossy(&answer.stdout),
            String::from_utf8_lossy(&answer.stderr)
        );
    }
}

/// And that would have said so if it were wrong: a hash of a password that is no hash, a route to nowhere.
#[test]
fn the_server_is_asked_indeed() {
    let folder = folder();
    let values = folder.path().join("values.yaml");
    let wrong =
        json!({"config": {"server": {"hostname": "mail.example.com"}, "dns": {"servers": ["nowhere"]}}});
    std::fs::write(&values, wrong.to_string()).expect("written");
    let answer = check(&template(&values));
    assert_eq!(answer.status.code(), Some(78));
    let text =
        String::from_utf8_lossy(&answer.stderr).into_owned() + &String::from_utf8_lossy(&answer.stdout);
    assert!(text.contains("dns.servers"), "{text}");
}

/// Numbers stay numbers, whole ones whole; text is any text.
#[test]
fn values_are_exact_toml() {
    let folder = folder();
    let values = folder.path().join("values.yaml");
    let banner = "a \"quoted\" \\ <b>&amp; 'c' é 💌\ttab\nline # = [x]";
    let config = json!({
        "server": {
            "hostname": "mail.example.com",
            "banner": banner,
            "max_connections": 1_000_000,
            "connection_timeout": 86400,
            "host": ["::1", "127.0.0.1"],
        },
        "limits": {"max_message_size": 1_099_511_627_776_u64, "min_data_rate": 0, "max_line_length": null},
        "rate_limiting": {"enabled": false, "exempt": []},
        "tracing": {"endpoint": "http://collector:4318", "sampling": 0.00025},
        "admin": {"tokens": [{"name": "a", "scope": "read", "token_file": "/run/secrets/smtp/A"}]},
        "domains": [
            {"name": "example.com", "deliver": "maildir:/data/mail/{domain}/{local}"},
            {"name": "example.org", "deliver": "capture", "recipients": "any"},
        ],
        "aliases": [{"name": "sales@example.com", "to": ["a@example.com", "b@example.com"]}],
    });
    std::fs::write(&values, json!({"config": config}).to_string()).expect("written");
    for release in Release::ALL {
        let objects = template_of(release, &root().join(CHART), &values, &[]);
        let (text, _) = rendered(&objects);
        let read: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
        let read: Value = serde_json::to_value(read).expect("JSON");
        assert_eq!(read["server"]["banner"], banner);
        for pointer in [
            "/server/max_connections",
            "/server/connection_timeout",
            "/server/host",
            "/limits/max_message_size",
            "/limits/min_data_rate",
            "/rate_limiting/enabled",
            "/rate_limiting/exempt",
            "/tracing",
            "/admin/tokens",
            "/domains",
            "/aliases",
        ] {
            assert_eq!(
                read.pointer(pointer),
                config.pointer(pointer),
                "{release:?} {pointer}\n{text}"
            );
        }
        assert!(
            read.pointer("/limits/max_line_length").is_none(),
            "null takes a default of the chart away: {text}"
        );
        // What the values do not say, the defaults do.
        assert_eq!(read["limits"]["max_recipients"], 100);
    }
}

/// Secrets never get into the ConfigMap: the schema knows no key for them.
#[test]
fn configuration_takes_no_secrets() {
    for wrong in [
        json!({"admin": {"password": "correct horse battery"}}),
        json!({"dkim": {"private_key": "-----BEGIN PRIVATE KEY-----"}}),
        json!({"storage": {"url": "postgresql://user:secret@db/smtp"}}),
        json!({"tracing": {"headers": "authorization=Bearer secret"}}),
        json!({"accounts": [{"name": "a", "password": "secret"}]}),
        json!({"admin": {"tokens": [{"name": "a", "scope": "read", "token": "secret"}]}}),
        json!({"webhooks": [{"name": "a", "url": "https://a.example", "secret": "whsec_c2VjcmV0"}]}),
    ] {
        let folder = folder();
        let values = folder.path().join("values.yaml");
        let mut config = json!({"server": {"hostname": "mail.example.com"}});
        let (section, content) = wrong
            .as_object()
            .expect("an object")
            .iter()
            .next()
            .expect("a section");
        config[section] = content.clone();
        std::fs::write(&values, json!({"config": config}).to_string()).expect("written");
        for release in Release::ALL {
            let output = crate::charts::rendering::try_template(release, &root().join(CHART), &values, &[]);
            let text = String::from_utf8_lossy(&output.stderr).to_lowercase();
            assert!(!output.status.success(), "{wrong}");
            assert!(text.contains("additional propert"), "{wrong}: {text}");
        }
    }
}

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

/// What the containers of the test pod run ends well at a server that works, and else does not.
#[test]
fn the_test_pod_finds_out() {
    let objects = template(&root().join(CHART).join("ci/single-values.yaml"));
    let pod = &find(&objects, "Pod", "smtp-server-test")["spec"];
    let containers: Vec<&Value> = ["initContainers", "containers"]
        .iter()
        .flat_map(|list| pod[*list].as_array().expect("containers"))
        .collect();
    let names: Vec<&str> = containers.iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["ready", "starttls", "send"]);
    let call = |container: &Value, smtp: &str, http: &str| {
        let arguments: Vec<String> = container["args"]
            .as_array()
            .expect("arguments")
            .iter()
            .map(|one| one.as_str().expect("text"))
            .map(|one| {
                one.replace("smtp-server:25", smtp)
                    .replace("smtp-server:8080", http)
            })
            .collect();
        let mut client = Command::new(binary());
        client.env_clear().args(&arguments).stdin(Stdio::null());
        client.output().expect("the client")
    };
    let server = Server::start(Setup::new(
        "[[domains]]\nname = \"example.com\"\ndeliver = \"capture\"\n",
    ));
    for container in &containers {
        let output = call(container, &server.smtp.to_string(), &server.http.to_string());
        assert!(
            output.status.success(),
            "{}: {}",
            container["name"],
            String::from_utf8_lossy(&output.stderr)
        );
    }
    server.wait_event("delivery", |event| event["to"] == "postmaster@example.com");
    // Ports that nobody listens on.
    for container in &containers {
        let output = call(container, "127.0.0.1:1", "127.0.0.1:1");
        assert!(
            !output.status.success(),
            "{} ends well without a server",
            container["name"]
        );
    }
}
