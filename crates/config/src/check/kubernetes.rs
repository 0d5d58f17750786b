//! `[kubernetes]`: names that can be names there, and an API server that a token can be shown to.

use super::Findings;
use crate::tree::Config;

/// Longest name of a namespace or a pod, in octets.
const LONGEST: usize = 63;

pub(super) fn values(config: &Config, found: &mut Findings) {
    let kubernetes = &config.kubernetes;
    for (key, name) in [
        ("kubernetes.statefulset", &kubernetes.statefulset),
        ("kubernetes.namespace", &kubernetes.namespace),
        ("kubernetes.pod", &kubernetes.pod),
    ] {
        if name.as_ref().is_some_and(|name| !is_label(name)) {
            let reason = "it must be a name of lower-case letters, digits and hyphens, such as smtp-server";
            found.push((key, reason.into()));
        }
    }
    if let (Some(set), Some(pod)) = (&kubernetes.statefulset, &kubernetes.pod)
        && is_label(pod)
        && ordinal(set, pod).is_none()
    {
        let reason = format!("it must be kubernetes.statefulset, a hyphen and a number, such as {set}-0");
        found.push(("kubernetes.pod", reason));
    }
    if let Some(api) = &kubernetes.api
        && !(api.as_str().starts_with("https://") && api.is_bare())
    {
        let reason = "it must be https://host:port, without a path: the token is shown to nobody else";
        found.push(("kubernetes.api", reason.into()));
    }
}

/// Whether a text is a label as RFC 1123 has it, in lower case: what namespaces and pods of StatefulSets are called.
pub fn is_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=LONGEST).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// The number of a StatefulSet's pod; `None` for a pod of another kind.
pub fn ordinal(statefulset: &str, pod: &str) -> Option<u64> {
    let number = pod.strip_prefix(statefulset)?.strip_prefix('-')?;
    let plain = number.bytes().all(|b| b.is_ascii_digit()) && (number == "0" || !number.starts_with('0'));
    number.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_a_statefulset_have_numbers() {
        assert_eq!(ordinal("smtp-server", "smtp-server-0"), Some(0));
        assert_eq!(ordinal("smtp-server", "smtp-server-12"), Some(12));
        for pod in [
            "smtp-server",
            "smtp-server-",
            "smtp-server-01",
            "smtp-server-+1",
            "smtp-server-1-2",
            "smtp-server2-1",
            "smtp-server-7d9f8b6c5-x2x4z",
            "other-1",
        ] {
            assert_eq!(ordinal("smtp-server", pod), None, "{pod}");
        }
    }

    #[test]
    fn labels() {
        assert!(is_label("mail") && is_label("a-1") && is_label(&"x".repeat(63)));
        for name in ["", "-a", "a-", "A", "a.b", "a/b", "a b", "..", &"x".repeat(64)] {
            assert!(!is_label(name), "{name}");
        }
    }
}
