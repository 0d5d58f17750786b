//! `drain`: ends a running server in good order, and tells what holds it up.

use crate::admin_client::{AdminClient, block_on};
use crate::cli::ServerArgs;
use crate::exit::{Exit, Failure};
use crate::output::{Output, one, print};
use crate::queue_table::{span, text, time};
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use std::fmt::Write;
use std::time::Duration;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) fn drain(status: bool, now: bool, no_wait: bool, server: &ServerArgs) -> Result<(), Failure> {
    block_on(async {
        let client = AdminClient::new(server)?;
        let first = match status {
            true => client.get(&["drain"], &[]).await?,
            false => client.post(&["drain"], &json!({"now": now})).await?,
        };
        print(&one(&first, server.output, holding))?;
        if status || no_wait {
            return Ok(());
        }
        watch(&client, &first, server.output).await
    })
}

/// Tells what holds it up whenever that changed, until it is gone.
async fn watch(client: &AdminClient, first: &Json, output: Output) -> Result<(), Failure> {
    let mut last = names(first);
    loop {
        tokio::time::sleep(LOOK).await;
        let status = match client.get(&["drain"], &[]).await {
            Ok(status) => status,
            Err(failure) if failure.exit == Exit::Unavailable => break,
            Err(failure) => return Err(failure),
        };
        // Asked for was not begun yet, or a supervisor started the next one already.
        if status["phase"] == "running" && status["since"].is_null() {
            break;
        }
        let names = names(&status);
        if names != last {
            print(&one(&status, output, holding))?;
            last = names;
        }
    }
    match output {
        Output::Table => print("stopped\n"),
        Output::Json => print("{\"phase\":\"stopped\"}\n"),
    }
}

fn names(status: &Json) -> Vec<Json> {
    let holding = status["holding"].as_array().into_iter().flatten();
    holding
        .map(|one| one["what"].clone())
        .chain([status["phase"].clone(), status["left"].clone()])
        .collect()
}

/// The phase, and a line for each thing that holds it up, with its age.
fn holding(status: &Json, now: Timestamp) -> String {
    let age = |value: &Json| time(value).map_or("-".into(), |since| span(since, now));
    let count = status["count"].as_u64().unwrap_or(0);
    let left = match status["left"].as_u64() {
        Some(left) => format!("; the pod does not come back, {left} messages are left"),
        None if status["phase"] == "handover" => {
            "; the pod does not come back, and its store does not say how many messages are left".to_owned()
        }
        None => String::new(),
    };
    let mut lines = match time(&status["since"]) {
        None => format!("{}; a drain would wait for {count}\n", text(status, "phase")),
        Some(since) => format!(
            "{} for {} ({}), waits for {count}{left}\n",
            text(status, "phase"),
            span(since, now),
            text(status, "reason"),
        ),
    };
    for one in status["holding"].as_array().into_iter().flatten() {
        // Writing to a String does not fail.
        let _ = writeln!(
            lines,
            "  {:>7}  {}  {}",
            age(&one["since"]),
            text(one, "room"),
            text(one, "what")
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_it_up_has_a_name_and_an_age() {
        let now = "2025-01-01T00:01:40Z".parse().unwrap();
        let status = json!({"phase": "draining", "reason": "SIGTERM", "since": "2025-01-01T00:01:30Z", "count": 1,
            "holding": [{"room": "deliver", "what": "mx.test:25: a message", "since": "2025-01-01T00:01:00Z"}]});
        assert_eq!(
            holding(&status, now),
            "draining for 10s (SIGTERM), waits for 1\n      40s  deliver  mx.test:25: a message\n"
        );
        let leaving = json!({"phase": "handover", "reason": "SIGTERM", "since": "2025-01-01T00:01:30Z", "count": 0,
            "left": 12, "holding": []});
        assert_eq!(
            holding(&leaving, now),
            "handover for 10s (SIGTERM), waits for 0; the pod does not come back, 12 messages are left\n"
        );
        let silent = json!({"phase": "handover", "reason": "SIGTERM", "since": "2025-01-01T00:01:30Z", "count": 0,
            "left": null, "holding": []});
        assert_eq!(
            holding(&silent, now),
            "handover for 10s (SIGTERM), waits for 0; the pod does not come back, and its store does not say how many messages are left\n"
        );
        let running = json!({"phase": "running", "reason": null, "since": null, "count": 0, "holding": []});
        assert_eq!(holding(&running, now), "running; a drain would wait for 0\n");
        assert!(!holding(&json!(null), now).is_empty());
    }
}
