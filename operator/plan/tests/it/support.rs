//! Manifests and what becomes of them.

use im_operator_api::ImCluster;
use im_operator_api::testing::Manifest;
use im_operator_plan::{Child, Desired, Owner, Resolved, Settings, SpecError, Templates, build};
use k8s_openapi::api::apps::v1::ControllerRevision;
use serde::Deserialize;
use serde_json::{Value, json};

/// An ImCluster as a manifest has it.
pub(crate) fn read(manifest: &Manifest) -> ImCluster {
    cluster_of(serde_saphyr::from_str(&manifest.documents[0]).unwrap())
}

fn cluster_of(mut value: Value) -> ImCluster {
    value["metadata"]["namespace"] = json!("chat");
    ImCluster::deserialize(value).unwrap()
}

/// A cluster with these fields of the specification.
pub(crate) fn cluster(mut spec: Value) -> ImCluster {
    if spec["version"].is_null() {
        spec["version"] = json!("0.1.0");
    }
    cluster_of(json!({
        "apiVersion": "imcluster.io/v1alpha1",
        "kind": "ImCluster",
        "metadata": {"name": "demo"},
        "spec": spec,
    }))
}

pub(crate) fn resolve(spec: Value) -> Resolved {
    validate(&cluster(spec)).unwrap()
}

pub(crate) fn validate(cluster: &ImCluster) -> Result<Resolved, Vec<SpecError>> {
    im_operator_plan::validate::validate(cluster, &Settings::default())
}

pub(crate) fn owner() -> Owner {
    Owner {
        name: "demo".to_owned(),
        uid: "5e3c".to_owned(),
    }
}

pub(crate) fn built(cluster: &Resolved) -> Desired {
    build::build(cluster, &owner(), &Templates::default())
}

/// The child of this kind and name, as JSON.
pub(crate) fn child(desired: &Desired, kind: &str, name: &str) -> Option<Value> {
    let mut children = desired.children.iter().map(|planned| &planned.child);
    let found = children.find(|child| child.kind() == kind && child.name() == name);
    found.map(|child| child.to_json().unwrap())
}

pub(crate) fn of_kind<'a>(desired: &'a Desired, kind: &str) -> Vec<&'a str> {
    let children = desired.children.iter().map(|planned| &planned.child);
    let of_kind = children.filter(|child| child.kind() == kind);
    of_kind.map(Child::name).collect()
}

/// The pod templates by role: what must not change lest pods be replaced.
pub(crate) fn templates(desired: &Desired) -> Vec<Value> {
    let mut templates: Vec<_> = desired
        .children
        .iter()
        .filter(|planned| matches!(planned.child, Child::Deployment(_) | Child::StatefulSet(_)))
        .map(|planned| planned.child.to_json().unwrap()["spec"]["template"].clone())
        .collect();
    templates.push(serde_json::to_value(&desired.msg.template).unwrap());
    templates
}

/// The revisions that are stored.
pub(crate) fn stored(desired: &Desired) -> Vec<ControllerRevision> {
    let children = desired.children.iter();
    let revisions = children.filter_map(|planned| match &planned.child {
        Child::ControllerRevision(revision) => Some(revision.clone()),
        _ => None,
    });
    revisions.collect()
}
