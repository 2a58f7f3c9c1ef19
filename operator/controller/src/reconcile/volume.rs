//! The claim of the database's volume, which outlives its StatefulSet and the ImCluster.

use im_operator_api::labels;
use im_operator_plan::{Role, kept, names};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Map, Value, json};

use super::{Look, Trouble};
use crate::apply::ApplyError;
use crate::context::Memory;
use crate::ownership::MANAGER;

impl Look<'_> {
    /// Takes from the claim the label by which tools that apply manifests would delete it. The
    /// controller of StatefulSets gives it every label by which pods are selected, and never looks at
    /// them again. Done once by each process.
    pub(crate) async fn claim(&self, memory: &mut Memory, trouble: &mut Trouble) {
        let made = self.pods_of(Role::DB_PROXY).next().is_some();
        if memory.claim_kept || !made || !self.cluster.data_is_durable() {
            return;
        }
        match self.keep_claim().await {
            Ok(found) => memory.claim_kept = found,
            Err(error) => trouble.errors.push(error),
        }
    }

    /// Whether the claim is there; then it is as it should be.
    async fn keep_claim(&self) -> Result<bool, ApplyError> {
        let name = names::claim(&self.key.name);
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
        let claim = api.get_opt(&name).await.map_err(failed("read"))?;
        let Some(claim) = claim else {
            return Ok(false);
        };
        if let Some(change) = change(&claim, &self.key.name) {
            let parameters = PatchParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PatchParams::default()
            };
            api.patch(&name, &parameters, &Patch::Merge(&change))
                .await
                .map_err(failed("patch"))?;
        }
        Ok(true)
    }
}

/// What must change about a claim, if anything.
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
}
