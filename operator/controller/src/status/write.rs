//! Writes a status when it says something new.

use im_operator_api::{ImCluster, ImClusterStatus, labels};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::json;

use crate::apply::ApplyError;
use crate::cache::ClusterKey;

/// Whether two statuses differ in more than when something was read.
pub(crate) fn differs(new: &ImClusterStatus, old: &ImClusterStatus) -> bool {
    timeless(new) != timeless(old)
}

/// Whether a condition turned, or what is written is of another specification: that is told at once.
pub(crate) fn turns(new: &ImClusterStatus, old: &ImClusterStatus) -> bool {
    let turned = new.conditions.iter().any(|condition| {
        let before = old.conditions.iter().find(|it| it.type_ == condition.type_);
        before.is_some_and(|before| before.status != condition.status)
    });
    turned || new.observed_generation != old.observed_generation
}

fn timeless(status: &ImClusterStatus) -> ImClusterStatus {
    let mut status = status.clone();
    if let Some(msg) = status.roles.as_mut().and_then(|roles| roles.msg.as_mut()) {
        msg.load_reported_at = None;
    }
    status
}

/// Writes the status of a cluster.
pub(crate) async fn write(
    client: &Client,
    cluster: &ClusterKey,
    uid: &str,
    status: &ImClusterStatus,
) -> Result<(), ApplyError> {
    // The answer is the whole object, which may be one that cannot be parsed.
    let resource = ApiResource::erase::<ImCluster>(&());
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &cluster.namespace, &resource);
    let body = json!({
        "apiVersion": "imcluster.io/v1alpha1",
        "kind": "ImCluster",
        // A new object of the same name is not meant.
        "metadata": {"name": cluster.name, "namespace": cluster.namespace, "uid": uid},
        "status": status,
    });
    let parameters = PatchParams::apply(labels::STATUS_MANAGER).force();
    api.patch_status(&cluster.name, &parameters, &Patch::Apply(&body))
        .await
        .map(drop)
        .map_err(|error| ApplyError::Api {
            verb: "write",
            what: format!("status of ImCluster {}", cluster.name),
            source: Box::new(error),
        })
}
