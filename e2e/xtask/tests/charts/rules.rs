//! What every rendered object must keep to.

use serde_json::Value;

use crate::helm::{objects, template};
use crate::{CHARTS, files, repository};

/// Every object of every set of values, with a name for messages.
fn everything() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for chart in CHARTS {
        for values in files(&repository("charts").join(chart).join("ci"), "-values.yaml") {
            let outcome = template(chart, &values);
            assert!(outcome.success, "{}", outcome.complaint);
            for object in objects(&outcome.out) {
                let name = format!(
                    "{}: {} {}",
                    values.display(),
                    object["kind"],
                    object["metadata"]["name"]
                );
                all.push((name, object));
            }
        }
    }
    all
}

fn words(value: &Value) -> Vec<&str> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .map(|word| word.as_str().expect("a word"))
        .collect()
}

fn rules(object: &Value) -> &[Value] {
    object["rules"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

#[test]
fn roles_name_resources_and_verbs_and_never_ask_for_more_than_is_used() {
    const VERBS: [&str; 7] = [
        "get", "list", "watch", "create", "update", "patch", "delete",
    ];
    const NEVER: [&str; 6] = [
        "pods/exec",
        "pods/attach",
        "pods/portforward",
        "nodes/proxy",
        "serviceaccounts/token",
        "clusterroles",
    ];
    let mut seen = 0;
    for (name, object) in everything() {
        for rule in rules(&object) {
            seen += 1;
            let resources = words(&rule["resources"]);
            let verbs = words(&rule["verbs"]);
            assert!(
                verbs.iter().all(|verb| VERBS.contains(verb)),
                "{name}: {verbs:?}"
            );
            for resource in &resources {
                assert!(
                    !NEVER.contains(resource) && *resource != "*",
                    "{name}: {resource}"
                );
            }
            assert!(!words(&rule["apiGroups"]).contains(&"*"), "{name}");
            if resources.contains(&"secrets") {
                assert_eq!(
                    (resources.len(), verbs),
                    (1, vec!["get", "create", "patch"]),
                    "{name}"
                );
            }
        }
    }
    assert!(seen > 0);
}

#[test]
fn cluster_roles_are_made_only_when_asked_for() {
    for (name, object) in everything() {
        let asked = name.contains("nodes-values") || name.contains("everywhere-values");
        let kind = object["kind"].as_str().expect("kind");
        assert!(!kind.starts_with("ClusterRole") || asked, "{name}");
    }
}

/// Kubernetes lets nobody grant what it does not have: the role of the servers' discovery.
#[test]
fn the_operator_has_what_it_grants_to_servers() {
    let all = everything();
    let mut roles = 0;
    for (name, object) in &all {
        let main = rules(object)
            .iter()
            .any(|rule| words(&rule["resources"]).contains(&"imclusters"));
        if !main {
            continue;
        }
        roles += 1;
        let held = rules(object)
            .iter()
            .find(|rule| words(&rule["resources"]).contains(&"endpointslices"));
        let verbs = words(&held.expect("a rule for endpointslices")["verbs"]);
        assert!(
            ["get", "list", "watch"]
                .iter()
                .all(|verb| verbs.contains(verb)),
            "{name}"
        );
    }
    assert!(roles > 0);
}

/// The Pod Security Standard "restricted", and what we ask beyond it.
#[test]
fn every_pod_is_restricted() {
    let mut pods = 0;
    for (name, object) in everything() {
        let spec = match object["kind"].as_str() {
            Some("Deployment") => &object["spec"]["template"]["spec"],
            Some("Pod") => &object["spec"],
            _ => continue,
        };
        pods += 1;
        let pod = &spec["securityContext"];
        assert_eq!(pod["runAsNonRoot"], true, "{name}");
        let by_platform = name.contains("openshift-values.yaml");
        let user = if by_platform {
            Value::Null
        } else {
            65532.into()
        };
        for key in ["runAsUser", "runAsGroup", "fsGroup"] {
            let of_pod = &pod[key];
            assert!(
                *of_pod == user || (key != "runAsUser" && of_pod.is_null()),
                "{name}: {key}"
            );
        }
        assert_eq!(pod["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        for key in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(spec[key].is_null(), "{name}: {key}");
        }
        let containers = ["containers", "initContainers"]
            .iter()
            .filter_map(|list| spec[list].as_array())
            .flatten();
        for container in containers {
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(words(&security["capabilities"]["drop"]), ["ALL"], "{name}");
            assert!(security["privileged"].is_null(), "{name}");
        }
    }
    assert!(pods > 0);
}

/// A Service's name is a label of DNS; Helm takes release names of 53 characters.
#[test]
fn a_release_may_have_a_name_of_53_characters() {
    let name = "o".repeat(53);
    let args = [
        "template",
        name.as_str(),
        "im-operator",
        "--namespace",
        "chat",
    ];
    let outcome = crate::helm::helm(args.iter().chain(&["--kube-version", "1.36.0"]));
    assert!(outcome.success, "{}", outcome.complaint);
    let services = objects(&outcome.out).into_iter();
    let services: Vec<Value> = services.filter(|it| it["kind"] == "Service").collect();
    assert!(!services.is_empty());
    for service in services {
        let name = service["metadata"]["name"].as_str().expect("a name");
        assert!(name.len() <= 63, "{name} has {} characters", name.len());
    }
}
