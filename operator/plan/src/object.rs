//! Small parts of many objects.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Resolved, Role};

/// The ImCluster that owns the children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Name of the ImCluster.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Owner {
    /// The reference that stands in each child.
    pub fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: "imcluster.io/v1alpha1".to_owned(),
            kind: "ImCluster".to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(false),
        }
    }
}

/// Annotations of what has no owner: tools that apply manifests neither delete it nor take it for a
/// difference.
pub fn kept() -> BTreeMap<String, String> {
    [
        ("argocd.argoproj.io/sync-options", "Prune=false"),
        ("argocd.argoproj.io/compare-options", "IgnoreExtraneous"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// Metadata of a child; of a role's child when a role is given.
pub(crate) fn metadata(
    cluster: &Resolved,
    owner: &Owner,
    name: String,
    role: Option<Role>,
) -> ObjectMeta {
    let labels = role.map_or_else(|| cluster.labels(), |role| cluster.role_labels(role));
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(labels),
        owner_references: Some(vec![owner.reference()]),
        ..ObjectMeta::default()
    }
}

pub(crate) fn label_selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    }
}

/// `None` for what is empty, so that nothing is claimed that nobody asked for.
pub(crate) fn some<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

/// Adds a label or annotation.
pub(crate) fn tag(map: &mut Option<BTreeMap<String, String>>, key: &str, value: impl Into<String>) {
    map.get_or_insert_default()
        .insert(key.to_owned(), value.into());
}

/// Sets a field of an object.
pub(crate) fn put(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(fields) = object {
        fields.insert(key.to_owned(), value);
    }
}

/// Reads a value as a typed object of Kubernetes, and names the first field that the type lacks.
pub(crate) fn read<T: DeserializeOwned + Serialize>(value: &Value) -> Result<T, String> {
    let typed: T = serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
    let back = serde_json::to_value(&typed).map_err(|error| error.to_string())?;
    match lost(value, &back, "") {
        Some(path) => Err(format!("unknown field {}", path.trim_start_matches('.'))),
        None => Ok(typed),
    }
}

/// Path of the first part of `before` that is not in `after`.
fn lost(before: &Value, after: &Value, path: &str) -> Option<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            match after.get(key) {
                Some(after) => lost(value, after, &path),
                None if is_empty(value) => None,
                None => Some(path),
            }
        }),
        (Value::Array(before), Value::Array(after)) => before
            .iter()
            .zip(after)
            .enumerate()
            .find_map(|(n, (before, after))| lost(before, after, &format!("{path}[{n}]"))),
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodTemplateSpec;
    use serde_json::json;

    #[test]
    fn a_field_that_a_type_lacks_is_named() {
        let good = json!({"spec": {"containers": [{"name": "a", "tty": true}], "volumes": []}});
        read::<PodTemplateSpec>(&good).unwrap();
        let bad = json!({"spec": {"containers": [{"name": "a", "ttyy": true}]}});
        let error = read::<PodTemplateSpec>(&bad).unwrap_err();
        assert_eq!(error, "unknown field spec.containers[0].ttyy");
        let bad = json!({"spec": {"containers": [{"name": 7}]}});
        assert!(read::<PodTemplateSpec>(&bad).is_err());
    }
}
