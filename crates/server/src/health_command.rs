//! `health`: asks a server whether it lives or is ready, for probes in images that have no other client. Needs no password, reads
//! no more of the configuration than where the server listens, and is done within seconds whatever happens.

use crate::admin_client::{block_on, innermost};
use crate::cli::{HealthArgs, Probe};
use crate::exit::{Exit, Failure};
use crate::output::{Output, clean, print};
use crate::sources;
use crate::whereabouts::{self, Whereabouts};
use reqwest::{Client, Url, redirect};
use serde_json::Value as Json;
use smtp_config::ConfigErrors;
use std::time::Duration;

/// Largest answer that is read; ours are far smaller.
const MAX_ANSWER: usize = 64 << 10;

pub(crate) fn health(args: &HealthArgs) -> Result<(), Failure> {
    let (urls, wrong) = urls(args)?;
    let limit = Duration::from_secs(args.timeout);
    block_on(async {
        let answer = tokio::time::timeout(limit, ask_in_turn(&urls)).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {} s", args.timeout)));
        match answer {
            Ok((code, body)) => tell(code, &body, args.output),
            // It may be why nobody answers.
            Err(_) if !wrong.errors.is_empty() => Err(sources::wrong(wrong)),
            Err(reason) => Err(unreachable(&urls, &reason)),
        }
    })
}

/// Where to ask: the first that can be reached answers. And what is wrong with the configuration that says so.
fn urls(args: &HealthArgs) -> Result<(Vec<Url>, ConfigErrors), Failure> {
    let path = match args.probe {
        Probe::Live => "live",
        Probe::Ready => "ready",
    };
    let (bases, wrong) = match &args.url {
        Some(url) => (vec![url.clone()], ConfigErrors::default()),
        None => {
            let Whereabouts { bases, wrong } = whereabouts::health(&args.sources.sources())?;
            (bases, wrong)
        }
    };
    let urls = bases
        .iter()
        .map(|base| url(base, path))
        .collect::<Result<_, _>>()?;
    Ok((urls, wrong))
}

fn url(base: &str, probe: &str) -> Result<Url, Failure> {
    let wrong = || {
        Failure::new(
            Exit::Usage,
            format_args!("--url {base}: expected http://host:port"),
        )
    };
    let mut url = Url::parse(base).map_err(|_| wrong())?;
    // It asks without credentials; ones that are given would only be shown where it fails.
    if url.scheme() != "http" || !url.username().is_empty() || url.password().is_some() {
        return Err(wrong());
    }
    url.set_query(None);
    url.path_segments_mut()
        .map_err(|()| wrong())?
        .pop_if_empty()
        .extend(["health", probe]);
    Ok(url)
}

async fn ask_in_turn(urls: &[Url]) -> Result<(u16, Vec<u8>), String> {
    // A proxy of the environment is for the world outside, and nobody but the server itself is to answer.
    let client = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        // It speaks no TLS: where the system has no authorities, as in the image, it does without them.
        .tls_certs_only([])
        .build()
        .map_err(|error| innermost(&error))?;
    let mut first = None;
    for url in urls {
        match ask(&client, url).await {
            Ok(answer) => return Ok(answer),
            Err(error) => _ = first.get_or_insert_with(|| innermost(&error)),
        }
    }
    Err(first.unwrap_or_else(|| "http.host names no address".to_owned()))
}

async fn ask(client: &Client, url: &Url) -> Result<(u16, Vec<u8>), reqwest::Error> {
    let mut response = client.get(url.clone()).send().await?;
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        body.extend_from_slice(&piece);
        if body.len() > MAX_ANSWER {
            break;
        }
    }
    Ok((response.status().as_u16(), body))
}

fn unreachable(urls: &[Url], reason: &str) -> Failure {
    let asked = urls.first().map_or("", |url| url.authority());
    Failure::new(
        Exit::Unavailable,
        format_args!(
            "the server at {asked} cannot be asked: {reason}\nIs it running? Its address is set by http.host and http.port, or --url."
        ),
    )
}

/// Prints what was answered; an error unless it is 200.
fn tell(code: u16, body: &[u8], output: Output) -> Result<(), Failure> {
    let answer: Json = serde_json::from_slice(body).unwrap_or(Json::Null);
    let Some(status) = answer["status"].as_str() else {
        let text = format!("it answers {code} and nothing about health; is that an smtp-server?");
        return Err(Failure::new(Exit::Unavailable, text));
    };
    match output {
        Output::Json => print(&format!("{answer}\n"))?,
        Output::Table => print(&table(status, &answer["checks"]))?,
    }
    match code {
        200 => Ok(()),
        // Everything has been said.
        _ => Err(Failure::new(Exit::Unavailable, "")),
    }
}

/// The status, and a line for each check that fails or has something to tell.
fn table(status: &str, checks: &Json) -> String {
    let mut text = format!("{}\n", clean(status));
    for (name, check) in checks.as_object().into_iter().flatten() {
        let detail = check["detail"].as_str().unwrap_or_default();
        if check["ok"] != true || !detail.is_empty() {
            let word = if check["ok"] == true { "degraded" } else { "failed" };
            let line = format!("  {}: {word}: {}", clean(name), clean(detail));
            text.push_str(line.trim_end_matches([' ', ':']));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn urls_are_made_of_any_base() {
        for (base, expected) in [
            ("http://h:1", "http://h:1/health/live"),
            ("http://[::1]:8080/", "http://[::1]:8080/health/live"),
            ("http://h/behind?x=1", "http://h/behind/health/live"),
        ] {
            assert_eq!(url(base, "live").unwrap().as_str(), expected);
        }
        for base in ["https://h", "h:1", "", "mailto:x"] {
            assert_eq!(url(base, "live").unwrap_err().exit, Exit::Usage, "{base}");
        }
    }

    #[test]
    fn only_what_is_wrong_is_listed() {
        let checks = json!({"listeners": {"ok": true}, "storage": {"ok": false, "detail": "full\u{1b}"}, "x": {"ok": false},
            "y": {"ok": true, "detail": "away"}});
        assert_eq!(
            table("unavailable", &checks),
            "unavailable\n  storage: failed: full?\n  x: failed\n  y: degraded: away\n"
        );
        assert_eq!(table("ok", &json!({"listeners": {"ok": true}})), "ok\n");
        assert_eq!(table("ok", &json!(7)), "ok\n");
    }

    #[test]
    fn what_is_no_answer_about_health_is_a_failure() {
        for body in ["", "<html>", "[]", "{\"status\": 7}"] {
            let failure = tell(200, body.as_bytes(), Output::Table).unwrap_err();
            assert_eq!(failure.exit, Exit::Unavailable, "{body}");
        }
    }
}
