//! What the manifests mean together.

use crate::manifests::rendered::{EMBEDDED, all, customized, files, pairs};
use packaging::render::{objects, quick_start};
use packaging::semantic::{findings, findings_but};
use packaging::tools::Release;

#[test]
fn overlays_and_components_fit_together() {
    for one in all(Release::Helm4) {
        let found = findings_but(&one.objects, &one.outside);
        assert!(found.is_empty(), "{}:\n{}", one.name, found.join("\n"));
    }
}

#[test]
fn components_fit_each_other() {
    let pairs = pairs();
    assert!(pairs.len() > 70, "{}", pairs.len());
    for one in pairs {
        let found = findings_but(&one.objects, &one.outside);
        assert!(found.is_empty(), "{}:\n{}", one.name, found.join("\n"));
    }
}

/// Every object that the single files need comes with one of them.
#[test]
fn the_quick_start_is_complete() {
    for names in [&quick_start()[..], &EMBEDDED] {
        let found = findings(&files(names));
        assert!(found.is_empty(), "{names:?}:\n{}", found.join("\n"));
    }
    // And none too many: without any of these something is missing, but for what other clusters bring.
    for left_out in ["configmap", "secrets", "deployment", "pdb"] {
        let names: Vec<&str> = quick_start()
            .into_iter()
            .filter(|name| *name != left_out)
            .collect();
        assert!(!findings(&files(&names)).is_empty(), "nobody missed {left_out}");
    }
}

/// With PROXY the header says who the client is: then a node's address in its place is no fault, and without it is.
#[test]
fn clients_may_be_hidden_where_a_proxy_tells_of_them() {
    for (components, allowed) in [(&["components/proxy-protocol"][..], true), (&[], false)] {
        let yaml = customized(Release::Helm4, "embedded", components);
        let mut objects = objects(&yaml);
        for service in objects
            .iter_mut()
            .filter(|object| object["spec"]["type"] == "LoadBalancer")
        {
            service["spec"]["externalTrafficPolicy"] = "Cluster".into();
        }
        assert_eq!(findings(&objects).is_empty(), allowed, "{:?}", findings(&objects));
    }
}
