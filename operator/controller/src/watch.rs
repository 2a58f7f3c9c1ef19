//! The watches on children: one per kind and namespace, selected by our label, kept compact.

use std::collections::HashSet;
use std::fmt::Debug;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use im_core::Chain;
use im_operator_api::labels;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch as signal;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::cache::views::{self, Detail};
use crate::cache::{Cache, ClusterKey, Entry};
use crate::kinds::Kind;
use crate::metrics::{Metrics, WatchLabels};
use crate::ownership::Seen;
use crate::work_queue::WorkQueue;

/// What every watch of a scope shares.
#[derive(Clone)]
pub(crate) struct Watches {
    pub(crate) client: Client,
    /// `None`: every namespace.
    pub(crate) namespace: Option<String>,
    pub(crate) cache: Cache,
    pub(crate) work_queue: WorkQueue,
    pub(crate) metrics: Metrics,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// Number of kinds that are watched.
const KINDS: usize = 13;

/// Watches of a scope: one for each kind, and that on ImClusters.
pub(crate) const STREAMS: usize = KINDS + 1;

impl Watches {
    /// Starts all watches. The result becomes `KINDS` when every kind has been listed once.
    pub(crate) fn start(&self) -> Synced {
        let (synced, receiver) = signal::channel(0);
        let full = labels_of_ours();
        let slices = format!(
            "{full},endpointslice.kubernetes.io/managed-by={}",
            labels::MANAGER
        );
        self.metadata::<ServiceAccount>(Kind::ServiceAccount, &full, &synced);
        self.metadata::<Role>(Kind::Role, &full, &synced);
        self.metadata::<RoleBinding>(Kind::RoleBinding, &full, &synced);
        self.metadata::<ConfigMap>(Kind::ConfigMap, &full, &synced);
        self.metadata::<NetworkPolicy>(Kind::NetworkPolicy, &full, &synced);
        self.metadata::<PodDisruptionBudget>(Kind::PodDisruptionBudget, &full, &synced);
        self.metadata::<ControllerRevision>(Kind::ControllerRevision, &full, &synced);
        // The controller of EndpointSlices copies a Service's labels to its own slices.
        self.metadata::<EndpointSlice>(Kind::EndpointSlice, &slices, &synced);
        self.whole::<Service>(Kind::Service, &full, &synced, views::service);
        self.whole::<Deployment>(Kind::Deployment, &full, &synced, views::deployment);
        self.whole::<StatefulSet>(Kind::StatefulSet, &full, &synced, views::stateful_set);
        self.whole::<ReplicaSet>(Kind::ReplicaSet, &full, &synced, views::replica_set);
        self.whole::<Pod>(Kind::Pod, &full, &synced, views::pod);
        Synced(receiver)
    }

    fn metadata<K>(&self, kind: Kind, selector: &str, synced: &signal::Sender<usize>)
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let api: Api<PartialObjectMeta<K>> = self.api();
        self.follow(kind, api, selector, synced, |_| Detail::None);
    }

    fn whole<K>(
        &self,
        kind: Kind,
        selector: &str,
        synced: &signal::Sender<usize>,
        detail: fn(K) -> Detail,
    ) where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        self.follow(kind, self.api::<K>(), selector, synced, detail);
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        scoped(&self.client, self.namespace.as_deref())
    }

    fn follow<K>(
        &self,
        kind: Kind,
        api: Api<K>,
        selector: &str,
        synced: &signal::Sender<usize>,
        detail: fn(K) -> Detail,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let mut intake = Intake {
            kind,
            namespace: self.namespace.clone(),
            cache: self.cache.clone(),
            work_queue: self.work_queue.clone(),
            shown: HashSet::new(),
            listed: Some(synced.clone()),
            detail,
        };
        let metrics = self.metrics.clone();
        let config = watcher::Config::default().labels(selector);
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let mut events = watch(api, config).default_backoff().boxed();
            loop {
                match stop.run_until_cancelled(events.try_next()).await {
                    None | Some(Ok(None)) => return,
                    Some(Ok(Some(event))) => intake.take(event),
                    Some(Err(error)) => {
                        let kind = kind.as_str();
                        metrics
                            .watch_errors
                            .get_or_create_owned(&WatchLabels { kind })
                            .inc();
                        report(kind, &error);
                    }
                }
            }
        });
    }
}

/// An API of one namespace, or of all.
pub(crate) fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Logs an interrupted watch: an expired one is ordinary.
pub(crate) fn report(kind: &'static str, error: &watcher::Error) {
    match error {
        watcher::Error::WatchError(status) if status.code == 410 => {
            debug!(kind, "watch expired");
        }
        error => warn!(kind, error = %Chain(&error), "watch interrupted"),
    }
}

/// Whether every kind of a scope has been listed once.
#[derive(Debug)]
pub(crate) struct Synced(signal::Receiver<usize>);

impl Synced {
    /// Waits until it is so.
    pub(crate) async fn wait(&self) {
        // An error means that the watches stopped, and with them the process.
        let mut listed = self.0.clone();
        drop(listed.wait_for(|listed| *listed >= KINDS).await);
    }
}

fn labels_of_ours() -> String {
    format!("{}={}", labels::MANAGED_BY, labels::MANAGER)
}

struct Intake<K> {
    kind: Kind,
    namespace: Option<String>,
    cache: Cache,
    work_queue: WorkQueue,
    shown: HashSet<(String, String)>,
    listed: Option<signal::Sender<usize>>,
    detail: fn(K) -> Detail,
}

impl<K: Resource<DynamicType = ()>> Intake<K> {
    fn take(&mut self, event: Event<K>) {
        match event {
            Event::Init => self.shown.clear(),
            Event::InitApply(object) => {
                self.shown
                    .insert((object.namespace().unwrap_or_default(), object.name_any()));
                self.apply(object);
            }
            Event::InitDone => {
                let shown = std::mem::take(&mut self.shown);
                let namespace = self.namespace.as_deref();
                for cluster in self.cache.retain(self.kind, namespace, &shown) {
                    self.work_queue.add(cluster);
                }
                if let Some(listed) = self.listed.take() {
                    listed.send_modify(|count| *count += 1);
                }
            }
            Event::Apply(object) => self.apply(object),
            Event::Delete(object) => {
                let namespace = object.namespace().unwrap_or_default();
                if let Some(cluster) = self.cache.delete(self.kind, &namespace, &object.name_any())
                {
                    self.work_queue.add(cluster);
                }
            }
        }
    }

    fn apply(&self, object: K) {
        let name = object.name_any();
        let namespace = object.namespace().unwrap_or_default();
        let Some(instance) = object.labels().get(labels::INSTANCE).cloned() else {
            if let Some(cluster) = self.cache.delete(self.kind, &namespace, &name) {
                self.work_queue.add(cluster);
            }
            return;
        };
        let cluster = ClusterKey {
            namespace,
            name: instance,
        };
        let entry = Entry {
            seen: Seen::read(object.meta()),
            version: object.resource_version().unwrap_or_default(),
            detail: (self.detail)(object),
        };
        for cluster in self.cache.apply(self.kind, cluster, &name, entry) {
            self.work_queue.add(cluster);
        }
    }
}

/// How long the first list of all kinds may take before somebody should look.
pub(crate) const SYNC_LIMIT: Duration = Duration::from_secs(60);
