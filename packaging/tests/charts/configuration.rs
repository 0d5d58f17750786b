//! The configuration that the chart writes, read by the server.

use crate::charts::rendering::{CHART, ci, each, folder, name, template, template_of, try_template};
use blackbox::server::binary;
use blackbox::tools::{certificate, run};
use packaging::tools::{Release, root};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

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

/// A file that a variable names and that is not there ends the server: so none is named that nobody writes.
#[test]
fn the_password_is_named_where_it_is() {
    const NAME: &str = "SMTP_ADMIN_PASSWORD";
    let written = json!({"create": true, "values": {"adminPassword": "correct horse battery"}});
    let read = |key: &str| json!({"enabled": true, "data": {(key): {"key": "mail/smtp"}}});
    for (profile, secrets, external, named) in [
        ("development", json!({"create": true}), json!({}), false),
        ("testing", json!({"create": true}), json!({}), false),
        ("development", written, json!({}), true),
        ("testing", json!({}), read("ACCOUNT_BILLING"), false),
        ("testing", json!({}), read(NAME), true),
        ("production", json!({}), read(NAME), true),
        ("testing", json!({"existingSecret": ""}), json!({}), false),
        ("testing", json!({}), json!({}), true),
    ] {
        let values = json!({
            "profile": profile,
            "config": {"server": {"hostname": "mail.example.com"}},
            "secrets": secrets,
            "externalSecrets": external,
        });
        let objects = packaging::render::released("smtp-server", "mail", &values);
        let (_, pod) = rendered(&objects);
        let mut variables = pod["containers"][0]["env"].as_array().expect("variables").iter();
        let file = format!("{NAME}_FILE");
        assert_eq!(variables.any(|one| one["name"] == *file), named, "{values}");
        let mut nobody = packaging::semantic::findings(&objects);
        nobody.retain(|text| text.contains("has no key"));
        assert_eq!(nobody, Vec::<String>::new(), "{values}");
    }
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
            let output = try_template(release, &root().join(CHART), &values, &[]);
            let text = String::from_utf8_lossy(&output.stderr).to_lowercase();
            assert!(!output.status.success(), "{wrong}");
            assert!(text.contains("additional propert"), "{wrong}: {text}");
        }
    }
}
