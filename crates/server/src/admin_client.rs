//! Talks to the admin API of a running server, and says in an operator's words what goes wrong.

use crate::cli::{ServerArgs, SourceArgs};
use crate::exit::{Exit, Failure};
use crate::output::print_octets;
use crate::sources;
use crate::whereabouts::{self, Whereabouts};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value as Json;
use smtp_config::ConfigErrors;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest time for one answer; the server gives up after 25 seconds.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs a command to its end.
pub(crate) fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Temporary, e))?;
    runtime.block_on(work)
}

/// A connection to the admin API.
pub(crate) struct AdminClient {
    http: reqwest::Client,
    /// Ends in `/api/v1/`.
    base: Url,
    /// The admin password, or a token: as a bearer's both are taken.
    secret: String,
    /// What is wrong with the configuration that `base` is from: it may be why nobody is there.
    wrong: ConfigErrors,
}

impl AdminClient {
    pub(crate) fn new(args: &ServerArgs) -> Result<AdminClient, Failure> {
        let (base, wrong) = match &args.url {
            Some(url) => (base_url(url)?, ConfigErrors::default()),
            None => configured()?,
        };
        let secret = secret(args.admin_password_file.as_deref())?;
        // A proxy of the environment is for the world outside, not for this server.
        let http = reqwest::Client::builder()
            .no_proxy()
            // It speaks no TLS: where the system has no authorities, as in the image, it does without them.
            .tls_certs_only([])
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .build();
        let http = http.map_err(|e| Failure::new(Exit::Unavailable, e))?;
        Ok(AdminClient {
            http,
            base,
            secret,
            wrong,
        })
    }

    /// The answer to GET.
    pub(crate) async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Json, Failure> {
        let url = self.url_with(path, query)?;
        self.send(self.http.request(Method::GET, url)).await
    }

    /// What GET answers, octet by octet as it comes, written to standard output.
    pub(crate) async fn copy(&self, path: &[&str]) -> Result<(), Failure> {
        let request = self.http.request(Method::GET, self.url(path)?);
        let mut response = self.answer(request).await?;
        if !response.status().is_success() {
            return self.read(response).await.map(|_| ());
        }
        while let Some(piece) = response.chunk().await.map_err(|e| self.unreachable(&e))? {
            print_octets(&piece)?;
        }
        Ok(())
    }

    /// The answer to POST.
    pub(crate) async fn post(&self, path: &[&str], body: &Json) -> Result<Json, Failure> {
        let url = self.url(path)?;
        self.send(self.http.request(Method::POST, url).json(body)).await
    }

    /// The answer to PATCH.
    pub(crate) async fn patch(&self, path: &[&str], body: &Json) -> Result<Json, Failure> {
        let url = self.url(path)?;
        self.send(self.http.request(Method::PATCH, url).json(body)).await
    }

    /// The answer to DELETE.
    pub(crate) async fn delete(&self, path: &[&str], query: &[(&str, String)]) -> Result<Json, Failure> {
        let url = self.url_with(path, query)?;
        self.send(self.http.request(Method::DELETE, url)).await
    }

    /// Every entry of a listing that comes in pages, each given to `each` as it comes.
    pub(crate) async fn entries(
        &self,
        path: &[&str],
        mut each: impl FnMut(&Json) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let query: Vec<(&str, String)> = after.take().map(|name| ("after", name)).into_iter().collect();
            let page = self.get(path, &query).await?;
            let entries = page["entries"].as_array().ok_or_else(|| {
                Failure::new(
                    Exit::Unavailable,
                    "the answer is not a list; is that an smtp-server?",
                )
            })?;
            for entry in entries {
                each(entry)?;
            }
            match page["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => return Ok(()),
            }
        }
    }

    /// The address of a resource; its parts may hold anything, they are encoded.
    fn url(&self, path: &[&str]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => segments.pop_if_empty().extend(path),
            Err(()) => return Err(Failure::new(Exit::Usage, "--url: expected http://host:port")),
        };
        Ok(url)
    }

    fn url_with(&self, path: &[&str], query: &[(&str, String)]) -> Result<Url, Failure> {
        let mut url = self.url(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Json, Failure> {
        let response = self.answer(request).await?;
        self.read(response).await
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let answer = request.bearer_auth(&self.secret).send().await;
        answer.map_err(|error| self.unreachable(&error))
    }

    async fn read(&self, response: Response) -> Result<Json, Failure> {
        let status = response.status();
        let text = response.text().await.map_err(|error| self.unreachable(&error))?;
        let answer: Json = serde_json::from_str(&text).unwrap_or(Json::Null);
        match status.is_success() && !answer.is_null() {
            true => Ok(answer),
            false => Err(refusal(status, &answer)),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        if error.is_connect() && !self.wrong.errors.is_empty() {
            return sources::wrong(self.wrong.clone());
        }
        let host = self.base.authority();
        let reason = innermost(error);
        Failure::new(
            Exit::Unavailable,
            format_args!(
                "cannot reach the server at {host}: {reason}\nIs it running? Its address is that of http.admin_port, else http.port, \
                 in the configuration; or set by --url or SMTP_ADMIN_URL."
            ),
        )
    }
}

/// Where the configuration of this machine says that the API is. Of several addresses the first that takes a connection.
fn configured() -> Result<(Url, ConfigErrors), Failure> {
    let Whereabouts { bases, wrong } = whereabouts::admin(&SourceArgs::default().sources())?;
    let urls: Vec<Url> = bases
        .iter()
        .map(|base| base_url(base))
        .collect::<Result<_, _>>()?;
    let answers = |url: &&Url| {
        let addresses = url.socket_addrs(|| None).unwrap_or_default();
        let mut addresses = addresses.iter();
        addresses.any(|address| TcpStream::connect_timeout(address, CONNECT_TIMEOUT).is_ok())
    };
    let found = match urls.as_slice() {
        [one] => Some(one),
        several => several.iter().find(answers).or(several.first()),
    };
    let none = || Failure::new(Exit::Config, "http.host and http.admin_host name no address");
    Ok((found.cloned().ok_or_else(none)?, wrong))
}

fn base_url(text: &str) -> Result<Url, Failure> {
    let usage = |reason: String| Failure::new(Exit::Usage, format_args!("--url {text}: {reason}"));
    let mut url = Url::parse(text).map_err(|e| usage(format!("{e}; expected http://host:port")))?;
    if url.scheme() != "http" {
        return Err(usage("expected http://host:port".into()));
    }
    url.set_query(None);
    url.path_segments_mut()
        .map_err(|()| usage("expected http://host:port".into()))?
        .pop_if_empty()
        .extend(["api", "v1"]);
    Ok(url)
}

/// The admin password or a token: from the file of the flag, else a variable, else a variable's file.
fn secret(file: Option<&Path>) -> Result<String, Failure> {
    const NAMES: [&str; 2] = ["SMTP_ADMIN_TOKEN", "SMTP_ADMIN_PASSWORD"];
    let variable_file = || {
        let mut names = NAMES.iter().map(|name| format!("{name}_FILE"));
        names.find_map(std::env::var_os).map(PathBuf::from)
    };
    let file = match file {
        Some(file) => file.to_owned(),
        None => match NAMES.iter().find_map(|name| std::env::var(name).ok()) {
            Some(secret) => return Ok(secret),
            None => variable_file().ok_or_else(|| {
                let message = "the admin password or a token is needed: set SMTP_ADMIN_PASSWORD or SMTP_ADMIN_TOKEN, either with _FILE, \
                     or --admin-password-file; without a configured password the server prints one at its start";
                Failure::new(Exit::Config, message)
            })?,
        },
    };
    let text = std::fs::read_to_string(&file).map_err(|e| {
        Failure::new(
            Exit::Config,
            format_args!("the admin password in {}: {e}", file.display()),
        )
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// What the server said, with a code that tells a script whether another try makes sense.
fn refusal(status: StatusCode, answer: &Json) -> Failure {
    let said = answer["error"]["message"]
        .as_str()
        .unwrap_or("no explanation; is that an smtp-server?");
    let hint = match status.as_u16() {
        401 => {
            "\nIt comes from --admin-password-file, SMTP_ADMIN_TOKEN or SMTP_ADMIN_PASSWORD, or the file that one of those with _FILE names: \
             a token, or the server's password, which is the configured one or the one that it printed at its start."
        }
        _ => "",
    };
    let exit = match status.as_u16() {
        400 | 413 | 415 => Exit::Usage,
        404 | 409 => Exit::Usage,
        401 | 403 | 422 => Exit::Config,
        429 | 503 => Exit::Temporary,
        500 | 507 => Exit::Io,
        _ => Exit::Unavailable,
    };
    Failure::new(
        exit,
        format_args!("the server answers {}: {said}{hint}", status.as_u16()),
    )
}

/// The cause at the bottom: `Connection refused` rather than "error sending request".
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> AdminClient {
        // As main does; another test may have done it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        AdminClient {
            http: reqwest::Client::new(),
            base: base_url(url).unwrap(),
            secret: String::new(),
            wrong: ConfigErrors::default(),
        }
    }

    #[test]
    fn parts_of_a_path_are_encoded() {
        let url = client("http://[::1]:8080/").url(&["queue", "../x?y"]).unwrap();
        assert_eq!(url.as_str(), "http://[::1]:8080/api/v1/queue/..%2Fx%3Fy");
    }

    #[test]
    fn what_is_no_http_is_refused() {
        for url in ["https://h", "h:8080", "", "mailto:x"] {
            assert_eq!(base_url(url).unwrap_err().exit, Exit::Usage, "{url}");
        }
    }

    #[test]
    fn refusals_tell_scripts_apart() {
        let answer = serde_json::json!({"error": {"code": "x", "message": "too many failures"}});
        let failure = refusal(StatusCode::TOO_MANY_REQUESTS, &answer);
        assert_eq!(
            (failure.exit, failure.message.as_str()),
            (Exit::Temporary, "the server answers 429: too many failures")
        );
    }
}
