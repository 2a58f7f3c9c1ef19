//! Many small ImClusters in one namespace, whose pods are never run, for an operator that runs as a
//! process.

use std::collections::HashSet;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use im_e2e_kube::testing::{Cluster, TestNamespace};
use im_operator_api::ImCluster;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::charts;
use crate::installation::gone;
use crate::operator::{Operator, write_kubeconfig};

/// Requests at a time.
const AT_ONCE: usize = 8;

/// The ImClusters, their namespace and what an operator for them needs.
pub(crate) struct Fleet {
    pub(crate) namespace: TestNamespace,
    pub(crate) names: Vec<String>,
    api: Api<DynamicObject>,
    dir: TempDir,
}

impl Fleet {
    /// Makes so many, without an operator.
    pub(crate) async fn new(
        cluster: &Cluster,
        purpose: &str,
        count: usize,
    ) -> anyhow::Result<Self> {
        charts::define()?;
        let namespace = cluster.namespace(purpose).await?;
        // For its ServiceAccount and Role.
        charts::install_operator(&namespace, &["replicas=0"])?;
        let dir = tempfile::tempdir()?;
        write_kubeconfig(namespace.name(), dir.path())?;
        let resource = ApiResource::erase::<ImCluster>(&());
        let api = Api::namespaced_with(cluster.client(), namespace.name(), &resource);
        let fleet = Self {
            namespace,
            // Without a hyphen: see `owner`.
            names: (0..count).map(|number| format!("c{number}")).collect(),
            api,
            dir,
        };
        let objects = fleet.names.iter().map(|name| small(name));
        stream::iter(objects)
            .map(|object| fleet.create(object))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(fleet)
    }

    async fn create(&self, object: anyhow::Result<DynamicObject>) -> anyhow::Result<()> {
        let created = self.api.create(&PostParams::default(), &object?).await;
        created.map(drop).context("make an ImCluster")
    }

    /// Starts an operator for them.
    pub(crate) fn operator(&self, program: &Path) -> anyhow::Result<Operator> {
        Operator::start(program, &self.namespace, self.dir.path())
    }

    /// Waits until the status of each is about its newest specification.
    pub(crate) async fn observed(&self, limit: Duration) -> anyhow::Result<()> {
        self.each("observed", is_observed, limit).await
    }

    /// Waits until each is ready.
    pub(crate) async fn ready(&self, limit: Duration) -> anyhow::Result<()> {
        self.each("ready", is_ready, limit).await
    }

    async fn each(
        &self,
        what: &str,
        is: impl Fn(&DynamicObject) -> bool,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let mut left: HashSet<&str> = self.names.iter().map(String::as_str).collect();
        let events = watcher(self.api.clone(), watcher::Config::default());
        let mut events = pin!(events.default_backoff().applied_objects());
        let watching = async {
            while !left.is_empty() {
                // A broken watch is taken up again.
                if let Some(Ok(object)) = events.next().await
                    && is(&object)
                {
                    left.remove(object.name_any().as_str());
                }
            }
        };
        if tokio::time::timeout(limit, watching).await.is_err() {
            anyhow::bail!("after {limit:?}, {} are not {what}", left.len());
        }
        Ok(())
    }

    /// Changes the specification of one so that its children change.
    pub(crate) async fn change(&self, name: &str, level: &str) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({"spec": {"roles": {"dbProxy": {"logLevel": level}}}}));
        let patched = self.api.patch(name, &PatchParams::default(), &patch).await;
        patched.map(drop).with_context(|| format!("change {name}"))
    }

    /// Removes everything.
    pub(crate) async fn remove(self) -> anyhow::Result<()> {
        gone(self.namespace).await
    }
}

/// The ImCluster of a [`Fleet`] to which a child of this name belongs.
pub(crate) fn owner(child: &str) -> &str {
    child.split_once('-').map_or(child, |(name, _)| name)
}

fn is_observed(object: &DynamicObject) -> bool {
    let observed = object.data.pointer("/status/observedGeneration");
    observed.and_then(Value::as_i64) == object.meta().generation
}

fn is_ready(object: &DynamicObject) -> bool {
    let conditions = object.data.pointer("/status/conditions");
    let mut conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    is_observed(object)
        && conditions.any(|it| {
            it.get("type") == Some(&json!("Ready")) && it.get("status") == Some(&json!("True"))
        })
}

/// One pod of each role.
fn small(name: &str) -> anyhow::Result<DynamicObject> {
    let one = json!({"replicas": 1});
    let object = json!({
        "apiVersion": "imcluster.io/v1alpha1",
        "kind": "ImCluster",
        "metadata": {"name": name},
        "spec": {
            "version": charts::servers()?.1,
            "roles": {"login": one, "msg": one, "route": one},
        },
    });
    serde_json::from_value(object).context("an ImCluster")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_leads_to_its_owner() {
        assert_eq!(owner("c17-db-proxy-config"), "c17");
        assert_eq!(owner("c17"), "c17");
    }

    #[test]
    fn a_status_of_an_older_specification_does_not_count() {
        let mut object = small("c1").unwrap();
        object.metadata.generation = Some(2);
        assert!(!is_observed(&object));
        object.data["status"] = json!({"observedGeneration": 1});
        assert!(!is_observed(&object));
        object.data["status"] = json!({"observedGeneration": 2});
        assert!(is_observed(&object));
    }

    #[test]
    fn who_is_ready_says_so_of_the_newest_specification() {
        let mut object = small("c1").unwrap();
        object.metadata.generation = Some(2);
        let said = |observed: i64, ready: &str| {
            let ready = json!({"type": "Ready", "status": ready});
            json!({"observedGeneration": observed, "conditions": [ready]})
        };
        for (observed, ready, is) in [(1, "True", false), (2, "False", false), (2, "True", true)] {
            object.data["status"] = said(observed, ready);
            assert_eq!(is_ready(&object), is, "{observed} {ready}");
        }
    }
}
