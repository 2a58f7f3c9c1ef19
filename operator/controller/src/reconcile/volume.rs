//! The claims of volumes, which outlive their StatefulSets and the ImCluster, and may grow.
//!
//! The controller of StatefulSets makes the claim and never looks at it again. What grows a volume is
//! not in the operator's hands: it raises what the claim asks for, and tells how far that is.

use std::collections::BTreeMap;
use std::time::Duration;

use im_operator_api::labels;
use im_operator_plan::quantity::Quantity;
use im_operator_plan::{Role, kept, names};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::Patch;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Reconciliation, Trouble};
use crate::apply::{ApplyError, owning};
use crate::context::{ClaimMemory, Memory};
use crate::recorder::Reason;
use crate::status::Volume;

/// Claims are not watched: one that is to grow is read this often.
const AGAIN: Duration = Duration::from_secs(10);

impl Reconciliation<'_> {
    /// Makes the claims be as they should be: without the label by which tools that apply manifests would
    /// delete them, and as large as the specification says. One that needs nothing more is read once by
    /// each process, and after another size is asked for.
    pub(crate) async fn keep_claims(&self, memory: &mut Memory, trouble: &mut Trouble) {
        let with_volume = |role: &Role| self.cluster.volume(*role).is_some();
        memory.volumes.retain(|role, _| with_volume(role));
        for role in self.cluster.roles().into_iter().filter(with_volume) {
            self.claim(role, memory, trouble).await;
        }
    }

    async fn claim(&self, role: Role, memory: &mut Memory, trouble: &mut Trouble) {
        let wanted = self.cluster.volume(role).unwrap_or_default().size;
        let made = self.pods_of(role).next().is_some();
        let Memory { volumes, told, .. } = memory;
        let known = volumes.entry(role).or_default();
        let seen = known.wanted == wanted;
        if !made || seen && known.volume == Volume::LargeEnough {
            return;
        }
        let due = known.looked.is_none_or(|at| at.elapsed() >= AGAIN);
        let name = names::claim(&self.key.name, role);
        if due || !seen {
            match self.keep_claim(&name, &wanted).await {
                Ok(Some((volume, claim))) => {
                    // What the status tells of it needs no other look.
                    let unbound = volume == Volume::Unknown;
                    known.unbound = unbound.then(|| Box::new(claim));
                    known.volume = volume;
                    known.wanted = wanted;
                    known.looked = Some(Instant::now());
                }
                Ok(None) => {}
                Err(error) => trouble.errors.push(error),
            }
        }
        self.tell_volume(&name, known, &mut told.volumes).await;
        if matches!(known.volume, Volume::TooSmall { .. }) {
            let again = self.now.checked_add(AGAIN);
            trouble.wake(again.ok());
        }
    }

    /// Says what has become of a volume, once.
    async fn tell_volume(
        &self,
        claim: &str,
        known: &ClaimMemory,
        told: &mut BTreeMap<String, String>,
    ) {
        match &known.volume {
            Volume::TooSmall { reason, message } if told.get(claim) != Some(message) => {
                let reason = match *reason {
                    RESIZING | PENDING => Reason::VolumeGrowing,
                    _ => Reason::VolumeNotGrown,
                };
                self.record(reason, message).await;
                told.insert(claim.to_owned(), message.clone());
            }
            Volume::LargeEnough if told.remove(claim).is_some() => {
                let note = format!("the volume of {claim} has {}", known.wanted);
                self.record(Reason::VolumeGrown, &note).await;
            }
            _ => {}
        }
    }

    /// How all volumes are together.
    pub(crate) fn volumes(&self, memory: &Memory) -> Volume {
        let roles = self.cluster.roles().into_iter();
        let with_volume = roles.filter(|role| self.cluster.volume(*role).is_some());
        Volume::all(with_volume.map(|role| {
            let known = memory.volumes.get(&role);
            known.map(|known| known.volume.clone()).unwrap_or_default()
        }))
    }

    /// Makes the claim be as it should be, if it is there. Returns what it is then.
    async fn keep_claim(
        &self,
        name: &str,
        wanted: &str,
    ) -> Result<Option<(Volume, PersistentVolumeClaim)>, ApplyError> {
        let failed = |verb: &'static str| {
            let what = format!("PersistentVolumeClaim {name}");
            move |source: kube::Error| ApplyError::Api {
                verb,
                what,
                source: Box::new(source),
            }
        };
        let client = self.ctx.client.clone();
        let api: Api<PersistentVolumeClaim> = Api::namespaced(client, &self.key.namespace);
        let claim = api.get_opt(name).await.map_err(failed("read"))?;
        let Some(mut claim) = claim else {
            return Ok(None);
        };
        let parameters = owning();
        if let Some(change) = change(&claim, &self.key.name) {
            claim = api
                .patch(name, &parameters, &Patch::Merge(&change))
                .await
                .map_err(failed("patch"))?;
        }
        if must_grow(&claim, wanted) {
            let size = json!({
                "metadata": {"uid": claim.metadata.uid},
                "spec": {"resources": {"requests": {"storage": wanted}}},
            });
            match api.patch(name, &parameters, &Patch::Merge(&size)).await {
                Ok(grown) => claim = grown,
                // Retried without anybody's hand, and the rest of the installation is looked after.
                Err(kube::Error::Api(status)) if [403, 422].contains(&status.code) => {
                    let volume = refused(&claim, wanted, &status.message);
                    return Ok(Some((volume, claim)));
                }
                Err(error) => return Err(failed("patch")(error)),
            }
        }
        Ok(Some((progress(&claim, wanted), claim)))
    }
}

const RESIZING: &str = "Resizing";
const PENDING: &str = "FileSystemResizePending";

/// What the claim asks for.
fn asked(claim: &PersistentVolumeClaim) -> Option<&str> {
    let resources = claim.spec.as_ref()?.resources.as_ref()?;
    let size = resources.requests.as_ref()?.get("storage")?;
    Some(&size.0)
}

/// What the volume has.
fn has(claim: &PersistentVolumeClaim) -> Option<&str> {
    let size = claim.status.as_ref()?.capacity.as_ref()?.get("storage")?;
    Some(&size.0)
}

fn is_less(left: Option<&str>, right: &str) -> bool {
    let left = left.and_then(Quantity::parse);
    left.zip(Quantity::parse(right))
        .is_some_and(|(left, right)| left < right)
}

/// Whether the claim is to ask for more. One without a volume is let alone: it cannot be changed.
fn must_grow(claim: &PersistentVolumeClaim, wanted: &str) -> bool {
    has(claim).is_some() && is_less(asked(claim), wanted)
}

/// The volume of a claim that asks for enough, or that has none yet.
fn progress(claim: &PersistentVolumeClaim, wanted: &str) -> Volume {
    let Some(has) = has(claim) else {
        // Whoever waits for the volume is told by the pod that does.
        return Volume::Unknown;
    };
    if !is_less(Some(has), wanted) {
        return Volume::LargeEnough;
    }
    let status = claim.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let condition = |kind: &str| {
        let found = conditions.iter().find(|it| it.type_ == kind);
        found
            .filter(|it| it.status == "True")
            .map(|it| it.message.clone().unwrap_or_default())
    };
    let resource = status.allocated_resource_statuses.unwrap_or_default();
    let infeasible = resource
        .get("storage")
        .filter(|state| state.ends_with("Infeasible"))
        .map(|state| format!("its state is {state}"));
    let failed = condition("ControllerResizeError")
        .or_else(|| condition("NodeResizeError"))
        .or(infeasible);
    let (reason, why) = match (failed, condition(PENDING)) {
        (Some(why), _) => ("ResizeFailed", format!("it cannot grow: {why}")),
        (None, Some(why)) => (PENDING, format!("its file system is still to grow: {why}")),
        (None, None) => (RESIZING, "it is still to grow".to_owned()),
    };
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    Volume::TooSmall {
        reason,
        message: format!(
            "PersistentVolumeClaim {name} asks for {wanted}, the volume has {has}: {}",
            why.trim_end_matches([' ', ':'])
        ),
    }
}

/// The volume of a claim that the API server does not let ask for more.
fn refused(claim: &PersistentVolumeClaim, wanted: &str, why: &str) -> Volume {
    let has = has(claim).unwrap_or_default();
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let class = claim.spec.as_ref();
    let class = class
        .and_then(|spec| spec.storage_class_name.as_deref())
        .unwrap_or_default();
    if why.contains("exceeded quota") {
        return Volume::TooSmall {
            reason: "QuotaExceeded",
            message: format!(
                "PersistentVolumeClaim {name} has {has} and cannot grow to {wanted}: {why}"
            ),
        };
    }
    Volume::TooSmall {
        reason: "ExpansionNotAllowed",
        message: format!(
            "PersistentVolumeClaim {name} has {has} and cannot grow to {wanted}: its StorageClass {class} must have \
             allowVolumeExpansion: {why}"
        ),
    }
}

/// What must change about a claim but for its size, if anything.
fn change(claim: &PersistentVolumeClaim, cluster: &str) -> Option<Value> {
    let have = |map: &Option<std::collections::BTreeMap<String, String>>, key: &str| {
        map.as_ref().and_then(|map| map.get(key)).cloned()
    };
    let mut labels = Map::new();
    if have(&claim.metadata.labels, labels::INSTANCE).is_some() {
        labels.insert(labels::INSTANCE.to_owned(), Value::Null);
    }
    if have(&claim.metadata.labels, labels::CLUSTER).as_deref() != Some(cluster) {
        labels.insert(labels::CLUSTER.to_owned(), json!(cluster));
    }
    let annotations: Map<String, Value> = kept()
        .into_iter()
        .filter(|(key, value)| have(&claim.metadata.annotations, key).as_ref() != Some(value))
        .map(|(key, value)| (key, json!(value)))
        .collect();
    let needed = !labels.is_empty() || !annotations.is_empty();
    needed.then(|| {
        json!({"metadata": {"uid": claim.metadata.uid, "labels": labels, "annotations": annotations}})
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_loses_the_label_of_its_pods_and_nothing_else() {
        let claim = |labels: Value, annotations: Value| {
            let claim =
                json!({"metadata": {"uid": "7", "labels": labels, "annotations": annotations}});
            change(&serde_json::from_value(claim).unwrap(), "demo")
        };
        let of_controller = json!({"app.kubernetes.io/instance": "demo", "theirs": "x"});
        let found = claim(of_controller, json!({"theirs": "y"})).unwrap();
        let expected = json!({"metadata": {
            "uid": "7",
            "labels": {"app.kubernetes.io/instance": null, "imcluster.io/cluster": "demo"},
            "annotations": kept(),
        }});
        assert_eq!(found, expected);
        let good = claim(json!({"imcluster.io/cluster": "demo"}), json!(kept()));
        assert_eq!(good, None);
    }

    fn claim(asked: &str, status: &Value) -> PersistentVolumeClaim {
        let claim = json!({"metadata": {"name": "data"}, "status": status, "spec": {
            "storageClassName": "fast", "resources": {"requests": {"storage": asked}}}});
        serde_json::from_value(claim).unwrap()
    }

    #[test]
    fn only_a_claim_that_has_a_volume_and_asks_for_less_is_to_grow() {
        let bound = json!({"capacity": {"storage": "10Gi"}});
        assert!(must_grow(&claim("10Gi", &bound), "10241Mi"));
        assert!(!must_grow(&claim("10Gi", &bound), "10240Mi"));
        assert!(!must_grow(&claim("20Gi", &bound), "10Gi"), "never smaller");
        assert!(
            !must_grow(&claim("10Gi", &json!({})), "20Gi"),
            "no volume yet"
        );
    }

    #[test]
    fn how_far_a_growing_volume_is_has_a_word_of_its_own() {
        let of = |status: Value| match progress(&claim("20Gi", &status), "20Gi") {
            Volume::TooSmall { reason, message } => (reason, message),
            other => panic!("{other:?}"),
        };
        let small = json!({"storage": "10Gi"});
        let condition = |kind: &str| {
            json!({"capacity": small,
                "conditions": [{"type": kind, "status": "True", "message": "the reason"}]})
        };
        let asks = "PersistentVolumeClaim data asks for 20Gi, the volume has 10Gi";
        let expected = format!("{asks}: it is still to grow");
        assert_eq!(of(json!({"capacity": small})), (RESIZING, expected));
        let expected = format!("{asks}: its file system is still to grow: the reason");
        assert_eq!(of(condition(PENDING)), (PENDING, expected));
        for kind in ["ControllerResizeError", "NodeResizeError"] {
            let expected = format!("{asks}: it cannot grow: the reason");
            assert_eq!(of(condition(kind)), ("ResizeFailed", expected));
        }
        let stuck = json!({"capacity": small,
            "allocatedResourceStatuses": {"storage": "ControllerResizeInfeasible"}});
        assert_eq!(of(stuck).0, "ResizeFailed");
        let grown = claim("20Gi", &json!({"capacity": {"storage": "20Gi"}}));
        assert_eq!(progress(&grown, "20480Mi"), Volume::LargeEnough);
        let waiting = claim("20Gi", &json!({"phase": "Pending"}));
        assert_eq!(progress(&waiting, "20Gi"), Volume::Unknown);
    }

    #[test]
    fn a_refusal_names_the_class_or_the_quota() {
        let small = claim("10Gi", &json!({"capacity": {"storage": "10Gi"}}));
        let of = |why: &str| match refused(&small, "20Gi", why) {
            Volume::TooSmall { reason, message } => (reason, message),
            other => panic!("{other:?}"),
        };
        let (reason, message) = of("only dynamically provisioned pvc can be resized");
        assert_eq!(reason, "ExpansionNotAllowed");
        assert!(message.contains("StorageClass fast must have allowVolumeExpansion"));
        assert_eq!(of("exceeded quota: small").0, "QuotaExceeded");
    }
}
