//! The queue as people read it.

use crate::output::clean;
use jiff::Timestamp;
use serde_json::Value as Json;
use std::fmt::Write;

/// States in the order of a recipient's life; others that an answer has come after them.
const STATES: [&str; 8] = [
    "queued",
    "leased",
    "deferred",
    "held",
    "quarantined",
    "delivered",
    "bounced",
    "expired",
];

/// A message in a list: id, age, size, sender; below it a line for each recipient.
pub(crate) fn listed(message: &Json, now: Timestamp) -> String {
    let size = message["size"].as_u64().unwrap_or(0);
    let age = time(&message["received_at"]).map_or("-".into(), |at| span(at, now));
    let mut lines = format!(
        "{}  {age:>7}  {size:>9}  {}\n",
        text(message, "id"),
        sender(message)
    );
    for recipient in recipients(message) {
        let reason = match text(recipient, "last_result").as_str() {
            "-" | "" => String::new(),
            result => format!(": {result}"),
        };
        // Writing to a String does not fail.
        let _ = writeln!(
            lines,
            "    {}  {}{reason}",
            text(recipient, "address"),
            condition(recipient, now)
        );
    }
    lines
}

/// A suspension: whose mail, until when, why, who said so.
pub(crate) fn suspended(entry: &Json, now: Timestamp) -> String {
    let until = match time(&entry["until"]) {
        Some(until) => format!("for {}", span(now, until)),
        None => "until it is resumed".to_owned(),
    };
    format!(
        "{} {}  {until}  (by {}, {} ago)  {}\n",
        text(entry, "kind"),
        text(entry, "name"),
        text(entry, "who"),
        time(&entry["since"]).map_or("-".into(), |since| span(since, now)),
        text(entry, "reason"),
    )
}

/// A change: when, who, from where, what, to what, how many.
pub(crate) fn audited(entry: &Json, _: Timestamp) -> String {
    format!(
        "{}  {} [{}]  {}  {}  ({})\n",
        text(entry, "at"),
        text(entry, "who"),
        text(entry, "peer"),
        text(entry, "action"),
        text(entry, "target"),
        entry["touched"].as_u64().unwrap_or(0),
    )
}

/// A message by itself: everything about it, and each recipient with state, attempts, next attempt and last result.
pub(crate) fn shown(message: &Json, now: Timestamp) -> String {
    let mut lines = format!(
        "id        {}\nsender    {}\nreceived  {} ({} ago), from {}\nsize      {} octets\n",
        text(message, "id"),
        sender(message),
        text(message, "received_at"),
        time(&message["received_at"]).map_or("-".into(), |at| span(at, now)),
        text(message, "origin"),
        message["size"].as_u64().unwrap_or(0),
    );
    for recipient in recipients(message) {
        let _ = writeln!(
            lines,
            "to        {}\n          {}\n          last result: {}",
            text(recipient, "address"),
            condition(recipient, now),
            text(recipient, "last_result"),
        );
    }
    match message["header"].as_str() {
        None => lines.push_str("header    cannot be read\n"),
        Some(header) => {
            lines.push('\n');
            lines.extend(
                header
                    .lines()
                    .map(|line| clean(&line.replace('\t', "    ")) + "\n"),
            );
            if message["header_cut"] == true {
                lines.push_str("(the header goes on: --content shows all)\n");
            }
        }
    }
    lines
}

/// `deferred, 2 attempts, next in 4m12s (2025-01-01T00:05:00Z)`.
fn condition(recipient: &Json, now: Timestamp) -> String {
    let attempts = match recipient["attempts"].as_u64().unwrap_or(0) {
        0 => "no attempt yet".into(),
        1 => "1 attempt".into(),
        many => format!("{many} attempts"),
    };
    let state = text(recipient, "state");
    let next = match (state.as_str(), time(&recipient["due"])) {
        _ if recipient["suspended"] == true => ", suspended".into(),
        ("queued" | "deferred", Some(due)) if due <= now => ", next now".into(),
        ("queued" | "deferred", Some(due)) => {
            format!(", next in {} ({due:.0})", span(now, due))
        }
        ("leased", _) => ", being delivered".into(),
        _ => String::new(),
    };
    format!("{state}, {attempts}{next}")
}

/// Figures, a line each.
pub(crate) fn stats(stats: &Json, now: Timestamp) -> String {
    let number = |value: &Json| value.as_u64().unwrap_or(0);
    let oldest = match time(&stats["oldest_due"]) {
        None => "nothing is due".into(),
        Some(due) if due > now => format!("in {}", span(now, due)),
        Some(due) => format!("{} ago", span(due, now)),
    };
    let mut lines = format!(
        "messages     {}\noctets       {}\noldest due   {oldest}\nrecipients\n",
        number(&stats["messages"]),
        number(&stats["bytes"]),
    );
    let mut states: Vec<(&str, u64)> = stats["recipients"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(state, count)| (state.as_str(), number(count)))
        .collect();
    states.sort_by_key(|(state, _)| {
        STATES
            .iter()
            .position(|known| known == state)
            .unwrap_or(STATES.len())
    });
    for (state, count) in states {
        let _ = writeln!(lines, "  {:<11} {count}", clean(state));
    }
    lines
}

/// Recipients by domain and age in minutes, as Postfix's qshape prints them.
pub(crate) fn shape(shape: &Json, senders: bool) -> String {
    let number = |value: &Json| value.as_u64().unwrap_or(0);
    let array = |value: &Json| value.as_array().cloned().unwrap_or_default();
    let bounds: Vec<u64> = array(&shape["bounds"]).iter().map(number).collect();
    let row = |name: &str, counts: &[u64]| {
        let counts: Vec<String> = counts.iter().map(|count| format!("{count:>7}")).collect();
        format!("{name:>38} {}\n", counts.concat())
    };
    let whole = |name: &str, ages: &Json| {
        let ages: Vec<u64> = array(ages).iter().map(number).collect();
        let all = std::iter::once(ages.iter().sum()).chain(ages.iter().copied());
        row(name, &all.collect::<Vec<_>>())
    };
    let mut lines = format!(
        "{:>38} {:>7}",
        if senders {
            "senders, by minutes"
        } else {
            "recipients, by minutes"
        },
        "T"
    );
    for bound in &bounds {
        let _ = write!(lines, "{bound:>7}");
    }
    let last = bounds
        .last()
        .map_or_else(String::new, |bound| format!("{bound}+"));
    let _ = writeln!(lines, "{last:>7}");
    lines.push_str(&whole("TOTAL", &shape["total"]));
    for domain in array(&shape["domains"]) {
        let name = match text(&domain, "domain") {
            name if name.is_empty() => "<>".to_owned(),
            name => name,
        };
        lines.push_str(&whole(&name, &domain["ages"]));
    }
    lines
}

/// Why a message stays in quarantine.
pub(crate) fn unreadable(message: &Json) -> String {
    format!("  {}: {}", text(message, "id"), text(message, "reason"))
}

/// `1 message`, `2 messages`.
pub(crate) fn messages(count: u64) -> String {
    format!("{count} message{}", if count == 1 { "" } else { "s" })
}

pub(crate) fn text(object: &Json, key: &str) -> String {
    clean(object[key].as_str().unwrap_or("-"))
}

fn sender(message: &Json) -> String {
    format!("<{}>", text(message, "sender"))
}

fn recipients(message: &Json) -> impl Iterator<Item = &Json> {
    message["recipients"].as_array().into_iter().flatten()
}

pub(crate) fn time(value: &Json) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// The time between, as [`seconds`] has it.
pub(crate) fn span(from: Timestamp, until: Timestamp) -> String {
    let between = until.as_second().saturating_sub(from.as_second());
    seconds(between.try_into().unwrap_or(0))
}

/// A time in its two largest units: `12s`, `4m12s`, `3h05m`, `2d07h`.
pub(crate) fn seconds(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, ..) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> Timestamp {
        "2025-01-01T00:01:40Z".parse().unwrap()
    }

    fn example() -> Json {
        json!({
            "id": "01J", "received_at": "2025-01-01T00:00:00Z", "sender": "", "size": 5120, "origin": "x",
            "recipients": [
                {"address": "b@y.test", "state": "deferred", "attempts": 2, "due": "2025-01-01T00:05:00.12Z",
                 "last_result": "451 no\u{1b}[2J room"},
                {"address": "c@y.test", "state": "leased", "attempts": 0, "due": "x", "last_result": null},
            ],
            "header": "Subject: \u{1b}x\r\nTo: a\r\n", "header_cut": false,
        })
    }

    #[test]
    fn a_list_has_ages_and_reasons() {
        assert_eq!(
            listed(&example(), now()),
            "01J    1m40s       5120  <>\n    \
             b@y.test  deferred, 2 attempts, next in 3m20s (2025-01-01T00:05:00Z): 451 no?[2J room\n    \
             c@y.test  leased, no attempt yet, being delivered\n"
        );
    }

    #[test]
    fn a_message_by_itself_says_everything() {
        assert_eq!(
            shown(&example(), now()),
            "id        01J\nsender    <>\nreceived  2025-01-01T00:00:00Z (1m40s ago), from x\n\
             size      5120 octets\n\
             to        b@y.test\n          deferred, 2 attempts, next in 3m20s (2025-01-01T00:05:00Z)\n          \
             last result: 451 no?[2J room\n\
             to        c@y.test\n          leased, no attempt yet, being delivered\n          last result: -\n\n\
             Subject: ?x\nTo: a\n"
        );
    }

    #[test]
    fn states_come_in_the_order_of_life() {
        let shown = stats(
            &json!({"messages": 2, "bytes": 9, "oldest_due": "2025-01-01T00:01:30Z",
                "recipients": {"bounced": 0, "deferred": 1, "new": 7, "queued": 3}}),
            now(),
        );
        assert_eq!(
            shown,
            "messages     2\noctets       9\noldest due   10s ago\nrecipients\n  \
             queued      3\n  deferred    1\n  bounced     0\n  new         7\n"
        );
    }

    #[test]
    fn a_shape_is_like_qshapes() {
        let of = json!({"bounds": [5, 10], "total": [1, 0, 2], "domains": [
            {"domain": "x.test", "recipients": 2, "ages": [0, 0, 2]}, {"domain": "", "recipients": 1, "ages": [1, 0, 0]}]});
        let shown = shape(&of, true);
        let lines: Vec<Vec<&str>> = shown
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0], ["senders,", "by", "minutes", "T", "5", "10", "10+"]);
        assert_eq!(lines[1], ["TOTAL", "3", "1", "0", "2"]);
        assert_eq!(lines[2], ["x.test", "2", "0", "0", "2"]);
        assert_eq!(lines[3], ["<>", "1", "1", "0", "0"]);
        assert!(
            shown
                .lines()
                .all(|line| line.len() == shown.lines().next().unwrap().len())
        );
    }

    #[test]
    fn spans_have_two_units() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let spans = [5, 65, 3_900, 200_000].map(|seconds| span(at(0), at(seconds)));
        assert_eq!(spans, ["5s", "1m05s", "1h05m", "2d07h"]);
        assert_eq!(span(at(9), at(3)), "0s");
    }

    #[test]
    fn an_answer_of_another_shape_is_no_panic() {
        for answer in [json!(null), json!([]), json!({"recipients": [1]}), json!("text")] {
            assert!(!listed(&answer, now()).is_empty());
            assert!(!shown(&answer, now()).is_empty() && !stats(&answer, now()).is_empty());
            assert!(!shape(&answer, false).is_empty());
        }
    }
}
