//! What answers of an API server mean.

use super::*;
use serde_json::json;

fn pod(number: u64) -> Pod {
    Pod {
        name: format!("smtp-server-{number}"),
        statefulset: "smtp-server".into(),
        number,
        api: String::new(),
        namespace: "mail".into(),
        credentials: PathBuf::new(),
    }
}

fn set(spec: Json) -> Json {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "smtp-server"}, "spec": spec})
}

fn judge(number: u64, status: u16, answer: &Json) -> Result<Fate, String> {
    let status = StatusCode::from_u16(status).unwrap();
    pod(number)
        .judge(status, answer.to_string().as_bytes())
        .map_err(|unknown| unknown.reason)
}

fn comes_back(number: u64, spec: Json) -> bool {
    matches!(judge(number, 200, &set(spec)).unwrap(), Fate::ComesBack { .. })
}

#[test]
fn pods_among_the_replicas_come_back() {
    assert!(comes_back(0, json!({"replicas": 1})) && comes_back(2, json!({"replicas": 3})));
    assert!(!comes_back(3, json!({"replicas": 3})) && !comes_back(0, json!({"replicas": 0})));
    assert!(
        comes_back(0, json!({})) && !comes_back(1, json!({})),
        "one replica unless it is said"
    );
    let from_five = |number| comes_back(number, json!({"replicas": 2, "ordinals": {"start": 5}}));
    assert!(!from_five(4) && from_five(5) && from_five(6) && !from_five(7));
}

#[test]
fn a_claim_has_a_name_if_there_is_one_template() {
    let one = json!({"replicas": 0, "volumeClaimTemplates": [{"metadata": {"name": "data"}}]});
    let why = "1 is none of the 0 replicas of the StatefulSet smtp-server from 0 on".to_owned();
    let claim = Some("data-smtp-server-1".to_owned());
    assert_eq!(
        judge(1, 200, &set(one)),
        Ok(Fate::Leaves {
            why: why.clone(),
            claim
        })
    );
    let none = Fate::Leaves { why, claim: None };
    assert_eq!(judge(1, 200, &set(json!({"replicas": 0}))), Ok(none.clone()));
    let two = json!({"replicas": 0, "volumeClaimTemplates": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]});
    assert_eq!(judge(1, 200, &set(two)), Ok(none));
}

#[test]
fn a_statefulset_that_is_deleted_or_missing_starts_no_pod_again() {
    let mut deleted = set(json!({"replicas": 3}));
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert!(matches!(judge(0, 200, &deleted), Ok(Fate::Leaves { .. })));
    let missing = json!({"kind": "Status", "reason": "NotFound", "message": "statefulsets.apps \"smtp-server\" not found",
        "details": {"name": "smtp-server", "group": "apps", "kind": "statefulsets"}});
    assert!(matches!(
        judge(0, 404, &missing),
        Ok(Fate::Leaves { claim: None, .. })
    ));
    // Somebody else's 404: a path that is wrong, another object.
    for (key, value) in [
        ("details", json!({"name": "other", "kind": "statefulsets"})),
        ("reason", json!("Gone")),
    ] {
        let mut other = missing.clone();
        other[key] = value;
        assert!(judge(0, 404, &other).is_err(), "{other}");
    }
    assert!(judge(0, 404, &json!("404 page not found")).is_err());
}

#[test]
fn what_is_not_understood_is_not_known() {
    let mut other = set(json!({"replicas": 0}));
    other["metadata"]["name"] = json!("other");
    for answer in [
        json!(null),
        json!({"kind": "StatefulSet"}),
        other,
        set(json!({"replicas": -1})),
        set(json!({"replicas": "0"})),
        set(json!({"replicas": 1, "ordinals": {"start": 0.5}})),
        json!({"kind": "Deployment", "metadata": {"name": "smtp-server"}, "spec": {"replicas": 0}}),
    ] {
        assert!(
            judge(0, 200, &answer).unwrap_err().contains("kubernetes.api"),
            "{answer}"
        );
    }
    let said = judge(0, 403, &json!({"kind": "Status", "message": "forbidden for you"})).unwrap_err();
    assert!(
        said.contains("403: forbidden for you; ") && said.contains("RoleBinding"),
        "{said}"
    );
    assert!(
        judge(0, 302, &json!(null))
            .unwrap_err()
            .starts_with("answered 302; is")
    );
}

#[test]
fn the_api_server_is_where_the_variables_say() {
    assert_eq!(
        address(Some("10.0.0.1"), Some("6443")).unwrap(),
        "https://10.0.0.1:6443"
    );
    assert_eq!(address(Some("fd00::1"), None).unwrap(), "https://[fd00::1]:443");
    assert!(address(None, None).unwrap_err().contains("kubernetes.api"));
}
