//! The server, its sessions, next hops and tokens as people read them.

use crate::queue_table::{seconds, span, text, time};
use jiff::Timestamp;
use serde_json::Value as Json;
use std::fmt::Write;

/// The server at a glance, then what it did: totals, and rates over the last minutes.
pub(crate) fn status(status: &Json, statistics: &Json) -> String {
    let number = |value: &Json| value.as_u64().unwrap_or(0);
    let phase = match status["draining"] == true {
        true => "stops",
        false => "takes mail",
    };
    let mut lines = format!(
        "{}  smtp-server {}, profile {}, {phase}\nup          {}\nconfig      {} (generation {}{})\nsessions    {}\n",
        text(status, "hostname"),
        text(status, "version"),
        text(status, "profile"),
        seconds(number(&status["uptime_seconds"])),
        text(&status["config"], "file"),
        number(&status["config"]["generation"]),
        match status["config"]["last_reload_succeeded"] == false {
            true => "; the last reload was refused",
            false => "",
        },
        number(&status["connections"]),
    );
    for (listener, addresses) in status["listeners"].as_object().into_iter().flatten() {
        let addresses: Vec<&str> = addresses
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
            .collect();
        if !addresses.is_empty() {
            // Writing to a String does not fail.
            let _ = writeln!(lines, "{listener:<12}{}", addresses.join(" "));
        }
    }
    let _ = writeln!(
        lines,
        "\n{:<10}{:>12}{:>10}{:>10}{:>10}",
        "", "total", "1 min/s", "5 min/s", "15 min/s"
    );
    for (name, total) in statistics["total"].as_object().into_iter().flatten() {
        let _ = write!(lines, "{name:<10}{:>12}", number(total));
        for rate in statistics["per_second"][name].as_array().into_iter().flatten() {
            let _ = write!(lines, "{:>10.2}", rate.as_f64().unwrap_or(0.0));
        }
        lines.push('\n');
    }
    lines
}

/// `17  192.0.2.1:34014  submission TLSv1.3  billing  content  3 messages  2m10s`
pub(crate) fn session(session: &Json, now: Timestamp) -> String {
    format!(
        "{:>6}  {}  {} {}  {}  {}  {}  {}\n",
        session["number"].as_u64().unwrap_or(0),
        text(session, "peer"),
        text(session, "listener"),
        session["tls"].as_str().unwrap_or("clear"),
        text(session, "account"),
        text(session, "state"),
        crate::queue_table::messages(session["messages"].as_u64().unwrap_or(0)),
        time(&session["since"]).map_or("-".into(), |since| span(since, now)),
    )
}

/// `0197…  mail-1 (1)  0.1.0  up 2h10m  seen 3s ago  takes mail  17 in hand`
pub(crate) fn server(server: &Json, now: Timestamp) -> String {
    let lasted = time(&server["started"]).map_or("-".into(), |at| span(at, now));
    format!(
        "{}  {}  {}  up {lasted}  seen {} ago  {}  {} in hand{}\n",
        text(server, "id"),
        text(server, "name"),
        text(server, "version"),
        time(&server["seen"]).map_or("-".into(), |at| span(at, now)),
        match server["draining"] == true {
            true => "stops",
            false => "takes mail",
        },
        server["leases"].as_u64().unwrap_or(0),
        match server["this"] == true {
            true => "  (this one)",
            false => "",
        },
    )
}

/// `mx.example.org:25  down, next try in 4m12s  3 waiting, 0 sending, 0 of 1 connections (at most 20)`, and the last error below.
pub(crate) fn destination(destination: &Json, now: Timestamp) -> String {
    let number = |key: &str| destination[key].as_u64().unwrap_or(0);
    let next = match time(&destination["next_attempt"]) {
        Some(at) => format!(", next try in {}", span(now, at)),
        None => String::new(),
    };
    let mut lines = format!(
        "{}  {}{next}  {} waiting, {} sending, {} of {} connections (at most {})\n",
        text(destination, "name"),
        text(destination, "state"),
        number("waiting"),
        number("sending"),
        number("connections"),
        number("concurrency"),
        number("max_concurrency"),
    );
    if destination["waits_for_rate"] == true {
        let rate = destination["max_rate"].as_f64().unwrap_or(0.0);
        let _ = writeln!(
            lines,
            "    waits for its rate: {} from this server",
            messages(rate)
        );
    }
    if let Some(at) = time(&destination["last_error_at"]) {
        let _ = writeln!(
            lines,
            "    {} ago, failure {} in a row: {}",
            span(at, now),
            number("failures"),
            text(destination, "last_error"),
        );
    }
    lines
}

/// So many messages in a second, in words.
fn messages(rate: f64) -> String {
    let (amount, period) = match rate {
        rate if rate >= 1.0 => (rate, "a second"),
        rate if rate >= 1.0 / 60.0 => (rate * 60.0, "a minute"),
        rate => (rate * 3600.0, "an hour"),
    };
    let amount = format!("{amount:.2}");
    let amount = amount.trim_end_matches('0').trim_end_matches('.');
    format!("{amount} messages {period}")
}

/// `crm  down  bounced, expired  7 calls wait, the oldest for 3m10s  https://crm.example/hook`, and the last error below.
pub(crate) fn webhook(webhook: &Json, now: Timestamp) -> String {
    let events: Vec<&str> = webhook["events"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    let oldest = match time(&webhook["oldest"]) {
        Some(at) => format!(", the oldest for {}", span(at, now)),
        None => String::new(),
    };
    let mut lines = format!(
        "{}  {}  {}  {} calls wait{oldest}, {} taken  {}\n",
        text(webhook, "name"),
        text(webhook, "state"),
        events.join(", "),
        webhook["waiting"].as_u64().unwrap_or(0),
        webhook["taken"].as_u64().unwrap_or(0),
        text(webhook, "url"),
    );
    if let Some(at) = time(&webhook["last_error_at"]) {
        let _ = writeln!(
            lines,
            "    {} ago: {}",
            span(at, now),
            text(webhook, "last_error")
        );
    }
    lines
}

/// `ci  operate  expires in 89d23h  made by admin 1h02m ago`
pub(crate) fn token(token: &Json, now: Timestamp) -> String {
    let expires = match time(&token["expires"]) {
        None => "does not expire".to_owned(),
        Some(at) if at <= now => format!("expired {} ago", span(at, now)),
        Some(at) => format!("expires in {}", span(now, at)),
    };
    let made = match time(&token["created"]) {
        Some(at) => format!("made by {} {} ago", text(token, "created_by"), span(at, now)),
        None => "declared".to_owned(),
    };
    format!(
        "{}  {}  {expires}  {made}\n",
        text(token, "name"),
        text(token, "scope")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> Timestamp {
        "2025-01-01T00:01:40Z".parse().unwrap()
    }

    #[test]
    fn a_destination_that_is_down_says_why() {
        let down = json!({
            "name": "mx.test:25", "state": "down", "waiting": 3, "sending": 0, "connections": 0, "concurrency": 1,
            "max_concurrency": 20, "failures": 2, "last_error": "refused\u{7}", "last_error_at": "2025-01-01T00:01:00Z",
            "next_attempt": "2025-01-01T00:02:00Z",
        });
        assert_eq!(
            destination(&down, now()),
            "mx.test:25  down, next try in 20s  3 waiting, 0 sending, 0 of 1 connections (at most 20)\n    \
             40s ago, failure 2 in a row: refused?\n"
        );
    }

    #[test]
    fn a_destination_that_waits_for_its_rate_says_so() {
        let waits = json!({
            "name": "mx.test:25", "state": "up", "waiting": 300, "sending": 0, "connections": 1, "concurrency": 2, "max_concurrency": 20,
            "failures": 0, "max_rate": 2.5, "waits_for_rate": true,
        });
        assert_eq!(
            destination(&waits, now()),
            "mx.test:25  up  300 waiting, 0 sending, 1 of 2 connections (at most 20)\n    \
             waits for its rate: 2.5 messages a second from this server\n"
        );
        assert_eq!(messages(0.5), "30 messages a minute");
        assert_eq!(messages(1.0 / 7200.0), "0.5 messages an hour");
    }

    #[test]
    fn a_server_says_whether_it_is_there() {
        let stops = json!({
            "id": "6f9c", "name": "mail-1 (1)", "version": "0.1.0", "started": "2025-01-01T00:00:40Z", "seen": "2025-01-01T00:01:37Z",
            "draining": true, "leases": 17, "this": true,
        });
        assert_eq!(
            server(&stops, now()),
            "6f9c  mail-1 (1)  0.1.0  up 1m00s  seen 3s ago  stops  17 in hand  (this one)\n"
        );
        let older = json!({"id": "a", "name": "mail-2 (1)", "version": null, "started": null, "seen": "2025-01-01T00:01:40Z", "leases": 0});
        assert_eq!(
            server(&older, now()),
            "a  mail-2 (1)  -  up -  seen 0s ago  takes mail  0 in hand\n"
        );
    }

    #[test]
    fn a_webhook_says_what_waits() {
        let down = json!({
            "name": "crm", "state": "down", "events": ["bounced", "expired"], "waiting": 7, "oldest": "2025-01-01T00:00:40Z", "taken": 3,
            "url": "https://crm.test/hook", "last_error": "no answer in time", "last_error_at": "2025-01-01T00:01:00Z",
        });
        assert_eq!(
            webhook(&down, now()),
            "crm  down  bounced, expired  7 calls wait, the oldest for 1m00s, 3 taken  https://crm.test/hook\n    \
             40s ago: no answer in time\n"
        );
    }

    #[test]
    fn tokens_say_until_when_they_are_good() {
        let of = |expires: Json| json!({"name": "ci", "scope": "read", "expires": expires, "created": "2025-01-01T00:00:40Z", "created_by": "admin"});
        assert_eq!(
            token(&of(json!("2025-01-03T00:01:40Z")), now()),
            "ci  read  expires in 2d00h  made by admin 1m00s ago\n"
        );
        assert_eq!(
            token(&of(json!("2025-01-01T00:01:00Z")), now()),
            "ci  read  expired 40s ago  made by admin 1m00s ago\n"
        );
        let declared =
            json!({"name": "ci", "scope": "read", "expires": null, "created": null, "created_by": null});
        assert_eq!(token(&declared, now()), "ci  read  does not expire  declared\n");
    }

    #[test]
    fn totals_stand_beside_rates() {
        let shown = status(
            &json!({"hostname": "mail.test", "version": "1", "profile": "testing", "uptime_seconds": 65, "draining": false, "connections": 2,
                "listeners": {"smtp": ["[::]:2525"], "smtps": []}, "config": {"generation": 3, "last_reload_succeeded": false, "file": "c.toml"}}),
            &json!({"total": {"received": 7}, "per_second": {"received": [1.5, 0.25, 0.0]}}),
        );
        assert_eq!(
            shown,
            "mail.test  smtp-server 1, profile testing, takes mail\nup          1m05s\n\
             config      c.toml (generation 3; the last reload was refused)\nsessions    2\nsmtp        [::]:2525\n\n\
             \u{20}                total   1 min/s   5 min/s  15 min/s\nreceived             7      1.50      0.25      0.00\n"
        );
    }

    #[test]
    fn an_answer_of_another_shape_is_no_panic() {
        for answer in [json!(null), json!([]), json!({"listeners": 1}), json!("text")] {
            assert!(!webhook(&answer, now()).is_empty() && !server(&answer, now()).is_empty());
            assert!(!session(&answer, now()).is_empty() && !destination(&answer, now()).is_empty());
            assert!(!status(&answer, &answer).is_empty() && !token(&answer, now()).is_empty());
        }
    }
}
