//! The directory as people read it.

use crate::output::clean;
use serde_json::Value as Json;

/// `example.com  maildir:/data/mail/{domain}/{local}  known`
pub(crate) fn domain(domain: &Json) -> String {
    let columns = [
        text(domain, "name"),
        text(domain, "deliver"),
        text(domain, "recipients"),
    ];
    line(&columns, domain)
}

/// `billing  password, 1 app, disabled  *@example.com`
pub(crate) fn account(account: &Json) -> String {
    let mut login = Vec::new();
    if account["password"] == true {
        login.push("password".to_owned());
    }
    match account["apps"].as_array().map_or(0, Vec::len) {
        0 => {}
        1 => login.push("1 app".into()),
        many => login.push(format!("{many} apps")),
    }
    login.extend(texts(account, "identities"));
    if account["enabled"] == false {
        login.push("disabled".into());
    }
    let login = if login.is_empty() {
        "no login".into()
    } else {
        login.join(", ")
    };
    let columns = [text(account, "name"), login, texts(account, "senders").join(" ")];
    line(&columns, account)
}

/// All of an account, a line each.
pub(crate) fn account_in_full(account: &Json) -> String {
    let list = |key: &str| match texts(account, key) {
        none if none.is_empty() => "-".to_owned(),
        some => some.join(" "),
    };
    let yes = |key: &str| if account[key] == true { "yes" } else { "no" };
    let mut lines = format!(
        "name        {}\nenabled     {}\npassword    {}\nsenders     {}\nidentities  {}\nquota       {}\n",
        text(account, "name"),
        yes("enabled"),
        yes("password"),
        list("senders"),
        list("identities"),
        list("quota"),
    );
    for app in account["apps"].as_array().into_iter().flatten() {
        lines += &format!(
            "app         {}  {}  {}\n",
            text(app, "id"),
            time(app, "created"),
            text(app, "label")
        );
    }
    lines + &format!("declared    {}\n", text(account, "declared"))
}

/// `sales@example.com  ann@example.com crm@partner.example`
pub(crate) fn alias(alias: &Json) -> String {
    line(&[text(alias, "name"), texts(alias, "to").join(" ")], alias)
}

/// `example.com  20260131r  rsa  active`
pub(crate) fn key(key: &Json) -> String {
    let mut state = text(key, "state");
    match state.as_str() {
        "published" => state += &format!(", signs from {}", time(key, "sign_from")),
        "retiring" => state += &format!(", signs until {}", time(key, "sign_until")),
        _ => {}
    }
    let columns = [
        text(key, "domain"),
        text(key, "selector"),
        text(key, "algorithm"),
        state,
    ];
    line(&columns, key)
}

/// A new key: what is to be done for it, and the record.
pub(crate) fn key_to_publish(entry: &Json) -> String {
    let zone = entry["zone_line"].as_str().unwrap_or_default();
    let when = match entry["state"].as_str() {
        Some("published") => format!("it signs from {}", time(entry, "sign_from")),
        _ => "it signs from now on".into(),
    };
    format!(
        "; {} key of {}: publish this record; {when}\n{zone}\n",
        text(entry, "algorithm"),
        text(entry, "domain")
    )
}

/// A key beside what DNS has.
pub(crate) fn key_checked(entry: &Json) -> String {
    let (key, verdict) = (key(entry), text(entry, "verdict"));
    format!("{key}    {}: {verdict}\n", text(entry, "record_name"))
}

/// Columns with two blanks between, and where the entry is declared.
fn line(columns: &[String], entry: &Json) -> String {
    let declared = match entry["declared"].as_str() {
        Some(place) => format!("  (declared: {})", clean(place)),
        None => String::new(),
    };
    let columns: Vec<&str> = columns
        .iter()
        .map(String::as_str)
        .filter(|text| !text.is_empty())
        .collect();
    format!("{}{declared}\n", columns.join("  "))
}

fn text(entry: &Json, key: &str) -> String {
    clean(entry[key].as_str().unwrap_or("-"))
}

/// A moment, to the second.
fn time(entry: &Json, key: &str) -> String {
    let text = text(entry, key);
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

fn texts(entry: &Json, key: &str) -> Vec<String> {
    let values = entry[key].as_array().into_iter().flatten();
    values.filter_map(Json::as_str).map(clean).collect()
}
