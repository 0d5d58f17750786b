//! A call as it is made: signed, in the form of Standard Webhooks.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use smtp_config::{SigningKey, Webhook};
use smtp_https::in_words;
use smtp_https::reqwest::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use smtp_https::reqwest::{Client, Response};
use std::time::Duration;

/// How long a call may take.
pub(super) const REQUEST: Duration = Duration::from_secs(10);
/// Octets read of an answer, so that its connection can be used again.
const ANSWER: usize = 64 << 10;
/// Characters told of an answer.
const TOLD: usize = 200;

/// A webhook, ready to be called.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) webhook: Webhook,
    client: Client,
}

/// Why a call was not taken.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) reason: String,
    /// How long the receiver asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

impl Target {
    pub(crate) fn new(webhook: &Webhook) -> Result<Target, String> {
        let client = smtp_https::client_with(webhook.ca_file.as_deref(), REQUEST);
        Ok(Target {
            client: client.map_err(|reason| format!("webhooks: {}: ca_file: {reason}", webhook.name))?,
            webhook: webhook.clone(),
        })
    }

    /// Makes a call.
    pub(crate) async fn call(&self, id: &str, body: String, version: &str) -> Result<(), Refused> {
        let timestamp = Timestamp::now().as_second();
        let request = self
            .client
            .post(self.webhook.url.as_str())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, format!("smtp-server/{version}"))
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header(
                "webhook-signature",
                signatures(&self.webhook.secrets, id, timestamp, &body),
            );
        let answer = request.body(body).send().await.map_err(|error| Refused {
            reason: in_words(&error),
            retry_after: None,
        })?;
        judge(answer).await
    }
}

async fn judge(mut answer: Response) -> Result<(), Refused> {
    let status = answer.status();
    let seconds = answer.headers().get(RETRY_AFTER);
    let seconds = seconds.and_then(|value| value.to_str().ok()?.parse().ok());
    let mut text = Vec::new();
    while text.len() < ANSWER
        && let Ok(Some(piece)) = answer.chunk().await
    {
        text.extend_from_slice(&piece);
    }
    if status.is_success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&text);
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    let told: String = text.trim().chars().take(TOLD).map(plain).collect();
    Err(Refused {
        reason: match told.is_empty() {
            true => format!("the receiver answered {status}"),
            false => format!("the receiver answered {status}: {told}"),
        },
        retry_after: seconds.map(Duration::from_secs),
    })
}

/// One signature by each secret, of the call's id, its time and its body.
fn signatures(secrets: &[SigningKey], id: &str, timestamp: i64, body: &str) -> String {
    let signed = format!("{id}.{timestamp}.{body}");
    let signature = |secret: &SigningKey| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
        let tag = hmac::sign(&key, signed.as_bytes());
        format!("v1,{}", BASE64_STANDARD.encode(tag.as_ref()))
    };
    let all: Vec<String> = secrets.iter().map(signature).collect();
    all.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification, by another implementation's key and signature.
    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        let signed = |secrets: &[&str]| {
            let keys: Vec<SigningKey> = secrets
                .iter()
                .map(|secret| SigningKey::parse(secret).unwrap())
                .collect();
            signatures(
                &keys,
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                "{\"test\": 2432232314}",
            )
        };
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed(&[secret]), signature);
        assert_eq!(signed(&[secret, secret]), format!("{signature} {signature}"));
    }
}
