//! What runs the pods.

use im_operator_api::{DeletionPolicy, labels};
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, ReplicaSet, ReplicaSetSpec,
    RollingUpdateDeployment, StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy,
    StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PodTemplateSpec, VolumeResourceRequirements,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;

use crate::object::{Owner, kept, label_selector, metadata, some, tag};
use crate::revision::Stored;
use crate::{Resolved, Role, names};

/// Seconds without progress after which a Deployment is reported as stuck.
const PROGRESS_DEADLINE: i32 = 600;

/// The Deployment of a role.
pub(crate) fn deployment(
    cluster: &Resolved,
    owner: &Owner,
    role: Role,
    stored: &Stored,
) -> Deployment {
    let name = names::component(&cluster.name, role);
    Deployment {
        metadata: workload_metadata(cluster, owner, name, role, stored),
        spec: Some(DeploymentSpec {
            replicas: Some(cluster.replicas(role)),
            selector: label_selector(cluster.selector(role)),
            template: stored.template.clone(),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::String("25%".to_owned())),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            revision_history_limit: Some(cluster.spec.operation.revision_history_limit),
            progress_deadline_seconds: Some(PROGRESS_DEADLINE),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// The StatefulSet of a role, with the volume that each of its pods has.
pub(crate) fn stateful_set(
    cluster: &Resolved,
    owner: &Owner,
    role: Role,
    stored: &Stored,
) -> StatefulSet {
    let name = names::component(&cluster.name, role);
    let when_deleted = match cluster.spec.operation.deletion_policy {
        DeletionPolicy::Retain => "Retain",
        DeletionPolicy::Delete => "Delete",
    };
    StatefulSet {
        metadata: workload_metadata(cluster, owner, name.clone(), role, stored),
        spec: Some(StatefulSetSpec {
            replicas: Some(cluster.replicas(role)),
            selector: label_selector(cluster.selector(role)),
            service_name: Some(name),
            // Otherwise a pod that never gets ready is not replaced by one of another revision.
            pod_management_policy: Some("Parallel".to_owned()),
            template: stored.template.clone(),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: None,
            }),
            revision_history_limit: Some(cluster.spec.operation.revision_history_limit),
            persistent_volume_claim_retention_policy: Some(
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: Some(when_deleted.to_owned()),
                    when_scaled: Some("Retain".to_owned()),
                },
            ),
            volume_claim_templates: some(claims(cluster, role)),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn claims(cluster: &Resolved, role: Role) -> Vec<PersistentVolumeClaim> {
    let Some(volume) = cluster.volume(role) else {
        return Vec::new();
    };
    vec![PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some("data".to_owned()),
            labels: Some(BTreeMap::from([
                (labels::NAME.to_owned(), labels::APP.to_owned()),
                (labels::CLUSTER.to_owned(), cluster.name.clone()),
                (labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned()),
            ])),
            annotations: Some(kept()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([(
                    "storage".to_owned(),
                    Quantity(volume.size),
                )])),
                ..VolumeResourceRequirements::default()
            }),
            storage_class_name: some(volume.storage_class_name),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }]
}

/// The ReplicaSet of a revision of msg.
pub(crate) fn replica_set(
    cluster: &Resolved,
    owner: &Owner,
    revision: &str,
    template: &PodTemplateSpec,
    replicas: i32,
) -> ReplicaSet {
    let role = Role::MSG;
    let name = names::revision(&cluster.name, role, revision);
    let mut metadata = metadata(cluster, owner, name, Some(role));
    tag(&mut metadata.labels, labels::REVISION, revision);
    let mut selector = cluster.selector(role);
    selector.insert(labels::REVISION.to_owned(), revision.to_owned());
    let mut template = template.clone();
    let meta = template.metadata.get_or_insert_default();
    tag(&mut meta.labels, labels::REVISION, revision);
    ReplicaSet {
        metadata,
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            selector: label_selector(selector),
            template: Some(template),
            ..ReplicaSetSpec::default()
        }),
        ..ReplicaSet::default()
    }
}

/// The budget for evictions of a role's pods, of all its revisions together.
pub(crate) fn disruption_budget(
    cluster: &Resolved,
    owner: &Owner,
    role: Role,
) -> Option<PodDisruptionBudget> {
    let pdb = cluster.pdb(role)?;
    let name = names::component(&cluster.name, role);
    Some(PodDisruptionBudget {
        metadata: metadata(cluster, owner, name, Some(role)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(pdb.max_unavailable)),
            selector: Some(label_selector(cluster.selector(role))),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    })
}

fn workload_metadata(
    cluster: &Resolved,
    owner: &Owner,
    name: String,
    role: Role,
    stored: &Stored,
) -> ObjectMeta {
    let mut metadata = metadata(cluster, owner, name, Some(role));
    tag(
        &mut metadata.annotations,
        labels::INPUTS_HASH,
        &stored.inputs_hash,
    );
    metadata
}
