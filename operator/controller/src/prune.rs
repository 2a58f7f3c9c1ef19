//! Deletes children that are not wanted any more.
//!
//! Only objects that this very ImCluster controls, by UID, and that carry our label, which is how
//! the watches found them. Slots and ReplicaSets are the planner's, ControllerRevisions have a history of
//! their own.

use std::collections::HashSet;

use im_operator_api::labels;
use im_operator_plan::msg::ObjectRef;
use kube::api::{DeleteParams, Preconditions, PropagationPolicy};
use tracing::info;

use crate::apply::{Applier, ApplyError};
use crate::cache::{Children, Entry};
use crate::kinds::Kind;

/// Kinds of which a change of the specification can make some superfluous, in the order in which they go:
/// what keeps pods running before what they need. Of all others the same ones are always wanted.
const PRUNED: [Kind; 8] = [
    Kind::Deployment,
    Kind::StatefulSet,
    Kind::PodDisruptionBudget,
    Kind::EndpointSlice,
    Kind::Service,
    Kind::NetworkPolicy,
    Kind::ConfigMap,
    Kind::ServiceAccount,
];

/// Deletes what is owned and not in `wanted`. Returns what was deleted.
pub(crate) async fn prune(
    applier: &Applier<'_>,
    children: &Children,
    wanted: &HashSet<(Kind, String)>,
) -> Result<Vec<String>, ApplyError> {
    let mut deleted = Vec::new();
    let pruned = PRUNED.iter().flat_map(|kind| {
        let of_kind = children.of(*kind);
        of_kind.map(|(name, entry)| (*kind, name, entry))
    });
    for (kind, name, entry) in pruned {
        let keep = is_slot(entry)
            || entry.seen.deleting
            || entry.seen.controller.as_deref() != Some(applier.uid)
            || wanted.contains(&(kind, name.to_owned()));
        if !keep {
            delete(applier, kind, name, &entry.seen.uid).await?;
            deleted.push(format!("{} {name}", kind.as_str()));
        }
    }
    Ok(deleted)
}

/// Deletes the object with this name if it still has this UID, and what depends on it.
pub(crate) async fn delete(
    applier: &Applier<'_>,
    kind: Kind,
    name: &str,
    uid: &str,
) -> Result<(), ApplyError> {
    let policy = PropagationPolicy::Background;
    let deleted = delete_and(applier, kind, name, uid, None, policy).await;
    settled(deleted)
}

/// Deletes an object if it is still as it was seen.
///
/// # Errors
/// What the API server says, that it has changed included.
pub(crate) async fn delete_as_seen(
    applier: &Applier<'_>,
    kind: Kind,
    seen: &ObjectRef,
) -> Result<(), ApplyError> {
    let version = Some(seen.resource_version.clone());
    let policy = PropagationPolicy::Background;
    delete_and(applier, kind, &seen.name, &seen.uid, version, policy).await
}

/// Deletes the object with this name if it still has this UID, and leaves what depends on it, such
/// as its pods, alone: an object of the same name takes that up.
pub(crate) async fn orphan(
    applier: &Applier<'_>,
    kind: Kind,
    name: &str,
    uid: &str,
) -> Result<(), ApplyError> {
    let policy = PropagationPolicy::Orphan;
    let deleted = delete_and(applier, kind, name, uid, None, policy).await;
    settled(deleted)
}

/// What is gone, or another object by now, needs no deletion.
fn settled(deleted: Result<(), ApplyError>) -> Result<(), ApplyError> {
    match deleted {
        Err(error)
            if error
                .status()
                .is_some_and(|status| status.is_not_found() || status.is_conflict()) =>
        {
            Ok(())
        }
        deleted => deleted,
    }
}

async fn delete_and(
    applier: &Applier<'_>,
    kind: Kind,
    name: &str,
    uid: &str,
    version: Option<String>,
    propagation: PropagationPolicy,
) -> Result<(), ApplyError> {
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: version,
        }),
        propagation_policy: Some(propagation),
        ..DeleteParams::default()
    };
    match applier.api(kind).delete(name, &parameters).await {
        Ok(_) => {
            let namespace = &applier.cluster.namespace;
            info!(namespace, kind = kind.as_str(), name, "deleted");
            Ok(())
        }
        Err(error) => Err(ApplyError::api("delete", kind, name, error)),
    }
}

fn is_slot(entry: &Entry) -> bool {
    entry
        .detail
        .service()
        .is_some_and(|service| service.labels.contains_key(labels::SLOT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::ClusterKey;
    use crate::cache::views::{Detail, ServiceView};
    use crate::ownership::Seen;
    use crate::testing;
    use serde_json::json;

    fn entry(uid: &str, owner: &str, slot: bool) -> Entry {
        let metadata = json!({"uid": uid, "ownerReferences": [{"apiVersion": "v", "kind": "ImCluster",
            "name": "demo", "uid": owner, "controller": true}]});
        let mut service = ServiceView::default();
        if slot {
            service
                .labels
                .insert(labels::SLOT.to_owned(), "0".to_owned());
        }
        Entry {
            seen: Seen::read(&serde_json::from_value(metadata).unwrap()),
            version: "1".to_owned(),
            detail: Detail::Service(Box::new(service)),
        }
    }

    #[tokio::test]
    async fn only_unwanted_objects_of_this_very_cluster_are_deleted() {
        let mut children = Children::default();
        children.insert(Kind::Service, "demo-login", entry("1", "u", false));
        children.insert(Kind::Service, "demo-old", entry("2", "u", false));
        children.insert(Kind::Service, "demo-msg-slot-0", entry("3", "u", true));
        children.insert(Kind::Service, "demo-foreign", entry("4", "another", false));
        children.insert(Kind::Pod, "demo-msg-x", entry("5", "u", false));
        let (client, log) = testing::server(|_| (200, json!({"metadata": {}})));
        let cluster = ClusterKey {
            namespace: "chat".to_owned(),
            name: "demo".to_owned(),
        };
        let applier = Applier {
            client: &client,
            cluster: &cluster,
            uid: "u",
        };
        let wanted = HashSet::from([(Kind::Service, "demo-login".to_owned())]);
        let deleted = prune(&applier, &children, &wanted).await.unwrap();
        assert_eq!(deleted, ["Service demo-old"]);
        let asked = log.take();
        assert_eq!(
            asked[0].line(),
            "DELETE /api/v1/namespaces/chat/services/demo-old"
        );
        assert_eq!(asked[0].body["preconditions"]["uid"], "2");
        assert_eq!(asked.len(), 1);
    }

    /// The right to delete is asked for where it is needed only, so another kind of workload brings its own.
    #[test]
    fn what_runs_a_role_that_may_go_is_deleted_with_it() {
        let roles = im_role::TABLE.roles.iter();
        for role in roles.filter(|role| role.optional) {
            let kind = match role.kubernetes.workload {
                im_role::Workload::StatefulSet => Kind::StatefulSet,
                im_role::Workload::Deployment => Kind::Deployment,
                im_role::Workload::Planned => Kind::ReplicaSet,
            };
            let (prunes, kind) = (PRUNED.contains(&kind), kind.as_str());
            assert!(
                prunes,
                "add {kind} for {role} here, and its deletion in rbac.rs"
            );
        }
    }
}
