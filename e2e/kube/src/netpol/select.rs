//! Which pods and namespaces a selector means.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;

type Labels = BTreeMap<String, String>;

/// Whether labels meet every requirement of a selector. The empty selector means everything.
pub(super) fn matches(selector: &LabelSelector, labels: &Labels) -> bool {
    let equal = selector.match_labels.iter().flatten();
    let mut expressions = selector.match_expressions.iter().flatten();
    equal
        .into_iter()
        .all(|(key, value)| labels.get(key) == Some(value))
        && expressions.all(|expression| {
            let value = labels.get(&expression.key);
            let listed = || {
                let values = expression.values.iter().flatten();
                value.is_some_and(|value| values.into_iter().any(|one| one == value))
            };
            match expression.operator.as_str() {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// The pods that a policy in namespace `home` means by these selectors.
pub(super) fn pods<'a>(
    home: &str,
    namespaces: &'a [Namespace],
    all: &'a [Pod],
    namespace_selector: Option<&'a LabelSelector>,
    pod_selector: Option<&'a LabelSelector>,
) -> Vec<&'a Pod> {
    let in_namespace = |pod: &Pod| {
        let of_pod = pod.namespace().unwrap_or_default();
        match namespace_selector {
            None => of_pod == home,
            Some(selector) => namespaces
                .iter()
                .filter(|namespace| namespace.name_any() == of_pod)
                .any(|namespace| matches(selector, namespace.labels())),
        }
    };
    all.iter()
        .filter(|pod| in_namespace(pod))
        .filter(|pod| pod_selector.is_none_or(|selector| matches(selector, pod.labels())))
        .collect()
}

/// The address of a pod to which policies apply: it has a network of its own and has not ended.
pub(super) fn address(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    let status = pod.status.as_ref()?;
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    if spec.host_network == Some(true) || ended {
        return None;
    }
    status.pod_ip.as_deref().filter(|ip| !ip.contains(':'))
}
