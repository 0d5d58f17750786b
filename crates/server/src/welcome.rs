//! What a developer reads when the server has started: where it is, the password, and one line to try.

use crate::exit::Failure;
use crate::house::{House, VERSION};
use crate::output::{print, remark};
use crate::people::{DEVELOPER, has_developer};
use smtp_config::Profile;
use smtp_deliver::capture_folder;
use smtp_observe::Listener;
use std::fmt::Write;
use std::net::SocketAddr;

/// Greets by profile. In production the log says everything.
pub(crate) fn greet(house: &House) -> Result<(), Failure> {
    let config = house.config.load();
    match config.profile {
        Profile::Production => Ok(()),
        Profile::Development => {
            // The log writes to the same place, from a thread of its own.
            house.observer.flush();
            print(&text(house))
        }
        Profile::Testing => {
            // Standard output is the log's alone, for programs that read it.
            if let Some(password) = house.made_password() {
                remark(&format!("admin password: {password}"));
            }
            Ok(())
        }
    }
}

fn text(house: &House) -> String {
    let config = house.config.load();
    let mut text = format!("\nsmtp-server {VERSION}, development profile\n\n");
    let mut line = |name: &str, what: String| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {name:<12}{what}");
    };
    let (smtp, http) = (house.smtp_addresses(Listener::Smtp), house.http_addresses());
    let admin = house.admin_addresses();
    line("SMTP", list(&smtp, ""));
    for (name, listener) in [("SMTPS", Listener::Smtps), ("Submission", Listener::Submission)] {
        let addresses = house.smtp_addresses(listener);
        if !addresses.is_empty() {
            line(name, list(&addresses, ""));
        }
    }
    if let Some(authority) = smtp_receive::own_authority(&config) {
        line(
            "TLS",
            format!(
                "certificate of its own; clients may trust {}",
                authority.display()
            ),
        );
    }
    match admin.is_empty() {
        true => line("HTTP", list(http, "http://") + " (health, metrics, admin API)"),
        false => {
            line("HTTP", list(http, "http://") + " (health, metrics)");
            line("", list(admin, "http://") + " (admin API)");
        }
    }
    if let (true, Some(address)) = (config.console.enabled, admin.first().or(http.first())) {
        line("Console", format!("http://{address}/"));
    }
    line(
        "Admin",
        match house.made_password() {
            Some(password) => format!("user admin, password {password} (for this run)"),
            None => "user admin, password as configured".into(),
        },
    );
    if has_developer(&config) {
        line(
            "Account",
            format!("{DEVELOPER}, with the same password: to try AUTH"),
        );
    }
    if config.delivery.capture {
        let folder = capture_folder(&config);
        line(
            "Mail",
            format!(
                "every recipient is accepted; nothing leaves this machine: see the console, or {}/new",
                folder.display()
            ),
        );
    }
    if let Some(address) = smtp.first() {
        line(
            "Try",
            format!(
                "printf 'Subject: Hello\\n\\nIt works.\\n' | curl smtp://{address} --mail-from ann@example.com --mail-rcpt bob@example.com -T -"
            ),
        );
    }
    text + "\n"
}

fn list(addresses: &[SocketAddr], scheme: &str) -> String {
    addresses
        .iter()
        .map(|address| format!("{scheme}{address}"))
        .collect::<Vec<_>>()
        .join(" ")
}
