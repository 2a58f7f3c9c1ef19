//! What `metadata.managedFields` tells: whether anybody has changed what this operator applied.
//!
//! When another manager changes a field, the API server takes the field out of our entry. So as
//! long as our entry names the same fields as after our last apply, nothing of ours was changed,
//! whatever else happened to the object. That is known from metadata alone, without reading the
//! object.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta};
use serde_json::{Value, json};

/// Field manager of everything that the operator applies, status aside.
pub(crate) const MANAGER: &str = im_operator_api::labels::MANAGER;

/// Annotation with a hash of what was applied last.
pub(crate) const APPLIED_HASH: &str = "imcluster.io/applied-hash";

/// What is known of an owned object from its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) uid: String,
    /// UID of the controlling owner.
    pub(crate) controller: Option<String>,
    /// Hash of what was applied last.
    pub(crate) applied: Option<String>,
    /// The fields that are ours now.
    pub(crate) ours: Option<Fields>,
    /// Some of them are ours because it was created with them: an apply that leaves them out does not
    /// take them away, until they are [`applied`].
    pub(crate) created: bool,
    /// Others are ours because they were applied, by an operator that did not know of this: what it left
    /// out is still there.
    pub(crate) mixed: bool,
    /// When another manager last changed the object, its status aside.
    pub(crate) others: Option<Timestamp>,
    /// It is being deleted.
    pub(crate) deleting: bool,
}

/// A set of fields that this operator owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    hash: [u8; 16],
    since: Option<Timestamp>,
}

impl Fields {
    /// Whether two readings name the same fields.
    pub(crate) fn same_set(self, other: Self) -> bool {
        self.hash == other.hash
    }
}

impl Seen {
    pub(crate) fn read(metadata: &ObjectMeta) -> Self {
        let entries = metadata.managed_fields.as_deref().unwrap_or_default();
        let whole = |entry: &&ManagedFieldsEntry| entry.subresource.is_none();
        let is_ours = |entry: &&ManagedFieldsEntry| entry.manager.as_deref() == Some(MANAGER);
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            controller: controller(metadata).map(str::to_owned),
            applied: metadata
                .annotations
                .as_ref()
                .and_then(|annotations| annotations.get(APPLIED_HASH))
                .cloned(),
            ours: digest(entries.iter().filter(whole).filter(is_ours)),
            created: entries.iter().filter(whole).filter(is_ours).any(is_update),
            mixed: {
                let ours = || entries.iter().filter(whole).filter(is_ours);
                ours().any(is_update) && !ours().all(is_update)
            },
            others: entries
                .iter()
                .filter(|entry| entry.subresource.as_deref() != Some("status"))
                .filter(|entry| !is_ours(entry))
                .filter_map(|entry| entry.time.as_ref().map(|time| time.0))
                .max(),
            deleting: metadata.deletion_timestamp.is_some(),
        }
    }

    /// Whether somebody else may have changed it after our last apply. Times have whole seconds,
    /// so a change within the same second counts.
    pub(crate) fn may_be_changed(&self) -> bool {
        let Some(ours) = self.ours else { return true };
        match (ours.since, self.others) {
            (_, None) => false,
            (Some(since), Some(others)) => others >= since,
            (None, Some(_)) => true,
        }
    }
}

impl Seen {
    /// When this operator last changed it, its status aside.
    pub(crate) fn changed_by_us(&self) -> Option<Timestamp> {
        self.ours.and_then(|fields| fields.since)
    }
}

fn is_update(entry: &ManagedFieldsEntry) -> bool {
    entry.operation.as_deref() == Some("Update")
}

/// A merge patch that makes what this operator created an object with as if it had applied it; `None` if
/// there is nothing of that kind.
pub(crate) fn applied(metadata: &ObjectMeta) -> Option<Value> {
    let (mut rest, mut ours) = (Vec::new(), Vec::new());
    for entry in metadata.managed_fields.iter().flatten() {
        let is_ours = entry.manager.as_deref() == Some(MANAGER) && entry.subresource.is_none();
        if is_ours { &mut ours } else { &mut rest }.push(entry.clone());
    }
    if !ours.iter().any(is_update) {
        return None;
    }
    let time = ours.iter().filter_map(|entry| entry.time.clone()).max();
    let mut sets = ours.iter().filter_map(|entry| entry.fields_v1.as_ref());
    let mut fields = sets.next().map_or_else(|| json!({}), |set| set.0.clone());
    for FieldsV1(more) in sets {
        unite(&mut fields, more);
    }
    let mut entry = ours.into_iter().next()?;
    entry.operation = Some("Apply".to_owned());
    entry.fields_v1 = Some(FieldsV1(fields));
    entry.time = time;
    rest.push(entry);
    Some(json!({"metadata": {
        // Another object of this name, or one that has changed, is a conflict.
        "uid": metadata.uid,
        "resourceVersion": metadata.resource_version,
        "managedFields": rest,
    }}))
}

/// Adds a set of fields to another; both are trees of their names. One without names below it is a field
/// itself, which a tree with some says by a dot.
fn unite(all: &mut Value, more: &Value) {
    let (Some(all), Some(more)) = (all.as_object_mut(), more.as_object()) else {
        return;
    };
    if all.is_empty() != more.is_empty() {
        all.insert(".".to_owned(), json!({}));
    }
    for (name, inner) in more {
        match all.get_mut(name) {
            Some(known) => unite(known, inner),
            None => drop(all.insert(name.clone(), inner.clone())),
        }
    }
}

/// UID of the owner that controls an object.
pub(crate) fn controller(metadata: &ObjectMeta) -> Option<&str> {
    metadata
        .owner_references
        .as_deref()?
        .iter()
        .find(|owner| owner.controller == Some(true))
        .map(|owner| owner.uid.as_str())
}

fn digest<'a>(entries: impl Iterator<Item = &'a ManagedFieldsEntry>) -> Option<Fields> {
    let mut hasher = blake3::Hasher::new();
    let mut since = None;
    let mut any = false;
    for entry in entries {
        any = true;
        since = since.max(entry.time.as_ref().map(|time| time.0));
        hasher.update(entry.operation.as_deref().unwrap_or_default().as_bytes());
        if let Some(fields) = &entry.fields_v1 {
            // serde_json keeps object keys sorted, so equal sets have equal text.
            hasher.update(fields.0.to_string().as_bytes());
        }
    }
    let whole = hasher.finalize();
    let hash = whole.as_bytes().first_chunk::<16>().copied()?;
    any.then_some(Fields { hash, since })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(entries: serde_json::Value) -> Seen {
        let metadata = json!({"uid": "u", "managedFields": entries});
        Seen::read(&serde_json::from_value(metadata).unwrap())
    }

    fn entry(
        manager: &str,
        operation: &str,
        time: &str,
        fields: serde_json::Value,
    ) -> serde_json::Value {
        json!({"manager": manager, "operation": operation, "time": time, "fieldsV1": fields})
    }

    #[test]
    fn a_field_that_another_took_changes_the_set() {
        let time = "2026-01-01T00:00:00Z";
        let before = read(json!([entry(
            MANAGER,
            "Apply",
            time,
            json!({"f:data": {"f:a": {}, "f:b": {}}})
        )]));
        let later = "2026-01-01T00:00:09Z";
        let after = read(json!([
            entry(MANAGER, "Apply", time, json!({"f:data": {"f:a": {}}})),
            entry(
                "kubectl-edit",
                "Update",
                later,
                json!({"f:data": {"f:b": {}}})
            ),
        ]));
        assert!(!before.ours.unwrap().same_set(after.ours.unwrap()));
        assert!(!before.may_be_changed());
        assert!(after.may_be_changed());
    }

    #[test]
    fn a_status_update_is_no_change() {
        let time = "2026-01-01T00:00:00Z";
        let ours = entry(MANAGER, "Apply", time, json!({"f:spec": {}}));
        let mut status = entry(
            "kube-controller-manager",
            "Update",
            "2026-01-02T00:00:00Z",
            json!({"f:status": {}}),
        );
        let before = read(json!([ours]));
        status["subresource"] = json!("status");
        let after = read(json!([ours, status]));
        assert_eq!(before, after);
        assert!(!after.may_be_changed());
    }

    #[test]
    fn what_was_created_becomes_what_was_applied_with_the_fields_of_both() {
        let time = "2026-01-01T00:00:00Z";
        let created = entry(
            MANAGER,
            "Update",
            time,
            json!({"f:data": {"f:a": {}, "f:b": {}}}),
        );
        let other = entry("kubectl", "Update", time, json!({"f:data": {"f:c": {}}}));
        let ours = entry(
            MANAGER,
            "Apply",
            "2026-01-01T00:00:09Z",
            json!({"f:data": {"f:b": {}, "f:d": {}}}),
        );
        let metadata = |entries: Value| -> ObjectMeta {
            let text = json!({"uid": "u", "resourceVersion": "7", "managedFields": entries});
            serde_json::from_value(text).unwrap()
        };
        let both = metadata(json!([created, other, ours]));
        assert!(Seen::read(&both).created);
        let patch = applied(&both).unwrap();
        let united = entry(
            MANAGER,
            "Apply",
            "2026-01-01T00:00:09Z",
            json!({"f:data": {"f:a": {}, "f:b": {}, "f:d": {}}}),
        );
        let expected = json!({"metadata": {"uid": "u", "resourceVersion": "7",
            "managedFields": [other, united]}});
        assert_eq!(patch, expected);
        let after = metadata(json!([other, united]));
        assert!(!Seen::read(&after).created);
        assert_eq!(applied(&after), None);
    }

    #[test]
    fn a_field_of_one_set_with_fields_below_it_in_the_other_stays_one() {
        let united = |left: Value, right: Value| {
            let mut all = left;
            unite(&mut all, &right);
            all
        };
        let whole = json!({"f:labels": {}});
        let parts = json!({"f:labels": {"f:a": {}}});
        let both = json!({"f:labels": {".": {}, "f:a": {}}});
        assert_eq!(united(whole.clone(), parts.clone()), both);
        assert_eq!(united(parts.clone(), whole.clone()), both);
        assert_eq!(united(both.clone(), parts.clone()), both);
        assert_eq!(united(parts.clone(), parts.clone()), parts);
        assert_eq!(united(whole.clone(), whole.clone()), whole);
    }
}
