//! The checks can fail: each file in `faults/` breaks an overlay in one way, and says what has to be found.

use crate::manifests::rendered::customized;
use packaging::render::{file, objects};
use packaging::semantic::findings;
use packaging::tools::{Release, root};

/// A file's header: `# over: OVERLAY`, `# with: COMPONENT` as often as wanted, `# finds: TEXT` as often as there are. What
/// follows is the rest of a kustomization.
#[test]
fn each_fault_is_found_and_nothing_else() {
    let folder = root().join("packaging/tests/manifests/faults");
    let mut names: Vec<_> = std::fs::read_dir(folder).expect("faults").flatten().map(|entry| entry.path()).collect();
    names.sort();
    assert!(names.len() > 40, "{}", names.len());
    let mut wrong = String::new();
    for path in names {
        let text = std::fs::read_to_string(&path).expect("a file");
        let header = |word: &str| -> Vec<&str> {
            text.lines().filter_map(|line| line.strip_prefix(&format!("# {word}: "))).collect()
        };
        let overlay = header("over")[0];
        let components: Vec<String> = header("with").iter().map(|name| format!("components/{name}")).collect();
        let components: Vec<&str> = components.iter().map(String::as_str).collect();
        let found = findings(&objects(&customized(Release::Helm4, overlay, &components, &text)));
        let mut expected = header("finds");
        expected.sort_unstable();
        assert!(!expected.is_empty(), "{}", path.display());
        if found != expected {
            let name = path.file_name().expect("a name").display();
            wrong += &format!("{name}:\n  found    {found:#?}\n  expected {expected:#?}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The guide's manifests, as they were written: what is wrong with them is what `docs/kubernetes.md` says.
#[test]
fn the_guides_own_faults_are_found() {
    let found = findings(&file("packaging/tests/manifests/guide.yaml"));
    let text = std::fs::read_to_string(root().join("packaging/tests/manifests/guide.findings")).expect("findings");
    let expected: Vec<&str> = text.lines().collect();
    assert_eq!(found, expected, "{}", found.join("\n"));
}
