//! The planner's actions as writes. Each write names UID and resourceVersion of the object as it
//! was observed, so that a stale view cannot act twice: the API server refuses, and the next look
//! plans again.

use im_operator_api::{ORDERS_ANNOTATION, labels};
use im_operator_plan::msg::{Action, ObjectRef, Order, PodId, REMOVAL_COST};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::SLOT_POD;
use crate::apply::{Applier, ApplyError, Wanted, creation, owning};
use crate::cache::Children;
use crate::cache::views::DELETION_COST;
use crate::expectations::Expectations;
use crate::kinds::Kind;
use crate::ownership::MANAGER;
use crate::prune;
use crate::recorder::Reason;

/// What the builders make for the actions.
pub(crate) trait Manifests: Sync {
    /// The ReplicaSet of a revision, without `replicas`; `None` if its template is not known.
    fn replica_set(&self, revision: &str) -> Option<Value>;
    /// The Service of a slot, selecting every msg pod.
    fn slot(&self, index: u32) -> Value;
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// Written; with what to tell.
    Written(Option<(Reason, String)>),
    /// Nothing was to be done.
    Needless,
    /// The object had changed; plan again.
    Stale,
    /// Another's object has the name.
    Foreign(String),
}

/// Executes actions for one cluster.
#[derive(Clone, Copy)]
pub(crate) struct Executor<'a> {
    pub(crate) applier: Applier<'a>,
    pub(crate) manifests: &'a dyn Manifests,
    pub(crate) children: &'a Children,
}

impl Executor<'_> {
    /// Does one action.
    ///
    /// What was written is noted in `expectations`, also when a later part of the action failed.
    pub(crate) async fn execute(
        &self,
        action: &Action,
        now: Timestamp,
        expectations: &mut Expectations,
    ) -> Result<Done, ApplyError> {
        match self.try_execute(action, now, expectations).await {
            Err(error)
                if error
                    .status()
                    .is_some_and(|it| it.is_conflict() || it.is_not_found()) =>
            {
                Ok(Done::Stale)
            }
            result => result,
        }
    }

    async fn try_execute(
        &self,
        action: &Action,
        now: Timestamp,
        noted: &mut Expectations,
    ) -> Result<Done, ApplyError> {
        match action {
            Action::CreateReplicaSet { revision, replicas } => {
                self.create_replica_set(revision, *replicas, noted).await
            }
            Action::Scale {
                replica_set,
                from,
                to,
            } => {
                let spec = json!({"spec": {"replicas": to}});
                self.patch(Kind::ReplicaSet, replica_set, spec, noted)
                    .await?;
                let (reason, word) = if to > from {
                    (Reason::ScaledUp, "up")
                } else {
                    (Reason::ScaledDown, "down")
                };
                let note = format!(
                    "Scaled {word} ReplicaSet {} from {from} to {to}",
                    replica_set.name
                );
                Ok(Done::Written(Some((reason, note))))
            }
            Action::DeleteReplicaSet { replica_set } => {
                let ObjectRef { name, uid, .. } = replica_set;
                prune::delete(&self.applier, Kind::ReplicaSet, name, uid).await?;
                noted.deleted(Kind::ReplicaSet, name);
                Ok(Done::Written(None))
            }
            Action::EnsureSlot { index } => self.ensure_slot(*index, noted).await,
            Action::BindSlot {
                index,
                service,
                pod,
            } => self.bind(*index, service, pod, noted).await,
            Action::UnbindSlot {
                index,
                service,
                was,
            } => self.unbind(*index, service, was.as_ref(), now, noted).await,
            Action::MarkSlot { index, service } => {
                let manifest = unused_manifest(self.manifests.slot(*index), now);
                self.apply_service(manifest, service, noted).await?;
                Ok(Done::Written(None))
            }
            Action::ReleaseSlot { index, service } => {
                let ObjectRef { name, .. } = service;
                prune::delete_as_seen(&self.applier, Kind::Service, service).await?;
                noted.deleted(Kind::Service, name);
                let note = format!("Slot {index} is given back: no pod needs Service {name}");
                Ok(Done::Written(Some((Reason::SlotReleased, note))))
            }
            Action::SetEndpoint { pod, endpoint } => {
                self.annotate(pod, json!({labels::EXTERNAL_ENDPOINT: endpoint}), noted)
                    .await?;
                let note = format!("Pod {} is reached at {endpoint}", pod.name);
                Ok(Done::Written(Some((Reason::SlotAddressReady, note))))
            }
            Action::CommitDrain { pod, reason } => {
                let annotations = json!({
                    labels::DRAINING: now.to_string(),
                    labels::DRAIN_REASON: reason.as_str(),
                    DELETION_COST: REMOVAL_COST.to_string(),
                });
                self.annotate(pod, annotations, noted).await?;
                let note = format!("Pod {} is to go: {}", pod.name, reason.as_str());
                Ok(Done::Written(Some((Reason::DrainStarted, note))))
            }
            Action::SetOrder { pod, order } => self.order(pod, *order, noted).await,
            Action::CancelDrain { pod } => {
                let annotations = json!({
                    ORDERS_ANNOTATION: null,
                    labels::DRAINING: null,
                    labels::DRAIN_REASON: null,
                    DELETION_COST: null,
                });
                self.annotate(pod, annotations, noted).await?;
                let note = format!("Pod {} stays after all", pod.name);
                Ok(Done::Written(Some((Reason::DrainCancelled, note))))
            }
        }
    }

    /// Asks a server for something, or takes that back. A rate that changes is no news.
    async fn order(
        &self,
        pod: &ObjectRef,
        order: Option<Order>,
        noted: &mut Expectations,
    ) -> Result<Done, ApplyError> {
        let known = self.children.get(Kind::Pod, &pod.name);
        let known = known.and_then(|entry| entry.detail.pod());
        let before = known.and_then(|view| view.annotations.get(ORDERS_ANNOTATION));
        let before: Option<Order> = before.and_then(|text| text.parse().ok());
        let text = order.map(|order| order.to_string());
        self.annotate(pod, json!({ORDERS_ANNOTATION: text}), noted)
            .await?;
        let name = &pod.name;
        Ok(Done::Written(match (before, order) {
            (_, Some(Order::Shed { sessions, .. })) => {
                let note = format!("Pod {name} has too many clients: {sessions} go elsewhere");
                Some((Reason::Rebalancing, note))
            }
            (None | Some(Order::Shed { .. }), Some(Order::Drain { per_second, .. })) => {
                let note = format!("Pod {name} is emptied, {per_second} sessions a second");
                Some((Reason::DrainStarted, note))
            }
            (Some(Order::Drain { .. }), None) => {
                let note = format!("Pod {name} is not emptied any more");
                Some((Reason::DrainCancelled, note))
            }
            (Some(Order::Drain { .. }), Some(Order::Drain { .. })) | (_, None) => None,
        }))
    }

    async fn create_replica_set(
        &self,
        revision: &str,
        replicas: u32,
        noted: &mut Expectations,
    ) -> Result<Done, ApplyError> {
        let Some(manifest) = self.manifests.replica_set(revision) else {
            return Ok(Done::Needless);
        };
        // The hash is that of the object without `replicas`, which is no matter of drift.
        let Wanted {
            name, mut value, ..
        } = Wanted::new(manifest)?;
        if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("replicas".to_owned(), json!(replicas));
        }
        let object: DynamicObject =
            serde_json::from_value(value).map_err(|source| ApplyError::Json {
                what: format!("ReplicaSet {name}"),
                source,
            })?;
        let sets = self.applier.api(Kind::ReplicaSet);
        match sets.create(&creation(), &object).await {
            Ok(created) => {
                let version = created.resource_version().unwrap_or_default();
                noted.written(Kind::ReplicaSet, &name, &version, true);
                let note = format!("Created ReplicaSet {name} with {replicas} pods");
                Ok(Done::Written(Some((Reason::RolloutStarted, note))))
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                // Seen already: somebody else's. Not seen yet: ours, or somebody else's without
                // our labels.
                self.owner_of_unseen(Kind::ReplicaSet, &name).await
            }
            Err(error) => Err(ApplyError::api("create", Kind::ReplicaSet, &name, error)),
        }
    }

    async fn owner_of_unseen(&self, kind: Kind, name: &str) -> Result<Done, ApplyError> {
        let live = self.applier.api(kind).get_opt(name).await;
        let live = live.map_err(|error| ApplyError::api("read", kind, name, error))?;
        let foreign = live.is_some_and(|live| {
            crate::ownership::controller(&live.metadata) != Some(self.applier.uid)
        });
        Ok(if foreign {
            Done::Foreign(format!("{} {name}", kind.as_str()))
        } else {
            Done::Stale
        })
    }

    async fn ensure_slot(&self, index: u32, noted: &mut Expectations) -> Result<Done, ApplyError> {
        let wanted = Wanted::new(self.manifests.slot(index))?;
        let entry = self.children.get(Kind::Service, &wanted.name);
        let mut verified = crate::apply::Verified::new();
        match self.applier.ensure(&wanted, entry, &mut verified).await? {
            crate::apply::Ensured::Foreign => Ok(Done::Foreign(format!("Service {}", wanted.name))),
            crate::apply::Ensured::Unchanged | crate::apply::Ensured::Deleting => {
                Ok(Done::Needless)
            }
            _ => {
                let proof = verified.get(&(Kind::Service, wanted.name.clone()));
                if let Some(version) = proof.and_then(crate::apply::Proof::written) {
                    noted.written(Kind::Service, &wanted.name, version, true);
                }
                Ok(Done::Written(None))
            }
        }
    }

    async fn bind(
        &self,
        index: u32,
        service: &ObjectRef,
        pod: &ObjectRef,
        noted: &mut Expectations,
    ) -> Result<Done, ApplyError> {
        let holder = PodId {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
        };
        let mut service = service.clone();
        if self.holder_text(&service.name) != Some(format!("{}/{}", holder.name, holder.uid)) {
            let manifest = slot_manifest(self.manifests.slot(index), index, Some(&holder), false);
            service.resource_version = self.apply_service(manifest, &service, noted).await?;
        }
        let labelled = self
            .children
            .get(Kind::Pod, &pod.name)
            .and_then(|entry| entry.detail.pod())
            .and_then(|view| view.labels.get(labels::SLOT))
            .is_some_and(|slot| *slot == index.to_string());
        if !labelled {
            let label = json!({"metadata": {"labels": {labels::SLOT: index.to_string()}}});
            self.patch(Kind::Pod, pod, label, noted).await?;
        }
        let manifest = slot_manifest(self.manifests.slot(index), index, Some(&holder), true);
        self.apply_service(manifest, &service, noted).await?;
        Ok(Done::Written(None))
    }

    async fn unbind(
        &self,
        index: u32,
        service: &ObjectRef,
        was: Option<&PodId>,
        now: Timestamp,
        noted: &mut Expectations,
    ) -> Result<Done, ApplyError> {
        if let Some(was) = was {
            let pods: Api<Pod> =
                Api::namespaced(self.applier.client.clone(), &self.applier.cluster.namespace);
            let pod = pods
                .get_opt(&was.name)
                .await
                .map_err(|error| ApplyError::api("read", Kind::Pod, &was.name, error))?;
            if pod.is_some_and(|pod| still_holds(&pod, was, index)) {
                return Ok(Done::Needless);
            }
        }
        let manifest = unused_manifest(self.manifests.slot(index), now);
        self.apply_service(manifest, service, noted).await?;
        Ok(Done::Written(None))
    }

    /// The holder annotation of a Service as observed.
    fn holder_text(&self, service: &str) -> Option<String> {
        let entry = self.children.get(Kind::Service, service)?;
        entry.detail.service()?.annotations.get(SLOT_POD).cloned()
    }

    /// Applies a slot's Service onto the object as observed. Returns its new version.
    async fn apply_service(
        &self,
        manifest: Value,
        seen: &ObjectRef,
        noted: &mut Expectations,
    ) -> Result<String, ApplyError> {
        let Wanted {
            name, mut value, ..
        } = Wanted::new(manifest)?;
        let created = self.children.get(Kind::Service, &name);
        let created = created
            .is_some_and(|entry| entry.seen.created && entry.version == seen.resource_version);
        let mut seen = seen.clone();
        if created {
            let version = Some(seen.resource_version.as_str());
            let now = self
                .applier
                .as_if_applied(Kind::Service, &name, &seen.uid, version)
                .await?;
            seen.resource_version = now.unwrap_or(seen.resource_version);
        }
        precondition(&mut value, &seen);
        let parameters = PatchParams::apply(MANAGER).force();
        let written = self
            .applier
            .api(Kind::Service)
            .patch(&name, &parameters, &Patch::Apply(&value))
            .await
            .map_err(|error| ApplyError::api("apply", Kind::Service, &name, error))?;
        let version = written.resource_version().unwrap_or_default();
        noted.written(Kind::Service, &name, &version, false);
        Ok(version)
    }

    async fn annotate(
        &self,
        pod: &ObjectRef,
        annotations: Value,
        noted: &mut Expectations,
    ) -> Result<(), ApplyError> {
        let patch = json!({"metadata": {"annotations": annotations}});
        self.patch(Kind::Pod, pod, patch, noted).await
    }

    async fn patch(
        &self,
        kind: Kind,
        seen: &ObjectRef,
        mut patch: Value,
        noted: &mut Expectations,
    ) -> Result<(), ApplyError> {
        precondition(&mut patch, seen);
        let written = self
            .applier
            .api(kind)
            .patch(&seen.name, &owning(), &Patch::Merge(&patch))
            .await
            .map_err(|error| ApplyError::api("patch", kind, &seen.name, error))?;
        let version = written.resource_version().unwrap_or_default();
        noted.written(kind, &seen.name, &version, false);
        Ok(())
    }
}

/// Makes a write fail if the object is another one or has changed.
fn precondition(value: &mut Value, seen: &ObjectRef) {
    let Some(object) = value.as_object_mut() else {
        return;
    };
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("uid".to_owned(), json!(seen.uid));
        metadata.insert("resourceVersion".to_owned(), json!(seen.resource_version));
    }
}

/// The Service of a slot with its holder; bound, it selects the pod with the slot's label only.
pub(crate) fn slot_manifest(
    mut base: Value,
    index: u32,
    holder: Option<&PodId>,
    bound: bool,
) -> Value {
    if let Some(holder) = holder {
        let text = format!("{}/{}", holder.name, holder.uid);
        annotate(&mut base, SLOT_POD, text);
    }
    if let (true, Some(selector)) = (
        bound,
        base.pointer_mut("/spec/selector")
            .and_then(Value::as_object_mut),
    ) {
        selector.insert(labels::SLOT.to_owned(), json!(index.to_string()));
    }
    base
}

/// The Service of a slot without a holder, which was last used at this time.
pub(crate) fn unused_manifest(mut base: Value, since: Timestamp) -> Value {
    annotate(&mut base, labels::UNUSED_SINCE, since.to_string());
    base
}

fn annotate(object: &mut Value, key: &str, text: String) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(key.to_owned(), Value::String(text));
    }
}

/// Whether a pod may still serve connections of a slot.
fn still_holds(pod: &Pod, was: &PodId, index: u32) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    let slot = pod.labels().get(labels::SLOT);
    pod.uid().as_deref() == Some(&was.uid)
        && !matches!(phase, Some("Succeeded" | "Failed"))
        && slot.is_none_or(|slot| *slot == index.to_string())
}

#[cfg(test)]
mod tests;
