//! What the manifests mean together.

use crate::manifests::rendered::{EMBEDDED, QUICK_START, all, files};
use packaging::semantic::{findings, findings_but};
use packaging::tools::Release;

#[test]
fn overlays_and_components_fit_together() {
    for one in all(Release::Helm4) {
        let found = findings_but(&one.objects, &one.outside);
        assert!(found.is_empty(), "{}:\n{}", one.name, found.join("\n"));
    }
}

/// Every object that the single files need comes with one of them.
#[test]
fn the_quick_start_is_complete() {
    for names in [&QUICK_START[..], &EMBEDDED] {
        let found = findings(&files(names));
        assert!(found.is_empty(), "{names:?}:\n{}", found.join("\n"));
    }
    // And none too many: without any of these something is missing, but for what other clusters bring.
    for left_out in ["configmap", "secrets", "deployment", "pdb"] {
        let names: Vec<&str> = QUICK_START.into_iter().filter(|name| *name != left_out).collect();
        assert!(!findings(&files(&names)).is_empty(), "nobody missed {left_out}");
    }
}
