//! Nodes: their addresses, for slots of type NodePort without a host template, and which are to go, so that
//! their msg pods are emptied.
//!
//! Nodes are watched once for all clusters, from the first time that one needs them, and only a few
//! words of each are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Node as KubeNode;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch as signal;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::cache::ClusterKey;
use crate::msg::address::Node;
use crate::work_queue::WorkQueue;

/// Longest wait for the first list.
const FIRST_LIST: Duration = Duration::from_secs(10);
/// Nodes in one answer of the API server.
const PAGE: u32 = 500;
/// Taints of nodes that are about to be removed.
const LEAVING: [&str; 3] = [
    "ToBeDeletedByClusterAutoscaler",
    "karpenter.sh/disrupted",
    "node.kubernetes.io/out-of-service",
];

/// The nodes as last seen. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Nodes {
    seen: Arc<Mutex<Seen>>,
    listed: Arc<signal::Sender<bool>>,
    work_queue: WorkQueue,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Seen {
    watched: bool,
    nodes: BTreeMap<String, Node>,
    /// Clusters that look at nodes.
    readers: BTreeSet<ClusterKey>,
}

impl Nodes {
    pub(crate) fn new(work_queue: WorkQueue, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self {
            seen: Arc::default(),
            listed: Arc::new(signal::Sender::new(false)),
            work_queue,
            tasks,
            stop,
        }
    }

    /// The nodes that clients can be sent to, sorted by name; this cluster gets a look when they
    /// change. Where none is ready all are told: then the API server knows less than the clients.
    pub(crate) async fn read(&self, client: &Client, cluster: &ClusterKey) -> Vec<Node> {
        let begin = {
            let mut seen = self.seen();
            seen.readers.insert(cluster.clone());
            !std::mem::replace(&mut seen.watched, true)
        };
        if begin {
            let config = watcher::Config::default().page_size(PAGE);
            let events = watch(Api::<KubeNode>::all(client.clone()), config);
            let events = events.default_backoff().boxed();
            let (nodes, stop) = (self.clone(), self.stop.clone());
            self.tasks.spawn(async move {
                stop.run_until_cancelled(nodes.follow(events)).await;
            });
        }
        let mut listed = self.listed.subscribe();
        if timeout(FIRST_LIST, listed.wait_for(|listed| *listed))
            .await
            .is_err()
        {
            warn!("nodes cannot be listed");
        }
        self.seen().usable()
    }

    /// Forgets a cluster that is gone.
    pub(crate) fn forget(&self, cluster: &ClusterKey) {
        self.seen().readers.remove(cluster);
    }

    async fn follow(
        &self,
        mut events: impl Stream<Item = watcher::Result<Event<KubeNode>>> + Unpin,
    ) {
        let mut shown = BTreeMap::new();
        while let Some(event) = events.next().await {
            let before = self.seen().nodes.clone();
            match event {
                Ok(Event::Init) => shown.clear(),
                Ok(Event::InitApply(found)) => shown.extend(node(found)),
                Ok(Event::InitDone) => {
                    self.seen().nodes = std::mem::take(&mut shown);
                    self.listed.send_replace(true);
                }
                Ok(Event::Apply(found)) => {
                    let name = found.name_any();
                    let mut seen = self.seen();
                    match node(found) {
                        Some((name, node)) => seen.nodes.insert(name, node),
                        None => seen.nodes.remove(&name),
                    };
                }
                Ok(Event::Delete(found)) => {
                    self.seen().nodes.remove(&found.name_any());
                }
                Err(error) => crate::watch::report("Node", &error),
            }
            let seen = self.seen();
            if seen.nodes != before {
                seen.readers
                    .iter()
                    .for_each(|key| self.work_queue.add(key.clone()));
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn usable(&self) -> Vec<Node> {
        let ready = self.nodes.values().filter(|node| node.ready);
        let usable: Vec<Node> = ready.cloned().collect();
        if usable.is_empty() {
            self.nodes.values().cloned().collect()
        } else {
            usable
        }
    }
}

/// Name and what is kept; `None` for a node without an address.
fn node(node: KubeNode) -> Option<(String, Node)> {
    let name = node.name_any();
    let is_deleted = node.metadata.deletion_timestamp.is_some();
    let status = node.status?;
    let addresses = status.addresses?;
    let address = ["ExternalIP", "InternalIP"].iter().find_map(|kind| {
        addresses
            .iter()
            .find(|address| address.type_ == *kind)
            .map(|address| address.address.clone())
    })?;
    let mut conditions = status.conditions.iter().flatten();
    let ready = conditions.any(|it| it.type_ == "Ready" && it.status == "True");
    let spec = node.spec.unwrap_or_default();
    let taints = spec.taints.into_iter().flatten();
    let taints: Vec<String> = taints.map(|taint| taint.key).collect();
    let unschedulable = spec.unschedulable == Some(true);
    let leaving = unschedulable || taints.iter().any(|key| LEAVING.contains(&key.as_str()));
    let node = Node {
        name: name.clone(),
        address,
        ready: ready && !is_deleted,
        leaving,
        unschedulable,
        taints,
    };
    Some((name, node))
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use serde_json::{Value, json};

    use super::*;
    use crate::metrics::Metrics;
    use crate::testing;

    fn kube(name: &str, ready: &str, spec: Value) -> KubeNode {
        let addresses = [json!({"type": "InternalIP", "address": format!("{name}.nodes")})];
        let conditions = [json!({"type": "Ready", "status": ready})];
        let status = json!({"addresses": addresses, "conditions": conditions});
        let node = json!({"metadata": {"name": name}, "spec": spec, "status": status});
        serde_json::from_value(node).unwrap()
    }

    fn nodes() -> (Nodes, impl Stream<Item = ClusterKey>) {
        let (work_queue, queue) = WorkQueue::new(Metrics::unregistered());
        let stop = CancellationToken::new();
        (Nodes::new(work_queue, TaskTracker::new(), stop), queue)
    }

    fn names(nodes: &Nodes) -> Vec<String> {
        let usable = nodes.seen().usable();
        usable.into_iter().map(|node| node.name).collect()
    }

    #[tokio::test]
    async fn nodes_that_are_not_ready_or_gone_are_not_told_and_every_reader_looks_again() {
        let (nodes, queue) = nodes();
        let key = ClusterKey {
            namespace: "chat".to_owned(),
            name: "demo".to_owned(),
        };
        nodes.seen().readers.insert(key.clone());
        let none = json!({});
        let events = vec![
            Event::Init,
            Event::InitApply(kube("a", "True", none.clone())),
            Event::InitApply(kube("b", "True", none.clone())),
            Event::InitDone,
        ];
        nodes.follow(stream::iter(events).map(Ok)).await;
        assert_eq!(names(&nodes), ["a", "b"]);
        let mut queue = std::pin::pin!(queue);
        assert_eq!(queue.next().await, Some(key.clone()));
        nodes.work_queue.begin(&key);
        let events = [Event::Apply(kube("a", "Unknown", none.clone()))];
        nodes.follow(stream::iter(events).map(Ok)).await;
        assert_eq!(names(&nodes), ["b"]);
        assert_eq!(queue.next().await, Some(key));
        let events = [Event::Delete(kube("b", "True", none))];
        nodes.follow(stream::iter(events).map(Ok)).await;
        assert_eq!(names(&nodes), ["a"], "where none is ready all are told");
    }

    #[test]
    fn a_node_leaves_when_it_is_cordoned_or_about_to_be_removed() {
        let leaving = |spec: Value| node(kube("a", "True", spec)).unwrap().1.leaving;
        assert!(!leaving(json!({})));
        assert!(leaving(json!({"unschedulable": true})));
        let taint = json!({"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"});
        assert!(leaving(json!({"taints": [taint]})));
        let seen = |spec: Value| node(kube("a", "True", spec)).unwrap().1;
        let seen = seen(json!({"unschedulable": true, "taints": [taint]}));
        assert!(seen.unschedulable);
        assert_eq!(seen.taints, ["ToBeDeletedByClusterAutoscaler"]);
    }

    #[tokio::test]
    async fn sixteen_looks_at_once_list_the_nodes_once() {
        let (client, log) = testing::server(|asked| {
            if asked.query.contains("watch=true") {
                return (200, json!({}));
            }
            let items = [serde_json::to_value(kube("a", "True", json!({}))).unwrap()];
            let metadata = json!({"resourceVersion": "1"});
            let list = json!({"kind": "NodeList", "apiVersion": "v1", "metadata": metadata, "items": items});
            (200, list)
        });
        let (nodes, _queue) = nodes();
        let key = |number: usize| ClusterKey {
            namespace: "chat".to_owned(),
            name: format!("demo-{number}"),
        };
        let reads = (0..16).map(|number| {
            let (nodes, client) = (nodes.clone(), client.clone());
            async move { nodes.read(&client, &key(number)).await.len() }
        });
        let found = futures::future::join_all(reads).await;
        assert_eq!(found, [1; 16]);
        let asked = log.take();
        let lists = asked.iter().filter(|it| !it.query.contains("watch=true"));
        let lists: Vec<_> = lists.collect();
        assert_eq!(lists.len(), 1, "{lists:?}");
        assert!(lists[0].query.contains("limit=500"), "{lists:?}");
        nodes.stop.cancel();
    }
}
