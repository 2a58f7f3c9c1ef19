//! Whole looks against an API server that keeps objects and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use im_operator_plan::Settings;
use kube::Client;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::backoff::Backoff;
use crate::cache::views::{self, Detail};
use crate::cache::{Cache, Entry};
use crate::context::Memories;
use crate::kinds::Kind;
use crate::load::Loads;
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::notices::Notices;
use crate::ownership::{MANAGER, Seen};
use crate::testing::{self, Asked, Log, not_found, refusal};
use crate::triggers::Triggers;

type Store = Arc<Mutex<BTreeMap<String, Value>>>;

/// A cluster of Kubernetes without controllers.
struct World {
    ctx: Arc<Context>,
    store: Store,
    log: Log,
    spec: Value,
    annotations: Value,
}

fn answer(store: &Store, asked: &Asked) -> (u16, Value) {
    let mut store = store.lock().unwrap();
    match asked.method.as_str() {
        "GET" => store
            .get(&asked.path)
            .cloned()
            .map_or_else(not_found, |it| (200, it)),
        "DELETE" => store
            .remove(&asked.path)
            .map_or_else(not_found, |it| (200, it)),
        "PATCH" | "POST" if asked.path.contains("/events") || asked.path.ends_with("/status") => {
            (200, asked.body.clone())
        }
        "PATCH" | "POST" => {
            let name = asked.body["metadata"]["name"].as_str().unwrap_or_default();
            let path = match asked.method.as_str() {
                "POST" => format!("{}/{name}", asked.path),
                _ => asked.path.clone(),
            };
            let old = store.get(&path).cloned();
            if let (Some(old), Value::String(version)) =
                (&old, &asked.body["metadata"]["resourceVersion"])
                && old["metadata"]["resourceVersion"] != *version
            {
                return refusal(409, "Conflict");
            }
            let mut new = old.clone().unwrap_or_else(|| json!({}));
            merge(&mut new, &asked.body);
            let version = 1 + old.map_or(0, |old| {
                old["metadata"]["resourceVersion"]
                    .as_str()
                    .unwrap()
                    .parse::<u64>()
                    .unwrap()
            });
            new["metadata"]["resourceVersion"] = json!(version.to_string());
            new["metadata"]["uid"] = json!(format!("uid of {path}"));
            new["metadata"]["managedFields"] = json!([{"manager": MANAGER, "operation": "Apply",
                "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {}}}]);
            store.insert(path, new.clone());
            (200, new)
        }
        _ => not_found(),
    }
}

fn merge(old: &mut Value, new: &Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                merge(old.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (old, new) => old.clone_from(new),
    }
}

impl World {
    fn new() -> Self {
        let store = Store::default();
        let (client, log) = testing::server({
            let store = Arc::clone(&store);
            move |asked| answer(&store, asked)
        });
        Self {
            ctx: Arc::new(context(client)),
            store,
            log,
            spec: json!({"version": "1.0.0"}),
            annotations: json!({}),
        }
    }

    /// Shows the stored objects to the watches, looks once, and returns the writes.
    async fn look(&self) -> Vec<Asked> {
        self.show();
        let object = json!({"apiVersion": "imcluster.io/v1alpha1", "kind": "ImCluster",
            "metadata": {"name": "demo", "namespace": "chat", "uid": "u", "generation": 1,
                "annotations": self.annotations},
            "spec": self.spec});
        let object: Guarded = serde_json::from_value(object).unwrap();
        reconcile(Arc::new(object), Arc::clone(&self.ctx))
            .await
            .unwrap();
        let asked = self.log.take();
        asked
            .into_iter()
            .filter(|it| it.method != "GET" && !it.path.contains("/events"))
            .collect()
    }

    /// Looks until nothing is written any more; returns all that was.
    async fn settle(&self) -> Vec<String> {
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

    fn show(&self) {
        for object in self.store.lock().unwrap().values() {
            let kind = Kind::parse(object["kind"].as_str().unwrap()).unwrap();
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
                    _ => Detail::None,
                },
            };
            let name = metadata.name.unwrap();
            self.ctx.cache.apply(kind, key(), &name, entry);
        }
    }

    fn change(&self, path: &str, change: impl FnOnce(&mut Value)) {
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

    /// Plays the controllers: all pods of a workload run.
    fn run(&self, path: &str) {
        self.change(path, |object| {
            let pods = object["spec"]["replicas"].clone();
            object["status"] = json!({"replicas": pods, "updatedReplicas": pods, "readyReplicas": pods,
                "availableReplicas": pods, "currentRevision": "r", "updateRevision": "r"});
        });
    }
}

fn key() -> ClusterKey {
    ClusterKey {
        namespace: "chat".to_owned(),
        name: "demo".to_owned(),
    }
}

fn context(client: Client) -> Context {
    let metrics = Metrics::unregistered();
    let cache = Cache::default();
    let (triggers, _) = Triggers::new(metrics.clone());
    let stop = CancellationToken::new();
    Context {
        settings: Settings::default(),
        loads: Loads::new(cache.clone(), triggers.clone(), TaskTracker::new(), stop),
        notices: Notices::new(client.clone(), "test"),
        client,
        cache,
        triggers,
        metrics,
        nodes: Nodes::default(),
        backoff: Backoff::default(),
        resync: Duration::from_secs(600),
        memories: Memories::default(),
    }
}

const APPS: &str = "/apis/apps/v1/namespaces/chat";

fn names(lines: &[String], part: &str) -> bool {
    lines.iter().any(|line| line.contains(part))
}

#[tokio::test]
async fn roles_are_installed_one_after_the_other_and_then_nothing_is_written() {
    let world = World::new();
    let first = world.settle().await;
    assert!(names(&first, "statefulsets/demo-db-proxy"), "{first:#?}");
    assert!(names(&first, "secrets/demo-internal"));
    assert!(names(&first, "secrets/demo-admin"));
    assert!(names(&first, "secrets/demo-remember"));
    assert!(names(&first, "poddisruptionbudgets/demo-msg"));
    assert!(!names(&first, "/deployments/"), "{first:#?}");
    assert!(!names(&first, "/replicasets"), "{first:#?}");
    world.run(&format!("{APPS}/statefulsets/demo-db-proxy"));
    let second = world.settle().await;
    assert!(names(&second, "deployments/demo-route"), "{second:#?}");
    assert!(!names(&second, "deployments/demo-login"), "{second:#?}");
    world.run(&format!("{APPS}/deployments/demo-route"));
    let third = world.settle().await;
    assert!(
        names(&third, "POST /apis/apps/v1/namespaces/chat/replicasets"),
        "{third:#?}"
    );
    assert!(names(&third, "deployments/demo-login"), "{third:#?}");
    world.run(&format!("{APPS}/deployments/demo-login"));
    world.settle().await;
    for _ in 0..3 {
        assert_eq!(world.look().await, []);
    }
}

#[tokio::test]
async fn never_1_and_7_the_specification_is_not_written_and_nothing_has_a_finalizer() {
    let world = World::new();
    world.show();
    for asked in world.look().await {
        let of_cluster = asked.path.contains("/imclusters/");
        assert!(
            !of_cluster || asked.path.ends_with("/imclusters/demo/status"),
            "{asked:?}"
        );
        assert_eq!(asked.body.get("spec").filter(|_| of_cluster), None);
        assert_eq!(asked.body["metadata"].get("finalizers"), None, "{asked:?}");
    }
}

#[tokio::test]
async fn never_14_the_secret_is_in_no_other_object() {
    let world = World::new();
    let written = world.look().await;
    let of_secrets = written
        .iter()
        .filter(|it| it.path.contains("/secrets/"))
        .filter_map(|it| it.body["data"]["secret"].as_str());
    let texts: BTreeSet<_> = of_secrets.collect();
    assert_eq!(texts.len(), 3, "each has a text of its own");
    for asked in written.iter().filter(|it| !it.path.contains("/secrets/")) {
        let body = asked.body.to_string();
        assert!(!texts.iter().any(|text| body.contains(text)), "{asked:?}");
    }
}

#[tokio::test]
async fn a_deleted_child_comes_back_and_a_paused_cluster_is_left_alone() {
    let mut world = World::new();
    world.settle().await;
    let path = "/api/v1/namespaces/chat/configmaps/demo-msg";
    let delete = |world: &World| {
        world.store.lock().unwrap().remove(path).unwrap();
        world.ctx.cache.delete(Kind::ConfigMap, "chat", "demo-msg");
    };
    delete(&world);
    assert_eq!(world.settle().await, [format!("PATCH {path}")]);
    world.annotations = json!({"imcluster.io/paused": "true"});
    delete(&world);
    let written = world.settle().await;
    assert!(
        written
            .iter()
            .all(|line| line.ends_with("/imclusters/demo/status")),
        "{written:?}"
    );
    world.annotations = json!({});
    assert!(names(&world.settle().await, path));
}

#[tokio::test]
async fn a_foreign_object_is_reported_and_left_alone() {
    let world = World::new();
    let path = "/api/v1/namespaces/chat/services/demo-login";
    let foreign = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "demo-login", "uid": "x", "resourceVersion": "1"}, "spec": {}});
    world
        .store
        .lock()
        .unwrap()
        .insert(path.to_owned(), foreign.clone());
    let written = world.look().await;
    assert!(written.iter().all(|it| it.path != path), "{written:?}");
    let status = written
        .iter()
        .find(|it| it.path.ends_with("/status"))
        .unwrap();
    let conditions = status.body["status"]["conditions"].as_array().unwrap();
    let stalled = conditions
        .iter()
        .find(|it| it["type"] == "Stalled")
        .unwrap();
    assert_eq!(stalled["reason"], "Conflict");
    assert!(
        stalled["message"]
            .as_str()
            .unwrap()
            .contains("Service demo-login")
    );
    assert_eq!(world.store.lock().unwrap()[path], foreign);
}

#[tokio::test]
async fn a_bad_specification_writes_only_the_status_and_names_the_field() {
    let mut world = World::new();
    world.settle().await;
    world.spec = json!({"version": "1.0.0", "roles": {"msg": {"config": {"no.such_key": "1"}}}});
    let written = world.look().await;
    assert_eq!(written.len(), 1, "{written:?}");
    assert!(
        written[0].body.to_string().contains("no.such_key"),
        "{written:?}"
    );
    assert_eq!(world.look().await, []);
}

#[tokio::test]
async fn never_17_an_object_that_cannot_be_parsed_is_reported() {
    let mut world = World::new();
    world.spec = json!({"version": 7});
    let written = world.look().await;
    assert_eq!(written.len(), 1, "{written:?}");
    let conditions = &written[0].body["status"]["conditions"];
    assert!(
        conditions.to_string().contains("InvalidSpec"),
        "{conditions}"
    );
}

#[tokio::test]
async fn never_3_another_operator_with_the_same_inputs_changes_no_template() {
    let world = World::new();
    world.settle().await;
    let path = format!("{APPS}/statefulsets/demo-db-proxy");
    world.run(&path);
    world.settle().await;
    let before = world.store.lock().unwrap()[&path]["spec"]["template"].clone();
    // What an older operator stored differs from what this one would make.
    {
        let mut store = world.store.lock().unwrap();
        let stored: Vec<String> = store
            .keys()
            .filter(|path| path.contains("controllerrevisions/demo-db-proxy-"))
            .cloned()
            .collect();
        let revision = store.get_mut(&stored[0]).unwrap();
        revision["data"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(77);
        revision["metadata"]["uid"] = json!("read again");
    }
    world.change(&path, |set| {
        set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(77);
    });
    world.ctx.forget(&key());
    world.settle().await;
    let after = world.store.lock().unwrap()[&path]["spec"]["template"].clone();
    assert_eq!(after["spec"]["terminationGracePeriodSeconds"], 77);
    assert_eq!(after["metadata"], before["metadata"]);
}
