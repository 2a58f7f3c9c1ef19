//! What to do, by what conditions and pods say.

use im_operator_api::condition;

use super::{Pod, View};

/// Reasons of conditions that ask something of a person, and what.
const REMEDIES: &[(&str, &str)] = &[
    (
        "InvalidSpec",
        "the specification cannot be used: correct the fields that SpecValid names; `kubectl im validate -f` checks a file beforehand",
    ),
    (
        "RoleUnavailable",
        "a role that nobody is served without has no ready pod: `kubectl describe` and `kubectl logs` of its pods say why",
    ),
    (
        "Conflict",
        "objects of others have names that are needed: rename or remove them, or give the ImCluster another name",
    ),
    (
        "SecretMissing",
        "make the Secret that Degraded names; pods wait for it and need no restart",
    ),
    (
        "ConfigMapMissing",
        "make the ConfigMap that Degraded names; pods wait for it and need no restart",
    ),
    (
        "ImagePullFailed",
        "the image cannot be fetched: look at spec.version, spec.image and its pull secrets; the version before, put back, goes back by itself",
    ),
    (
        "PodCrashLoop",
        "a server ends as soon as it has started: `kubectl logs --previous` of the pod that Degraded names says why; the specification before, put back, goes back by itself",
    ),
    (
        "QuotaExceeded",
        "the namespace's quota is used up: raise it, or lower requests or replicas",
    ),
    (
        "PodsNotCreated",
        "pods are refused: the message names the LimitRange or the admission webhook",
    ),
    (
        "ApplyFailed",
        "the API server refuses or fails what the operator writes: the message says what",
    ),
    (
        "ProgressDeadlineExceeded",
        "the roll has stopped: what its message names is in the way; the specification before, put back, goes back by itself",
    ),
    (
        "NoAnswer",
        "login servers do not tell the operator the load: a NetworkPolicy or a mesh may keep it from their metrics port",
    ),
    (
        "DbProxyFails",
        "dbProxy does not become ready: `kubectl logs` of its pod says why",
    ),
    (
        "StorageClassMissing",
        "no StorageClass fits the claim: name one in database.embedded.storage.persistentVolume",
    ),
    (
        "VolumePending",
        "the volume is not made: `kubectl describe pvc` says what it waits for",
    ),
    (
        "ExpansionNotAllowed",
        "the StorageClass cannot enlarge volumes: set allowVolumeExpansion, or ask for the old size again",
    ),
    (
        "WaitingForLoadBalancer",
        "load balancers have no address yet: look at the Services of the slots, and at the provider's controller",
    ),
    (
        "EphemeralStorage",
        "all messages are lost with the dbProxy pod: right for a trial, and nothing else",
    ),
    (
        "OldKeys",
        "configuration keys have old names: SpecValid says what to write instead",
    ),
];

/// Lines for a person; none where nothing is to be done.
pub(super) fn of(view: &View, pods: &[Pod], paused: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if paused {
        lines.push(
            "it is paused: the operator writes nothing but status until operation.paused is false and \
             the annotation imcluster.io/paused is gone"
                .to_owned(),
        );
    }
    if !view.seen {
        lines.push(
            "the operator has not seen the latest specification: if that stays so, look at its pods and \
             at what namespaces it watches"
                .to_owned(),
        );
    }
    for condition in &view.conditions {
        let remedy = REMEDIES
            .iter()
            .find(|(reason, _)| *reason == condition.reason);
        let line = remedy.map(|(_, line)| (*line).to_owned());
        lines.extend(line.filter(|line| !lines.contains(line)));
    }
    let waits = |pod: &&Pod| !pod.ready && pod.waits_for == "Unschedulable";
    let homeless: Vec<&str> = { pods.iter().filter(waits) }
        .map(|it| it.name.as_str())
        .collect();
    if let Some(first) = homeless.first() {
        let count = homeless.len();
        lines.push(format!(
            "{count} pods find no node, such as {first}: add nodes, uncordon one, or lower requests"
        ));
    }
    let full = view.connections.zip(view.connection_capacity);
    if let Some((connections, capacity)) = full
        && capacity > 0
        && connections.saturating_mul(100) >= capacity.saturating_mul(85)
    {
        lines.push(format!(
            "{connections} of {capacity} connections are taken: raise spec.roles.msg.replicas"
        ));
    }
    let is_draining = view.conditions.iter().any(|it| it.is(condition::DRAINING));
    if is_draining && view.drains.is_empty() {
        lines.push("pods let their clients go, and nobody says which: look again".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::REMEDIES;

    /// The program text below a folder.
    fn text(folder: &Path) -> String {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut all = String::new();
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                all.push_str(&text(&path));
            } else if path.extension().is_some_and(|it| it == "rs") {
                all.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
        all
    }

    #[test]
    fn every_reason_with_a_remedy_is_one_that_the_operator_gives() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../controller/src");
        let operator = text(Path::new(folder));
        for (reason, remedy) in REMEDIES {
            assert!(operator.contains(&format!("\"{reason}\"")), "{reason}");
            assert!(!remedy.ends_with('.') && !remedy.is_empty(), "{remedy}");
        }
    }
}
