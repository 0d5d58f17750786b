//! What must hold for TLS, tokens, signing and logins at next hops.

use super::Findings;
use crate::kinds::{HopProtocol, LocalDelivery, is_hostname};
use crate::tree::Config;
use std::path::Path;

/// What every PEM certificate begins with.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
/// What every PEM private key begins with, whatever its kind.
const PRIVATE_KEY: &str = "PRIVATE KEY-----";

pub(super) fn values(config: &Config, found: &mut Findings) {
    tls(config, found);
    oauth(config, found);
    dkim(config, found);
    smarthost(config, found);
}

fn tls(config: &Config, found: &mut Findings) {
    let tls = &config.tls;
    match (&tls.cert_file, &tls.key_file) {
        (Some(_), None) => found.push((
            "tls.key_file",
            "it belongs to tls.cert_file and has to be set too".into(),
        )),
        (None, Some(_)) => found.push((
            "tls.cert_file",
            "it belongs to tls.key_file and has to be set too".into(),
        )),
        _ => {}
    }
    if tls.enabled {
        return;
    }
    for (name, enabled) in [
        ("smtps.enabled", config.smtps.enabled),
        ("submission.enabled", config.submission.enabled),
    ] {
        if enabled {
            found.push((
                name,
                "it needs TLS: passwords are never taken in clear; set tls.enabled".into(),
            ));
        }
    }
}

fn oauth(config: &Config, found: &mut Findings) {
    let oauth = &config.oauth;
    if oauth.issuer.is_none() {
        let idle = !oauth.audience.is_empty() || oauth.jwks_file.is_some() || oauth.jwks_url.is_some();
        if idle {
            found.push((
                "oauth.issuer",
                "it has to be set, or tokens are not taken at all".into(),
            ));
        }
        return;
    }
    if oauth.audience.is_empty() {
        let reason = "it has to be set: a token for another service must not open this one";
        found.push(("oauth.audience", reason.into()));
    }
    match (&oauth.jwks_file, &oauth.jwks_url) {
        (None, None) => found.push((
            "oauth.jwks_url",
            "the issuer's keys are needed: set this or oauth.jwks_file".into(),
        )),
        (Some(_), Some(_)) => found.push((
            "oauth.jwks_url",
            "oauth.jwks_file is set too; keep one of them".into(),
        )),
        (None, Some(url)) if !is_safe_url(url) => {
            found.push((
                "oauth.jwks_url",
                "it must be an https:// URL (http:// on loopback only)".into(),
            ));
        }
        _ => {}
    }
}

/// Keys that came in clear could be anybody's.
fn is_safe_url(url: &str) -> bool {
    let host = |rest: &str| {
        rest.split(['/', ':'])
            .next()
            .map(str::to_owned)
            .unwrap_or_default()
    };
    match url.split_once("://") {
        Some(("https", rest)) => !host(rest).is_empty(),
        Some(("http", rest)) => {
            matches!(host(rest).as_str(), "127.0.0.1" | "localhost") || rest.starts_with("[::1]")
        }
        _ => false,
    }
}

fn dkim(config: &Config, found: &mut Findings) {
    let dkim = &config.dkim;
    if !is_hostname(&dkim.selector) {
        found.push((
            "dkim.selector",
            "it must be made of letters, digits, hyphens and dots".into(),
        ));
    }
    let Some(key) = &dkim.private_key else { return };
    if !key.expose().contains(PRIVATE_KEY) {
        found.push(("dkim.private_key", "it holds no PEM private key".into()));
    }
    if dkim.domain.as_deref().is_none_or(|domain| !is_hostname(domain)) {
        found.push((
            "dkim.domain",
            "it has to be set to the domain that dkim.private_key signs for".into(),
        ));
    }
}

fn smarthost(config: &Config, found: &mut Findings) {
    match &config.relay.smarthost {
        None if config.relay.password_file.is_some() => {
            found.push((
                "relay.password_file",
                "there is no relay.smarthost that it could be for".into(),
            ));
        }
        None => {}
        Some(hop) => {
            if let Err(reason) = hop.check(config.relay.tls) {
                found.push(("relay.smarthost", reason));
            }
        }
    }
    let lmtp_port_25 = config.domains.iter().find_map(|domain| match &domain.deliver {
        LocalDelivery::Hop(hop) if hop.protocol == HopProtocol::Lmtp && hop.port == 25 => Some(&domain.name),
        _ => None,
    });
    if let Some(name) = lmtp_port_25 {
        found.push((
            "domains",
            format!("{name}: LMTP must not use port 25 (RFC 2033 section 5)"),
        ));
    }
}

/// What production needs.
pub(super) fn production(config: &Config, found: &mut Findings) {
    if config.tls.enabled && config.tls.cert_file.is_none() {
        let reason = "production needs a certificate: set tls.cert_file and tls.key_file, or tls.enabled = false to go without TLS and AUTH";
        found.push(("tls.cert_file", reason.into()));
    }
}

/// Looks at every file that these settings name.
pub(super) fn files(config: &Config, found: &mut Findings) {
    let (tls, oauth) = (&config.tls, &config.oauth);
    let files = [
        ("tls.cert_file", &tls.cert_file, CERTIFICATE, "certificate"),
        ("tls.key_file", &tls.key_file, PRIVATE_KEY, "private key"),
        (
            "tls.client_ca_file",
            &tls.client_ca_file,
            CERTIFICATE,
            "certificate",
        ),
        (
            "delivery.ca_file",
            &config.delivery.ca_file,
            CERTIFICATE,
            "certificate",
        ),
        ("oauth.jwks_file", &oauth.jwks_file, "", ""),
        (
            "oauth.jwks_ca_file",
            &oauth.jwks_ca_file,
            CERTIFICATE,
            "certificate",
        ),
        ("oauth.jwks_token_file", &oauth.jwks_token_file, "", ""),
    ];
    for (name, path, mark, what) in files {
        if let Some(Err(reason)) = path.as_ref().map(|path| holds(path, mark, what)) {
            found.push((name, reason));
        }
    }
    for pair in &config.certificates {
        let files = [
            (&pair.cert_file, CERTIFICATE, "certificate"),
            (&pair.key_file, PRIVATE_KEY, "private key"),
        ];
        for (path, mark, what) in files {
            found.extend(
                holds(path, mark, what)
                    .err()
                    .map(|reason| ("certificates", reason)),
            );
        }
    }
    for path in config
        .webhooks
        .iter()
        .filter_map(|webhook| webhook.ca_file.as_ref())
    {
        let held = holds(path, CERTIFICATE, "certificate");
        found.extend(held.err().map(|reason| ("webhooks", reason)));
    }
    for key in &config.dkim_keys {
        found.extend(
            holds(&key.key_file, PRIVATE_KEY, "private key")
                .err()
                .map(|reason| ("dkim_keys", reason)),
        );
    }
}

/// The file can be read, and holds what it should.
fn holds(path: &Path, mark: &str, what: &str) -> Result<(), String> {
    match crate::file::read_text(path) {
        Err(reason) => Err(format!("{}: {reason}", path.display())),
        Ok(text) if !text.contains(mark) => Err(format!("{}: it holds no PEM {what}", path.display())),
        Ok(_) => Ok(()),
    }
}
