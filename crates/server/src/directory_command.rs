//! `account …`, `domain …`, `alias …`, `dkim …`: the directory of a running server, through its admin API.

use crate::admin_client::{AdminClient, block_on};
use crate::cli::{AccountCommand, AliasCommand, AppCommand, DkimCommand, DomainCommand, KeyKind, ServerArgs};
use crate::directory_table as table;
use crate::exit::{Exit, Failure};
use crate::output::{Output, print, remark};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value as Json, json};
use std::io::Read;
use std::path::Path;

/// Longest password file, in octets.
const LONGEST: u64 = 64 * 1024;

/// `account …`
pub(crate) fn account(command: &AccountCommand) -> Result<(), Failure> {
    block_on(async {
        match command {
            AccountCommand::Add {
                name,
                app,
                password,
                account,
                server,
            } => {
                let mut body = json!({
                    "name": name,
                    "app": app,
                    "senders": account.senders,
                    "identities": account.identities,
                    "quota": account.quota,
                });
                if let Some(file) = password {
                    body["password"] = password_in(file)?.into();
                }
                let done = AdminClient::new(server)?.post(&["accounts"], &body).await?;
                tell(&done, "account", "added", server)
            }
            AccountCommand::List { server } => list("accounts", table::account, server).await,
            AccountCommand::Show { name, server } => {
                let account = AdminClient::new(server)?.get(&["accounts", name], &[]).await?;
                print(&shown(&account, table::account_in_full, server))
            }
            AccountCommand::Set {
                name,
                account,
                server,
            } => {
                let wanted = [
                    ("senders", &account.senders),
                    ("identities", &account.identities),
                    ("quota", &account.quota),
                ];
                let wanted = wanted.into_iter().filter(|(_, values)| !values.is_empty());
                let changes = wanted.map(|(key, values)| json!({key: cleared(values)}));
                set(&["accounts", name], changes, server).await
            }
            AccountCommand::Password {
                name,
                password,
                none: _,
                server,
            } => {
                let password = password.as_deref().map_or(Ok(String::new()), password_in)?;
                set(&["accounts", name], [json!({"password": password})], server).await
            }
            AccountCommand::Enable { name, server } => {
                set(&["accounts", name], [json!({"enabled": true})], server).await
            }
            AccountCommand::Disable { name, server } => {
                set(&["accounts", name], [json!({"enabled": false})], server).await
            }
            AccountCommand::App(command) => app(command).await,
            AccountCommand::Remove { name, server } => {
                remove(&["accounts", name], "account", &[], server).await
            }
        }
    })
}

async fn app(command: &AppCommand) -> Result<(), Failure> {
    match command {
        AppCommand::Add { name, label, server } => {
            let client = AdminClient::new(server)?;
            let done = client
                .post(&["accounts", name, "apps"], &json!({"label": label}))
                .await?;
            tell(&done, "secret of account", "added", server)
        }
        AppCommand::Remove { name, label, server } => {
            remove(
                &["accounts", name, "apps", label],
                "secret of account",
                &[],
                server,
            )
            .await
        }
    }
}

/// `domain …`
pub(crate) fn domain(command: &DomainCommand) -> Result<(), Failure> {
    block_on(async {
        match command {
            DomainCommand::Add {
                name,
                deliver,
                recipients,
                server,
            } => {
                let body = json!({"name": name, "deliver": deliver, "recipients": recipients});
                let done = AdminClient::new(server)?.post(&["domains"], &body).await?;
                tell(&done, "domain", "added", server)
            }
            DomainCommand::List { server } => list("domains", table::domain, server).await,
            DomainCommand::Set {
                name,
                deliver,
                recipients,
                server,
            } => {
                // Both at once: one may not be allowed without the other.
                let wanted = [("deliver", deliver), ("recipients", recipients)];
                let body: Map<String, Json> = wanted
                    .into_iter()
                    .filter_map(|(key, value)| Some((key.to_owned(), value.clone()?.into())))
                    .collect();
                let change = (!body.is_empty()).then(|| body.into());
                set(&["domains", name], change, server).await
            }
            DomainCommand::Remove { name, force, server } => {
                let force = force.then(|| ("force", "true".to_owned()));
                remove(&["domains", name], "domain", force.as_slice(), server).await
            }
        }
    })
}

/// `alias …`
pub(crate) fn alias(command: &AliasCommand) -> Result<(), Failure> {
    block_on(async {
        match command {
            AliasCommand::Add { name, to, server } => {
                let body = json!({"name": name, "to": to});
                let done = AdminClient::new(server)?.post(&["aliases"], &body).await?;
                tell(&done, "alias", "added", server)
            }
            AliasCommand::List { server } => list("aliases", table::alias, server).await,
            AliasCommand::Set { name, to, server } => {
                set(&["aliases", name], [json!({"to": to})], server).await
            }
            AliasCommand::Remove { name, server } => remove(&["aliases", name], "alias", &[], server).await,
        }
    })
}

/// `dkim …`
pub(crate) fn dkim(command: &DkimCommand) -> Result<(), Failure> {
    block_on(async {
        match command {
            DkimCommand::New {
                domain,
                algorithm,
                selector,
                after,
                server,
            } => {
                let mut body = json!({"domain": domain, "selector": selector});
                if let Some(kind) = algorithm {
                    body["algorithm"] = match kind {
                        KeyKind::Rsa => "rsa".into(),
                        KeyKind::Ed25519 => "ed25519".into(),
                    };
                }
                if *after > 0 {
                    body["sign_from"] = in_future(*after)?.to_string().into();
                }
                let made = AdminClient::new(server)?.post(&["dkim"], &body).await?;
                publish(&made, server)
            }
            DkimCommand::Rotate {
                domain,
                overlap,
                server,
            } => {
                let body = json!({"domain": domain, "overlap": overlap});
                let made = AdminClient::new(server)?.post(&["dkim", "rotate"], &body).await?;
                publish(&made, server)
            }
            DkimCommand::List { server } => list("dkim", table::key, server).await,
            DkimCommand::Check { domain, server } => check_keys(domain, server).await,
            DkimCommand::Remove {
                domain,
                selector,
                server,
            } => remove(&["dkim", domain, selector], "key", &[], server).await,
        }
    })
}

fn in_future(seconds: u64) -> Result<Timestamp, Failure> {
    let wrong = |_| Failure::new(Exit::Usage, "--after: too far in the future");
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    Timestamp::now()
        .checked_add(SignedDuration::from_secs(seconds))
        .map_err(wrong)
}

/// Keys that were made, with what is to be published for them.
fn publish(made: &Json, server: &ServerArgs) -> Result<(), Failure> {
    for key in made["keys"].as_array().into_iter().flatten() {
        print(&shown(key, table::key_to_publish, server))?;
    }
    Ok(())
}

async fn check_keys(domain: &str, server: &ServerArgs) -> Result<(), Failure> {
    let client = AdminClient::new(server)?;
    let answer = client
        .post(&["dkim", "check"], &json!({"domain": domain}))
        .await?;
    let keys = answer["keys"].as_array().map_or(&[][..], Vec::as_slice);
    for key in keys {
        print(&shown(key, table::key_checked, server))?;
    }
    // A key whose time has not come, or is over, breaks nothing.
    let signs = |key: &&Json| matches!(key["state"].as_str(), Some("active" | "retiring"));
    match keys.iter().filter(signs).all(|key| key["verifies"] == true) {
        true => Ok(()),
        // Everything has been said.
        false => Err(Failure::new(Exit::Config, "")),
    }
}

async fn list(what: &str, line: fn(&Json) -> String, server: &ServerArgs) -> Result<(), Failure> {
    let client = AdminClient::new(server)?;
    client
        .entries(&[what], |entry| print(&shown(entry, line, server)))
        .await
}

fn shown(entry: &Json, table: fn(&Json) -> String, server: &ServerArgs) -> String {
    match server.output {
        Output::Json => format!("{entry}\n"),
        Output::Table => table(entry),
    }
}

/// What a list of an account is set to: a single empty text takes all of it away.
fn cleared(values: &[String]) -> &[String] {
    match values {
        [none] if none.is_empty() => &[],
        _ => values,
    }
}

/// Makes one change after the other; each is made whole, and what was made stays when a later one is refused.
async fn set(
    path: &[&str],
    changes: impl IntoIterator<Item = Json>,
    server: &ServerArgs,
) -> Result<(), Failure> {
    let client = AdminClient::new(server)?;
    let mut done = Json::Null;
    for change in changes {
        done = client.patch(path, &change).await?;
    }
    match done {
        Json::Null => Err(Failure::new(Exit::Usage, "nothing to set; see --help")),
        done => tell(&done, "", "changed", server),
    }
}

async fn remove(
    path: &[&str],
    what: &str,
    query: &[(&str, String)],
    server: &ServerArgs,
) -> Result<(), Failure> {
    let done = AdminClient::new(server)?.delete(path, query).await?;
    tell(&done, what, "removed", server)
}

/// What a change did. A secret stands alone on standard output, so that it can be piped.
fn tell(done: &Json, what: &str, did: &str, server: &ServerArgs) -> Result<(), Failure> {
    if server.output == Output::Json {
        return print(&format!("{done}\n"));
    }
    let name = done["name"].as_str().unwrap_or_default();
    let line = format!("{what} {name} {did}");
    match done["secret"].as_str() {
        Some(secret) => {
            remark(&format!(
                "{}; its secret, which is shown this once:",
                line.trim_start()
            ));
            print(&format!("{secret}\n"))
        }
        None => print(&format!("{}\n", line.trim_start())),
    }
}

/// The first line of a file, or of standard input for `-`.
fn password_in(path: &Path) -> Result<String, Failure> {
    let named = |reason: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Usage,
            format_args!("--password-file {}: {reason}", path.display()),
        )
    };
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().take(LONGEST).read_to_string(&mut text),
        _ => std::fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text)),
    };
    read.map_err(|error| named(&error))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    match password {
        "" => Err(named(&"it is empty")),
        password if password.contains(['\r', '\n', '\0']) => Err(named(&"it holds more than one line")),
        password => Ok(password.to_owned()),
    }
}
