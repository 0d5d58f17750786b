//! Each thing that a template says is there for a reason: taken out, one of the tests of pods fails.

use super::stage::{Mode, Stage};
use super::{faults, life};
use packaging::kubelet::{Happened, Pod};
use serde_json::Value;
use std::any::Any;
use std::thread;

/// Something that a pod's template says.
struct Property {
    /// Fields and names, from the pod's `spec` on; `container` is its one container.
    path: &'static str,
    /// Who misses it.
    by: By,
    /// In its words.
    says: &'static str,
}

/// What of the tests fails without a property.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum By {
    /// The kubelet, which does not play such a pod.
    Kubelet,
    Start,
    Settings,
    Confinement,
    /// From here on each needs a node of its own, and up to a minute.
    Hanging,
    Readiness,
    End,
}

const fn property(path: &'static str, by: By, says: &'static str) -> Property {
    Property { path, by, says }
}

/// What the templates of both modes say.
const BOTH: [Property; 26] = [
    property(
        "automountServiceAccountToken",
        By::Confinement,
        "a token is mounted",
    ),
    property(
        "enableServiceLinks",
        By::Kubelet,
        "variables of services are not played",
    ),
    property(
        "terminationGracePeriodSeconds",
        By::End,
        "the server closed the connection",
    ),
    property("securityContext/runAsUser", By::Kubelet, "runAsUser"),
    property("securityContext/runAsGroup", By::Kubelet, "runAsGroup"),
    property("securityContext/fsGroup", By::Start, "Exited(78)"),
    property("securityContext/seccompProfile", By::Confinement, "Seccomp"),
    property("volumes/tls/secret/defaultMode", By::Confinement, "etc/tls"),
    property(
        "volumes/secrets/secret/defaultMode",
        By::Confinement,
        "run/secrets/smtp",
    ),
    property("container/ports/http", By::Kubelet, "no port"),
    property("container/env/SMTP_PROFILE", By::Settings, "\"profile\""),
    property("container/env/SMTP_DB_PATH", By::Settings, "/tmp/of-the-image"),
    property("container/env/SMTP_ADMIN_PASSWORD_FILE", By::Start, "Exited(78)"),
    property(
        "container/env/SMTP_DKIM_PRIVATE_KEY_FILE",
        By::Settings,
        "dkim.private_key",
    ),
    property("container/resources/limits/memory", By::Confinement, "memory"),
    property("container/volumeMounts/data", By::Start, "Exited("),
    property("container/volumeMounts/config", By::Start, "Exited(78)"),
    property("container/volumeMounts/tls", By::Start, "Exited(78)"),
    property("container/volumeMounts/secrets", By::Start, "Exited(78)"),
    property("container/volumeMounts/tmp", By::Confinement, "tmp: "),
    property(
        "container/startupProbe",
        By::Start,
        "left: [Started, Ready(true)]",
    ),
    property(
        "container/livenessProbe",
        By::Hanging,
        "the container to be started again",
    ),
    // Nobody is served any more.
    property("container/lifecycle/preStop", By::End, "left: 421"),
    property(
        "container/securityContext/allowPrivilegeEscalation",
        By::Confinement,
        "NoNewPrivs",
    ),
    property(
        "container/securityContext/readOnlyRootFilesystem",
        By::Confinement,
        "/ can be written to",
    ),
    property("container/securityContext/capabilities", By::Confinement, "Cap"),
];

/// What the StatefulSet's says, and the Deployment's in another sense.
const EMBEDDED: [Property; 1] = [property(
    "container/readinessProbe",
    By::Readiness,
    "the pod to be taken out",
)];

/// What the Deployment's says besides.
const POSTGRESQL: [Property; 3] = [
    property(
        "container/readinessProbe",
        By::Readiness,
        "it is ready and has no database",
    ),
    property(
        "container/env/SMTP_DATABASE_URL_FILE",
        By::Settings,
        "storage.url",
    ),
    property(
        "container/env/SMTP_STORAGE__SCRATCH_SIZE",
        By::Settings,
        "storage.scratch_size",
    ),
];

/// What no pod on one node can show. `manifests` judges it as it is written.
const ELSEWHERE: [&str; 18] = [
    "serviceAccountName",
    "topologySpreadConstraints",
    // The kubelet refuses to start root, and this is not root.
    "securityContext/runAsNonRoot",
    "container/securityContext/runAsNonRoot",
    // How long a start takes.
    "securityContext/fsGroupChangePolicy",
    // Where a volume's content is from; it goes with its mount. How full an emptyDir may be is not played.
    "volumes/config",
    "volumes/data",
    "volumes/secrets",
    "volumes/tls",
    "volumes/tmp",
    "container/name",
    "container/image",
    "container/imagePullPolicy",
    // Ports are open whether they are listed or not; the probes need one by its name.
    "container/ports/smtp",
    "container/ports/smtps",
    "container/ports/submission",
    "container/resources/requests",
    "container/resources/limits/ephemeral-storage",
];

#[test]
fn everything_that_the_statefulset_says_is_needed() {
    is_needed(Mode::Embedded, BOTH.iter().chain(&EMBEDDED).collect());
}

#[test]
fn everything_that_the_deployment_says_is_needed() {
    is_needed(Mode::Postgresql, BOTH.iter().chain(&POSTGRESQL).collect());
}

fn is_needed(mode: Mode, properties: Vec<&Property>) {
    let template = template(mode);
    for leaf in leaves(&template) {
        let known = properties.iter().map(|property| property.path);
        let mut known = known.chain(ELSEWHERE).map(|path| (path, format!("{path}/")));
        assert!(
            known.any(|(path, folder)| leaf == path || leaf.starts_with(&folder)),
            "{leaf} is in no list of properties"
        );
    }
    let (alone, together): (Vec<&Property>, Vec<&Property>) = properties
        .into_iter()
        .partition(|property| property.by >= By::Hanging);
    let unmissed: Vec<String> = thread::scope(|scope| {
        let alone = alone
            .into_iter()
            .map(|property| scope.spawn(move || missed(&Stage::new(mode), property, 0).err()));
        let mut tries: Vec<_> = alone.collect();
        let one_by_one = scope.spawn(move || {
            let stage = Stage::new(mode);
            let tried = together.into_iter().zip(0..);
            let unmissed = tried.filter_map(|(property, number)| missed(&stage, property, number).err());
            let unmissed: Vec<String> = unmissed.collect();
            (!unmissed.is_empty()).then(|| unmissed.join("\n"))
        });
        tries.push(one_by_one);
        let unmissed = tries.into_iter().filter_map(|tried| tried.join().expect("a try"));
        unmissed.collect()
    });
    assert!(unmissed.is_empty(), "{}", unmissed.join("\n"));
}

/// Takes a property out, and puts it back. What is wrong if nobody misses it, or somebody else.
fn missed(stage: &Stage, property: &Property, number: u32) -> Result<(), String> {
    let mut before = Value::Null;
    stage.edit(|pod| {
        before = pod.clone();
        take_out(pod, property.path);
    });
    let outcome = thread::scope(|scope| scope.spawn(|| try_it(stage, property.by, number)).join());
    stage.edit(|pod| *pod = before);
    let path = property.path;
    match outcome {
        Ok(()) => Err(format!("{path}: nobody missed it")),
        Err(panic) => {
            let said = said(panic.as_ref());
            println!("{path}: {said}");
            match said.contains(property.says) {
                true => Ok(()),
                false => Err(format!("{path}: {said:?} says nothing of {:?}", property.says)),
            }
        }
    }
}

/// What the tests of pods do.
fn try_it(stage: &Stage, by: By, number: u32) {
    match by {
        By::Hanging => return faults::is_started_again_when_it_hangs(stage),
        By::Readiness => return faults::gets_no_mail_while_it_is_not_ready(stage),
        _ => {}
    }
    let pod = life::starts(stage, number);
    match by {
        By::Start => life::starts_in_order(&pod),
        By::Settings => life::is_configured(stage.mode, &pod),
        By::Confinement => {
            runs(&pod);
            life::is_confined(&pod, life::MEMORY);
        }
        By::End => {
            pod.wait_ready();
            life::ends_in_order(stage, pod);
        }
        By::Kubelet | By::Hanging | By::Readiness => {}
    }
}

fn runs(pod: &Pod) {
    blackbox::wait_for("the container", || {
        pod.timeline().last(&Happened::Started).is_some()
    });
}

/// What a panic says.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.expect("a panic with words").to_owned()
}

/// The pod's `spec` in the template of a mode.
fn template(mode: Mode) -> Value {
    let objects = mode.objects();
    let workload = packaging::render::find(&objects, mode.kind(), "smtp-server");
    workload["spec"]["template"]["spec"].clone()
}

/// Goes one step into a value: to a field, or to the element of that name.
fn step<'v>(value: &'v mut Value, name: &str) -> &'v mut Value {
    let found = match (value, name) {
        (Value::Object(fields), "container") => fields.get_mut("containers").and_then(|all| all.get_mut(0)),
        (Value::Object(fields), _) => fields.get_mut(name),
        (Value::Array(elements), _) => elements.iter_mut().find(|element| element["name"] == name),
        _ => None,
    };
    found.unwrap_or_else(|| panic!("there is no {name}"))
}

fn take_out(pod: &mut Value, path: &str) {
    let (outer, last) = path.rsplit_once('/').unwrap_or(("", path));
    let steps = outer.split('/').filter(|name| !name.is_empty());
    match steps.fold(pod, |value, name| step(value, name)) {
        Value::Object(fields) => drop(
            fields
                .remove(last)
                .unwrap_or_else(|| panic!("there is no {path}")),
        ),
        Value::Array(elements) => {
            let before = elements.len();
            elements.retain(|element| element["name"] != last);
            assert_eq!(elements.len() + 1, before, "{path}");
        }
        _ => panic!("there is no {path}"),
    }
}

/// The paths of everything that a template says.
fn leaves(pod: &Value) -> Vec<String> {
    match pod {
        Value::Object(fields) => {
            let inner = fields.iter().flat_map(|(field, value)| match field.as_str() {
                "containers" => below("container", &value[0]),
                _ => below(field, value),
            });
            inner.collect()
        }
        Value::Array(elements) if elements.iter().all(|one| one["name"].is_string()) => elements
            .iter()
            .flat_map(|one| below(one["name"].as_str().unwrap_or_default(), one))
            .collect(),
        _ => Vec::new(),
    }
}

fn below(name: &str, value: &Value) -> Vec<String> {
    let inner = leaves(value);
    if inner.is_empty() {
        return vec![name.to_owned()];
    }
    inner.iter().map(|path| format!("{name}/{path}")).collect()
}
