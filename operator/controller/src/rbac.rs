//! What the operator asks of the API server, kind by kind: nothing that it does is missing here, and
//! nothing here is never done. `im-operator rules` prints it, and the chart's Role is compared with
//! that.
//!
//! What was created becomes as if it had been applied by one `patch` after a `get`.

use k8s_openapi::api::rbac::v1::PolicyRule;

/// API group, resources, verbs.
type Rule = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

/// Children that are always wanted: put right, never pruned.
const KEPT: &[&str] = &["get", "list", "watch", "create", "patch"];
/// Children that may become superfluous.
const PRUNED: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

/// In every watched namespace.
const NAMESPACE: &[Rule] = &[
    ("imcluster.io", &["imclusters"], &["list", "watch"]),
    ("imcluster.io", &["imclusters/status"], &["patch"]),
    ("", &["pods"], &["get", "list", "watch", "patch"]),
    ("", &["configmaps", "serviceaccounts", "services"], PRUNED),
    // By name: those of StatefulSets.
    ("", &["persistentvolumeclaims"], &["get", "patch"]),
    // By name: `<name>-internal`, `<name>-admin` and `<name>-remember`; and, to be read, those that a
    // specification names.
    ("", &["secrets"], &["get", "create", "patch"]),
    // A StatefulSet is also deleted without its pods, when one takes its place.
    (
        "apps",
        &[
            "controllerrevisions",
            "deployments",
            "replicasets",
            "statefulsets",
        ],
        PRUNED,
    ),
    ("discovery.k8s.io", &["endpointslices"], PRUNED),
    ("networking.k8s.io", &["networkpolicies"], PRUNED),
    ("policy", &["poddisruptionbudgets"], PRUNED),
    (
        "rbac.authorization.k8s.io",
        &["rolebindings", "roles"],
        KEPT,
    ),
    // Of a StatefulSet without its pod, which says only there why.
    ("", &["events"], &["list"]),
    ("events.k8s.io", &["events"], &["create", "patch"]),
    // By name: `imcluster-operator`, which says whose the namespace is.
    (
        "coordination.k8s.io",
        &["leases"],
        &["create", "get", "update"],
    ),
];

/// In the operator's own namespace; `get` and `update` only of the one Lease.
const LEASE: &[Rule] = &[(
    "coordination.k8s.io",
    &["leases"],
    &["create", "get", "update"],
)];

/// In the whole cluster, only with `--node-access`.
const NODES: &[Rule] = &[("", &["nodes"], &["list", "watch"])];

/// All rules by where they are needed.
pub(crate) fn rules() -> [(&'static str, Vec<PolicyRule>); 3] {
    [
        ("namespace", written(NAMESPACE)),
        ("lease", written(LEASE)),
        ("nodes", written(NODES)),
    ]
}

fn written(rules: &[Rule]) -> Vec<PolicyRule> {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    rules
        .iter()
        .map(|(group, resources, verbs)| PolicyRule {
            api_groups: Some(vec![(*group).to_owned()]),
            resources: Some(texts(resources)),
            verbs: texts(verbs),
            ..PolicyRule::default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// What rules allow: group, resource and verb.
    fn permissions(rules: Vec<PolicyRule>) -> BTreeSet<[String; 3]> {
        let mut found = BTreeSet::new();
        for rule in rules {
            for group in rule.api_groups.iter().flatten() {
                for resource in rule.resources.iter().flatten() {
                    for verb in &rule.verbs {
                        found.insert([group, resource, verb].map(Clone::clone));
                    }
                }
            }
        }
        found
    }

    /// The rules of a kind of role in the chart as rendered for its golden files.
    fn chart(values: &str, kind: &str) -> BTreeSet<[String; 3]> {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../charts/im-operator/golden"
        );
        let text = std::fs::read_to_string(format!("{folder}/{values}.yaml")).unwrap();
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let roles = objects.into_iter().filter(|object| object["kind"] == kind);
        permissions(
            roles
                .flat_map(|mut role| {
                    serde_json::from_value::<Vec<PolicyRule>>(role["rules"].take()).unwrap()
                })
                .collect(),
        )
    }

    #[test]
    fn the_chart_grants_exactly_these_rules() {
        let [(_, namespace), (_, lease), (_, nodes)] = rules();
        let in_namespace = [namespace.clone(), lease].concat();
        assert_eq!(chart("default", "Role"), permissions(in_namespace));
        assert_eq!(chart("default", "ClusterRole"), BTreeSet::new());
        assert_eq!(chart("everywhere", "ClusterRole"), permissions(namespace));
        assert_eq!(chart("nodes", "ClusterRole"), permissions(nodes));
    }

    #[test]
    fn never_12_no_rule_has_a_wildcard_or_lists_secrets() {
        for (_, rules) in rules() {
            for rule in rules {
                let resources = rule.resources.unwrap_or_default();
                let all = resources
                    .iter()
                    .chain(&rule.verbs)
                    .chain(rule.api_groups.iter().flatten());
                assert!(all.clone().all(|word| !word.contains('*')), "{resources:?}");
                if resources.iter().any(|it| it == "secrets") {
                    assert_eq!(rule.verbs, ["get", "create", "patch"]);
                }
                for never in ["nodes/proxy", "pods/exec"] {
                    assert!(!resources.iter().any(|it| it == never));
                }
                for never in ["escalate", "bind", "impersonate"] {
                    assert!(!rule.verbs.iter().any(|it| it == never));
                }
            }
        }
    }
}
