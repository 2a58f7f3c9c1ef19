//! A cluster of Kubernetes for whole looks: an API server that keeps objects, and controllers that are
//! played by the test.

use std::collections::{BTreeMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::{Stream, StreamExt};
use im_operator_plan::Settings;
use kube::Client;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::*;
use crate::backoff::Backoff;
use crate::cache::views::{self, Detail};
use crate::cache::{Cache, Entry};
use crate::claims::Claims;
use crate::context::Memories;
use crate::kinds::Kind;
use crate::load::Loads;
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::ownership::{MANAGER, Seen};
use crate::recorder::EventRecorder;
use crate::testing::{self, Asked, Log, not_found, refusal};
use crate::work_queue::WorkQueue;

pub(super) type Store = Arc<Mutex<BTreeMap<String, Value>>>;

/// A cluster of Kubernetes without controllers.
pub(super) struct World {
    pub(super) ctx: Arc<Context>,
    pub(super) store: Store,
    pub(super) log: Log,
    pub(super) spec: Value,
    pub(super) annotations: Value,
    client: Client,
    status: Arc<Mutex<Value>>,
    queue: Pin<Box<dyn Stream<Item = ClusterKey> + Send>>,
}

fn answer(store: &Store, asked: &Asked) -> (u16, Value) {
    let mut store = store.lock().unwrap();
    // What a test has put there to be refused.
    if let Some(status) = store.get(&asked.line()) {
        let code = u16::try_from(status["code"].as_u64().unwrap()).unwrap();
        return (code, status.clone());
    }
    match asked.method.as_str() {
        "GET" if asked.path.ends_with("/events") => {
            let events: Vec<Value> = store
                .values()
                .filter(|object| object["kind"] == "Event")
                .cloned()
                .collect();
            (200, json!({"metadata": {}, "items": events}))
        }
        "GET" => store
            .get(&asked.path)
            .cloned()
            .map_or_else(not_found, |it| (200, it)),
        "DELETE" => store
            .remove(&asked.path)
            .map_or_else(not_found, |it| (200, it)),
        "PATCH" | "POST" if asked.path.contains("/events") => (200, asked.body.clone()),
        "PATCH" | "POST" => {
            let path = asked.object();
            let old = store.get(&path).cloned();
            if asked.method == "POST" && old.is_some() {
                return refusal(409, "AlreadyExists");
            }
            if let (Some(old), Value::String(version)) =
                (&old, &asked.body["metadata"]["resourceVersion"])
                && old["metadata"]["resourceVersion"] != *version
            {
                return refusal(409, "Conflict");
            }
            let mut new = old.clone().unwrap_or_else(|| json!({}));
            merge(&mut new, &asked.body);
            if asked.body["kind"] == "Service" && !is_created(&new) {
                // What is applied no more is gone, unless it was there from the creation.
                for pointer in ["/metadata/annotations", "/spec/selector"] {
                    if let Some(applied) = asked.body.pointer(pointer) {
                        new.pointer_mut(pointer).unwrap().clone_from(applied);
                    }
                }
            }
            let version = 1 + old.map_or(0, |old| {
                old["metadata"]["resourceVersion"]
                    .as_str()
                    .unwrap()
                    .parse::<u64>()
                    .unwrap()
            });
            new["metadata"]["resourceVersion"] = json!(version.to_string());
            new["metadata"]["uid"] = json!(format!("uid of {path}"));
            new["metadata"]["generation"] = json!(1);
            if new["kind"] == "Service" && new["spec"]["clusterIP"].is_null() {
                new["spec"]["clusterIP"] = json!("10.96.0.1");
            }
            if asked.body["metadata"]["managedFields"].is_null() {
                let operation = match asked.method.as_str() {
                    "POST" => "Update",
                    _ => "Apply",
                };
                let mut fields = vec![json!({"manager": MANAGER, "operation": operation,
                    "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {}}})];
                let before = new["metadata"]["managedFields"].as_array();
                let others = before.into_iter().flatten();
                let replaced =
                    |it: &&Value| it["manager"] == MANAGER && it["operation"] == operation;
                fields.extend(others.filter(|it| !replaced(it)).cloned());
                new["metadata"]["managedFields"] = json!(fields);
            }
            store.insert(path, new.clone());
            (200, new)
        }
        _ => not_found(),
    }
}

/// Whether fields of ours are those of the creation.
fn is_created(object: &Value) -> bool {
    let entries = object["metadata"]["managedFields"].as_array();
    let mut entries = entries.into_iter().flatten();
    entries.any(|it| it["manager"] == MANAGER && it["operation"] == "Update")
}

fn merge(old: &mut Value, new: &Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                if value.is_null() {
                    old.remove(key);
                } else {
                    merge(old.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (old, new) => old.clone_from(new),
    }
}

impl World {
    pub(super) fn new() -> Self {
        let store = Store::default();
        let status: Arc<Mutex<Value>> = Arc::default();
        let (client, log) = testing::server({
            let (store, status) = (Arc::clone(&store), Arc::clone(&status));
            move |asked| {
                if asked.path.ends_with("/imclusters/demo/status") {
                    status.lock().unwrap().clone_from(&asked.body["status"]);
                    return (200, asked.body.clone());
                }
                answer(&store, asked)
            }
        });
        let (ctx, queue) = context(client.clone());
        Self {
            ctx: Arc::new(ctx),
            queue: Box::pin(queue),
            store,
            log,
            spec: json!({"version": "1.0.0"}),
            annotations: json!({}),
            client,
            status,
        }
    }

    /// Objects that stand in a file, and their ImCluster.
    pub(super) fn holding(spec: Value, status: Value, objects: BTreeMap<String, Value>) -> Self {
        let mut world = Self::new();
        world.spec = spec;
        *world.status.lock().unwrap() = status;
        *world.store.lock().unwrap() = objects;
        world
    }

    /// Another operator process takes over.
    pub(super) fn restart(&mut self) {
        self.ctx.forget(&key());
        let (ctx, queue) = context(self.client.clone());
        self.ctx = Arc::new(ctx);
        self.queue = Box::pin(queue);
    }

    /// Waits until something asks for a look, such as what was read of the load.
    pub(super) async fn asked_for(&mut self) {
        let asked = tokio::time::timeout(Duration::from_secs(30), self.queue.next()).await;
        assert_eq!(asked.unwrap(), Some(key()));
        self.ctx.work_queue.begin(&key());
    }

    /// A condition of the status as written: its status and reason.
    pub(super) fn condition(&self, kind: &str) -> (String, String) {
        let status = self.status.lock().unwrap();
        let conditions = status["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|it| it["type"] == kind).unwrap();
        let word = |field: &str| found[field].as_str().unwrap().to_owned();
        (word("status"), word("reason"))
    }

    /// The status as written.
    pub(super) fn status(&self) -> Value {
        self.status.lock().unwrap().clone()
    }

    /// Shows the stored objects to the watches, looks once, and returns the writes.
    pub(super) async fn look(&self) -> Vec<Asked> {
        let written = self.look_and_tell().await.into_iter();
        written.filter(|it| !it.path.contains("/events")).collect()
    }

    /// As `look`, with the events.
    pub(super) async fn look_and_tell(&self) -> Vec<Asked> {
        let asked = self.look_and_ask().await.into_iter();
        asked.filter(|it| it.method != "GET").collect()
    }

    /// As `look_and_tell`, with what was read.
    pub(super) async fn look_and_ask(&self) -> Vec<Asked> {
        self.show();
        // Large: on the heap.
        Box::pin(reconcile(self.object(), Arc::clone(&self.ctx)))
            .await
            .unwrap();
        self.log.take()
    }

    /// Looks once, which fails. Returns how long the next look waits.
    pub(super) async fn failed(&self) -> Duration {
        self.show();
        let error = Box::pin(reconcile(self.object(), Arc::clone(&self.ctx))).await;
        let ReconcileError::Apply(cause) = error.unwrap_err();
        self.ctx.backoff.failed(&key(), cause.passes())
    }

    fn object(&self) -> Arc<Guarded> {
        let object = json!({"apiVersion": "imcluster.io/v1alpha1", "kind": "ImCluster",
            "metadata": {"name": "demo", "namespace": "chat", "uid": "u", "generation": 1,
                "annotations": self.annotations},
            "spec": self.spec, "status": *self.status.lock().unwrap()});
        let object: Guarded = serde_json::from_value(object).unwrap();
        Arc::new(object)
    }

    /// Looks until nothing is written any more; returns all that was.
    pub(super) async fn settle(&self) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..10 {
            let written = self.look().await;
            if written.is_empty() {
                return all;
            }
            all.extend(written.iter().map(Asked::line));
        }
        panic!("it does not come to rest: {all:#?}");
    }

    pub(super) fn show(&self) {
        let mut shown = HashSet::new();
        for object in self.store.lock().unwrap().values() {
            let Some(kind) = Kind::parse(object["kind"].as_str().unwrap()) else {
                continue;
            };
            if kind == Kind::Secret {
                continue;
            }
            let read = |detail: fn(Value) -> Detail| detail(object.clone());
            let metadata = serde_json::from_value(object["metadata"].clone()).unwrap();
            let entry = Entry {
                seen: Seen::read(&metadata),
                version: metadata.resource_version.clone().unwrap(),
                detail: match kind {
                    Kind::Service => read(|it| views::service(serde_json::from_value(it).unwrap())),
                    Kind::Deployment => {
                        read(|it| views::deployment(serde_json::from_value(it).unwrap()))
                    }
                    Kind::StatefulSet => {
                        read(|it| views::stateful_set(serde_json::from_value(it).unwrap()))
                    }
                    Kind::ReplicaSet => {
                        read(|it| views::replica_set(serde_json::from_value(it).unwrap()))
                    }
                    Kind::Pod => read(|it| views::pod(serde_json::from_value(it).unwrap())),
                    _ => Detail::None,
                },
            };
            let name = metadata.name.unwrap();
            self.ctx.cache.apply(kind, key(), &name, entry);
            shown.insert((kind, name));
        }
        for (kind, name, _) in self.ctx.cache.children(&key()).iter() {
            if !shown.contains(&(kind, name.to_owned())) {
                self.ctx.cache.delete(kind, "chat", name);
            }
        }
    }

    /// Lets the API server refuse these requests, until `allow`.
    pub(super) fn refuse(&self, request: &str, code: u16, message: &str) {
        let (_, mut status) = refusal(code, "Refused");
        status["message"] = json!(message);
        self.store
            .lock()
            .unwrap()
            .insert(request.to_owned(), status);
    }

    /// Ends `refuse`.
    pub(super) fn allow(&self, request: &str) {
        self.store.lock().unwrap().remove(request);
    }

    pub(super) fn change(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut store = self.store.lock().unwrap();
        let object = store.get_mut(path).unwrap_or_else(|| panic!("no {path}"));
        change(object);
        let version: u64 = object["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        object["metadata"]["resourceVersion"] = json!((version + 1).to_string());
    }

    /// Plays the controllers of everything: a pod for each that is wanted, all of them ready.
    pub(super) fn run_all(&self) {
        let mut pods = Vec::new();
        for (path, object) in self.store.lock().unwrap().iter_mut() {
            let kind = object["kind"].as_str().unwrap_or_default();
            if !["StatefulSet", "Deployment", "ReplicaSet"].contains(&kind) {
                continue;
            }
            let wanted = object["spec"]["replicas"].as_u64().unwrap();
            object["status"] = json!({"replicas": wanted, "updatedReplicas": wanted,
                "readyReplicas": wanted, "availableReplicas": wanted,
                "currentRevision": "r", "updateRevision": "r", "observedGeneration": 1});
            for number in 0..wanted {
                pods.push(pod(path, object, number));
            }
        }
        let mut store = self.store.lock().unwrap();
        for pod in pods {
            let name = pod["metadata"]["name"].as_str().unwrap();
            let path = format!("/api/v1/namespaces/chat/pods/{name}");
            store.entry(path).or_insert(pod);
        }
    }

    /// Looks and plays the controllers until nothing is written any more.
    pub(super) async fn install(&self) {
        for _ in 0..20 {
            if self.settle().await.is_empty() {
                return;
            }
            self.run_all();
        }
        panic!("it is not installed: {:#}", self.status());
    }

    /// As `install`, until what login servers say of the load, or that they say nothing, is in everything
    /// that tells it.
    pub(super) async fn run_until_load_is_known(&mut self) {
        self.install().await;
        while self.condition("LoadKnown").0 == "Unknown" {
            self.asked_for().await;
            self.install().await;
        }
        // The mirror is written at most every ten seconds, and by a new process with the load at once.
        for _ in 0..2 {
            self.restart();
            self.install().await;
            self.asked_for().await;
            self.install().await;
        }
    }

    /// Plays the controllers: all pods of a workload run.
    pub(super) fn run(&self, path: &str) {
        self.change(path, |object| {
            let pods = object["spec"]["replicas"].clone();
            object["status"] = json!({"replicas": pods, "updatedReplicas": pods, "readyReplicas": pods,
                "availableReplicas": pods, "currentRevision": "r", "updateRevision": "r", "observedGeneration": 1});
        });
    }
}

/// A ready pod of a workload.
fn pod(path: &str, owner: &Value, number: u64) -> Value {
    let name = format!("{}-{number}", owner["metadata"]["name"].as_str().unwrap());
    let mut metadata = owner["spec"]["template"]["metadata"].clone();
    metadata["name"] = json!(name);
    metadata["namespace"] = json!("chat");
    metadata["uid"] = json!(format!("uid of /api/v1/namespaces/chat/pods/{name}"));
    metadata["resourceVersion"] = json!("1");
    metadata["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    metadata["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": owner["kind"],
        "name": owner["metadata"]["name"], "uid": format!("uid of {path}"), "controller": true}]);
    let ready = json!({"type": "Ready", "status": "True",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": "n"},
        "status": {"phase": "Running", "podIP": "127.0.0.1", "conditions": [ready]}})
}

pub(super) fn key() -> ClusterKey {
    ClusterKey {
        namespace: "chat".to_owned(),
        name: "demo".to_owned(),
    }
}

fn context(client: Client) -> (Context, impl Stream<Item = ClusterKey> + Send) {
    let metrics = Metrics::unregistered();
    let cache = Cache::default();
    let (work_queue, queue) = WorkQueue::new(metrics.clone());
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let context = Context {
        settings: Settings::default(),
        loads: Loads::new(
            cache.clone(),
            work_queue.clone(),
            tasks.clone(),
            stop.clone(),
        ),
        nodes: Nodes::new(work_queue.clone(), tasks, stop),
        recorder: EventRecorder::new(client.clone(), "test"),
        client,
        cache,
        work_queue,
        metrics,
        backoff: Backoff::default(),
        resync: Duration::from_secs(600),
        status_rest: Duration::ZERO,
        memories: Memories::default(),
        claims: Claims::default(),
    };
    (context, queue)
}
