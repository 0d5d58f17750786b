//! Whether this pod comes back: asked of the API server, about the StatefulSet that the pod is of.
//!
//! One GET, within [`PATIENCE`], with the token and the authorities as the files hold them at that moment. It says "does not come back" only
//! when the API server said so in its own words; anything else is an error that says what to mend.

use serde_json::Value as Json;
use smtp_config::{Kubernetes, is_label, ordinal};
use smtp_https::reqwest::{Response, StatusCode};
use smtp_https::{client, in_words};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longest time for an answer, with all tries.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause before the next try.
const PAUSE: Duration = Duration::from_secs(1);
/// Largest answer, in octets: an object can have one and a half MiB in the API server's own store.
const LARGEST: usize = 2 << 20;
/// Of an answer that is an error, so much is told, in characters.
const TOLD: usize = 300;
/// Where a port is not said.
const PORT: &str = "443";

/// What becomes of a pod that stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is started again with the same claim.
    ComesBack {
        /// For people.
        why: String,
    },
    /// It is gone for good, as far as is known now.
    Leaves {
        /// For people.
        why: String,
        /// Its claim, if it has one and its name is known.
        claim: Option<String>,
    },
}

/// A pod of a StatefulSet, and where to ask about it.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    statefulset: String,
    number: u64,
    /// Without a path.
    api: String,
    namespace: String,
    credentials: PathBuf,
}

/// Why there is no answer.
struct Unknown {
    reason: String,
    /// It may be another one in a moment.
    passes: bool,
}

impl Unknown {
    fn lasting(reason: impl Into<String>) -> Unknown {
        Unknown {
            reason: reason.into(),
            passes: false,
        }
    }

    fn passing(reason: impl Into<String>) -> Unknown {
        Unknown {
            reason: reason.into(),
            passes: true,
        }
    }
}

/// What this pod is called.
pub(crate) fn name(settings: &Kubernetes) -> String {
    let host = || nix::unistd::gethostname().unwrap_or_default();
    let name = || host().to_string_lossy().into_owned();
    let name = settings.pod.clone().unwrap_or_else(name);
    // With `setHostnameAsFQDN` the cluster's domain is part of it.
    name.split('.').next().unwrap_or_default().to_owned()
}

/// Where the API server is, by the variables that every pod has.
fn address(host: Option<&str>, port: Option<&str>) -> Result<String, String> {
    let host = host.filter(|host| !host.is_empty()).ok_or(
        "kubernetes.api is not set, and there is no KUBERNETES_SERVICE_HOST as in pods: where is the API server?",
    )?;
    let port = port.filter(|port| !port.is_empty()).unwrap_or(PORT);
    Ok(match host.contains(':') {
        true => format!("https://[{host}]:{port}"),
        false => format!("https://{host}:{port}"),
    })
}

impl Pod {
    /// This pod; `None` when nobody wants to know. Reads a file: blocking.
    ///
    /// # Errors
    /// What is missing, and how it is set.
    pub(crate) fn find(settings: &Kubernetes) -> Result<Option<Pod>, String> {
        let Some(statefulset) = settings.statefulset.clone() else {
            return Ok(None);
        };
        let name = name(settings);
        let number = ordinal(&statefulset, &name).ok_or_else(|| {
            format!(
                "kubernetes.pod: {name:?} is no pod of the StatefulSet {statefulset} (kubernetes.statefulset)"
            )
        })?;
        let api = match &settings.api {
            Some(api) => api.as_str().trim_end_matches('/').to_owned(),
            None => {
                let of = |variable| std::env::var(variable).ok();
                let (host, port) = (of("KUBERNETES_SERVICE_HOST"), of("KUBERNETES_SERVICE_PORT"));
                address(host.as_deref(), port.as_deref())?
            }
        };
        let namespace = match &settings.namespace {
            Some(namespace) => namespace.clone(),
            None => read(&settings.credentials_path, "namespace")?,
        };
        if !is_label(&namespace) {
            return Err(format!(
                "kubernetes.namespace: {namespace:?} is no name of a namespace"
            ));
        }
        Ok(Some(Pod {
            name,
            statefulset,
            number,
            api,
            namespace,
            credentials: settings.credentials_path.clone(),
        }))
    }

    /// Whether what a question needs is there: the token, and authorities. Blocking; asks nobody.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub(crate) fn check(&self) -> Result<(), String> {
        read(&self.credentials, "token")?;
        let ca = self.credentials.join("ca.crt");
        smtp_https::client_with(Some(&ca), PATIENCE).map(drop)
    }

    /// Whether it comes back. Ends within five seconds.
    ///
    /// # Errors
    /// Why that is not known, with what to mend.
    pub(crate) async fn fate(&self) -> Result<Fate, String> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.ask(end.saturating_duration_since(Instant::now())).await {
                Ok(fate) => return Ok(fate),
                Err(unknown) if unknown.passes && Instant::now() + PAUSE < end => sleep(PAUSE).await,
                Err(unknown) => return Err(unknown.reason),
            }
        }
    }

    async fn ask(&self, patience: Duration) -> Result<Fate, Unknown> {
        // A token that is being replaced is there again in a moment.
        let token = read(&self.credentials, "token").map_err(Unknown::passing)?;
        let ca = read(&self.credentials, "ca.crt").map_err(Unknown::passing)?;
        let client = client(Some(ca.as_bytes()), patience);
        let client = client.map_err(|reason| {
            let file = self.credentials.join("ca.crt");
            Unknown::lasting(format!("{}: {reason}", file.display()))
        })?;
        let url = format!(
            "{}/apis/apps/v1/namespaces/{}/statefulsets/{}",
            self.api, self.namespace, self.statefulset
        );
        let failed = |error| Unknown::passing(format!("{url}: {}{}", in_words(&error), shut_off(&error)));
        let request = client.get(&url).bearer_auth(token);
        let response = request.header("Accept", "application/json");
        let response = response.send().await.map_err(failed)?;
        let status = response.status();
        let judged = body(response).await.and_then(|body| self.judge(status, &body));
        judged.map_err(|unknown| Unknown {
            reason: format!("{url}: {}", unknown.reason),
            ..unknown
        })
    }

    /// What an answer says.
    fn judge(&self, status: StatusCode, body: &[u8]) -> Result<Fate, Unknown> {
        let object: Json = serde_json::from_slice(body).unwrap_or_default();
        match status {
            StatusCode::OK => self.read_statefulset(&object),
            // Only in the API server's own words: a proxy's 404 says nothing of StatefulSets.
            StatusCode::NOT_FOUND if self.is_missing(&object) => Ok(Fate::Leaves {
                why: format!("there is no StatefulSet {} any more", self.statefulset),
                claim: None,
            }),
            status => Err(self.refused(status, &object)),
        }
    }

    fn is_missing(&self, object: &Json) -> bool {
        let details = &object["details"];
        object["kind"] == "Status"
            && object["reason"] == "NotFound"
            && details["kind"] == "statefulsets"
            && details["name"] == self.statefulset.as_str()
    }

    fn refused(&self, status: StatusCode, object: &Json) -> Unknown {
        let said: String = object["message"]
            .as_str()
            .unwrap_or("")
            .chars()
            .take(TOLD)
            .collect();
        let mend = match status {
            StatusCode::UNAUTHORIZED => "the token is not taken: is it of this cluster, and new?".to_owned(),
            StatusCode::FORBIDDEN => format!(
                "the ServiceAccount must be allowed to get the StatefulSet {}: apply the Role and RoleBinding of k8s/components/scale-aware",
                self.statefulset
            ),
            _ => "is kubernetes.api the API server?".to_owned(),
        };
        let sep = if said.is_empty() { "" } else { ": " };
        Unknown {
            reason: format!("answered {}{sep}{said}; {mend}", status.as_u16()),
            passes: status == StatusCode::UNAUTHORIZED
                || status == StatusCode::TOO_MANY_REQUESTS
                || status.is_server_error(),
        }
    }

    fn read_statefulset(&self, object: &Json) -> Result<Fate, Unknown> {
        let garbage = || Unknown::lasting("the answer is no StatefulSet: is kubernetes.api the API server?");
        let (set, spec) = (&self.statefulset, &object["spec"]);
        if object["kind"] != "StatefulSet" || object["metadata"]["name"] != set.as_str() || !spec.is_object()
        {
            return Err(garbage());
        }
        let number = |value: &Json, missing: u64| match value {
            Json::Null => Some(missing),
            value => value.as_u64(),
        };
        // What the API server fills in where they are not set.
        let replicas = number(&spec["replicas"], 1).ok_or_else(garbage)?;
        let start = number(&spec["ordinals"]["start"], 0).ok_or_else(garbage)?;
        let leaves = |why: String| Fate::Leaves {
            why,
            claim: self.claim(spec),
        };
        if !object["metadata"]["deletionTimestamp"].is_null() {
            return Ok(leaves(format!("the StatefulSet {set} is being deleted")));
        }
        let place = self.number.checked_sub(start);
        let why = |word: &str| {
            format!(
                "{} is {word} of the {replicas} replicas of the StatefulSet {set} from {start} on",
                self.number
            )
        };
        Ok(match place.is_some_and(|place| place < replicas) {
            true => Fate::ComesBack { why: why("one") },
            false => leaves(why("none")),
        })
    }

    /// Claims are called by their template and their pod. With several nobody knows which one holds the mail.
    fn claim(&self, spec: &Json) -> Option<String> {
        match spec["volumeClaimTemplates"].as_array()?.as_slice() {
            [one] => Some(format!("{}-{}", one["metadata"]["name"].as_str()?, self.name)),
            _ => None,
        }
    }
}

/// What closes the way without a word, if that is what it looks like.
fn shut_off(error: &smtp_https::reqwest::Error) -> &'static str {
    match error.is_timeout() {
        true => {
            "; a NetworkPolicy may close the way: name the API server's addresses and ports in allow-api-server of \
             k8s/components/scale-aware (chart: scaleAware.apiServer)"
        }
        false => "",
    }
}

/// A file of the credentials, without the end of its line.
fn read(folder: &Path, file: &str) -> Result<String, String> {
    let path = folder.join(file);
    let wrong = |reason: &str| {
        format!(
            "{}: {reason} (kubernetes.credentials_path; in a pod a projected volume with `token`, `ca.crt` and `namespace`)",
            path.display()
        )
    };
    let text = std::fs::read_to_string(&path).map_err(|error| wrong(&error.to_string()))?;
    match text.trim() {
        "" => Err(wrong("it is empty")),
        text => Ok(text.to_owned()),
    }
}

/// An answer's body, if it is not too large.
async fn body(mut response: Response) -> Result<Vec<u8>, Unknown> {
    let mut body = Vec::new();
    let failed = |error| Unknown::passing(in_words(&error));
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > LARGEST {
            return Err(Unknown::lasting(format!(
                "the answer has more than {LARGEST} octets"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests;
