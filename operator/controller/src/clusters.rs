//! The watch on ImClusters.
//!
//! Objects are read behind a guard: one that cannot be parsed is an error of that object and of no
//! other. Our own status writes trigger nothing; a change of specification, labels, annotations or
//! identity does.

use std::collections::HashMap;

use futures::{Stream, StreamExt};
use im_operator_api::ImCluster;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::ClusterKey;
use crate::metrics::{Metrics, WatchLabels};
use crate::work_queue::WorkQueue;

/// An ImCluster, or why it cannot be read.
pub(crate) type Guarded = DeserializeGuard<ImCluster>;

/// Namespace and name of an object.
pub(crate) fn key(object: &impl ResourceExt) -> ClusterKey {
    ClusterKey {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
    }
}

/// A reference as the store knows it.
pub(crate) fn reference(key: &ClusterKey) -> ObjectRef<Guarded> {
    ObjectRef::new(&key.name).within(&key.namespace)
}

/// Follows the ImClusters of a namespace (of all if `None`) and triggers a look at each that
/// changed or went.
pub(crate) fn follow(
    client: &Client,
    namespace: Option<&str>,
    work_queue: WorkQueue,
    metrics: Metrics,
    stop: CancellationToken,
    tasks: &TaskTracker,
) -> Store<Guarded> {
    let api: Api<Guarded> = crate::watch::scoped(client, namespace);
    let (reader, writer) = reflector::store();
    let events = watch(api, watcher::Config::default())
        .default_backoff()
        .modify(|object| object.meta_mut().managed_fields = None);
    let events = reflector::reflector(writer, events);
    tasks.spawn(async move {
        stop.run_until_cancelled(intake(events.boxed(), work_queue, metrics))
            .await;
    });
    reader
}

async fn intake(
    mut events: impl Stream<Item = watcher::Result<Event<Guarded>>> + Unpin,
    work_queue: WorkQueue,
    metrics: Metrics,
) {
    let mut known: HashMap<ClusterKey, Look> = HashMap::new();
    let mut before: HashMap<ClusterKey, Look> = HashMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => before = std::mem::take(&mut known),
            Ok(Event::InitApply(object)) => {
                let key = key(&object);
                let look = look(&object);
                if before.remove(&key).as_ref() != Some(&look) {
                    work_queue.add(key.clone());
                }
                known.insert(key, look);
            }
            Ok(Event::InitDone) => before.drain().for_each(|(key, _)| work_queue.add(key)),
            Ok(Event::Apply(object)) => {
                let key = key(&object);
                let look = look(&object);
                if known.get(&key) != Some(&look) {
                    work_queue.add(key.clone());
                    known.insert(key, look);
                }
            }
            Ok(Event::Delete(object)) => {
                let key = key(&object);
                known.remove(&key);
                work_queue.add(key);
            }
            Err(error) => {
                let kind = "ImCluster";
                metrics
                    .watch_errors
                    .get_or_create_owned(&WatchLabels { kind })
                    .inc();
                crate::watch::report(kind, &error);
            }
        }
    }
}

/// What of an ImCluster matters to the operator besides its status.
type Look = (Option<String>, Option<i64>, bool, u64);

fn look(object: &Guarded) -> Look {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let metadata = object.meta();
    let mut hasher = DefaultHasher::new();
    metadata.labels.hash(&mut hasher);
    metadata.annotations.hash(&mut hasher);
    if let Err(error) = &object.0 {
        error.error.hash(&mut hasher);
    }
    (
        metadata.uid.clone(),
        metadata.generation,
        metadata.deletion_timestamp.is_some(),
        hasher.finish(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use serde_json::json;

    fn object(name: &str, generation: i64, status: &str) -> Guarded {
        serde_json::from_value(json!({
            "apiVersion": "imcluster.io/v1alpha1", "kind": "ImCluster",
            "metadata": {"name": name, "namespace": "chat", "uid": name, "generation": generation},
            "spec": {"version": "1.0.0"}, "status": {"version": status},
        }))
        .unwrap()
    }

    async fn triggered(events: Vec<Event<Guarded>>) -> Vec<String> {
        let (work_queue, queue) = WorkQueue::new(Metrics::unregistered());
        let events = stream::iter(events.into_iter().map(Ok));
        intake(events, work_queue, Metrics::unregistered()).await;
        queue.map(|key| key.name).collect().await
    }

    #[tokio::test]
    async fn a_new_status_alone_triggers_nothing() {
        let events = vec![
            Event::Init,
            Event::InitApply(object("a", 1, "")),
            Event::InitDone,
            Event::Apply(object("a", 1, "1.0.0")),
            Event::Init,
            Event::InitApply(object("a", 1, "1.0.0")),
            Event::InitDone,
        ];
        assert_eq!(triggered(events).await, ["a"]);
    }

    #[tokio::test]
    async fn never_17_an_object_that_cannot_be_parsed_stops_no_other() {
        let bad: Guarded = serde_json::from_value(json!({
            "apiVersion": "imcluster.io/v1alpha1", "kind": "ImCluster",
            "metadata": {"name": "bad", "namespace": "chat"}, "spec": {"version": 7},
        }))
        .unwrap();
        assert!(bad.0.is_err());
        let events = vec![
            Event::Init,
            Event::InitApply(bad),
            Event::InitApply(object("b", 1, "")),
            Event::InitDone,
        ];
        assert_eq!(triggered(events).await, ["bad", "b"]);
    }

    #[tokio::test]
    async fn what_vanished_between_two_lists_is_looked_at() {
        let events = vec![
            Event::Init,
            Event::InitApply(object("a", 1, "")),
            Event::InitDone,
            Event::Init,
            Event::InitApply(object("b", 1, "")),
            Event::InitDone,
        ];
        assert_eq!(triggered(events).await, ["a", "b"]);
    }
}
