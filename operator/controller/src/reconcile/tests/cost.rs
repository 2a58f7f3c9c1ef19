//! How many requests an installation costs.

use super::*;

/// Looks and plays the controllers until all runs; what was asked for meanwhile.
async fn installing(world: &World) -> Vec<Asked> {
    let mut all = Vec::new();
    for _ in 0..10 {
        all.extend(world.look_and_ask().await);
        world.run_all();
    }
    assert_eq!(world.look().await, [], "it is installed");
    all
}

#[tokio::test]
async fn a_stored_revision_is_not_read_by_the_process_that_wrote_it_and_once_by_another() {
    let mut world = World::new();
    let is_stored = |it: &&Asked| it.object().contains("/controllerrevisions/");
    let of = |asked: &[Asked], method: &str| -> BTreeSet<String> {
        let stored = asked.iter().filter(is_stored);
        let found = stored.filter(|it| it.method == method);
        found.map(Asked::object).collect()
    };
    let first = installing(&world).await;
    let written = of(&first, "POST");
    assert_eq!(written.len(), 4, "{first:#?}");
    assert_eq!(of(&first, "GET"), BTreeSet::new());
    world.restart();
    let asked = world.look_and_ask().await;
    assert_eq!(asked.iter().filter(is_stored).count(), 4, "{asked:#?}");
    assert_eq!(of(&asked, "GET"), written);
    let asked = world.look_and_ask().await;
    assert_eq!(asked.iter().filter(is_stored).count(), 0, "{asked:#?}");
}

/// Requests of the first looks at a new object, whose pods nobody runs: reads and writes.
async fn installed(world: &World) -> (Vec<String>, Vec<String>) {
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for look in 0..5 {
        if look == 1 {
            // A pod that nobody runs.
            world.change(&format!("{APPS}/statefulsets/demo-db-proxy"), |set| {
                set["status"] = json!({"replicas": 1, "observedGeneration": 1});
            });
        }
        for asked in world.look_and_ask().await {
            let kind = if asked.method == "GET" {
                &mut reads
            } else {
                &mut writes
            };
            kind.push(asked.line());
        }
    }
    (reads, writes)
}

#[tokio::test]
async fn a_new_installation_reads_nothing_and_writes_each_object_once() {
    let mut world = World::new();
    Arc::get_mut(&mut world.ctx).unwrap().status_rest = Duration::from_secs(3600);
    world.spec = json!({"version": "1.0.0",
        "roles": {"login": {"replicas": 1}, "msg": {"replicas": 1}, "route": {"replicas": 1}}});
    let (reads, writes) = installed(&world).await;
    assert_eq!(reads, [""; 0]);
    let once: BTreeSet<&String> = writes.iter().collect();
    assert_eq!(once.len(), writes.len(), "{writes:#?}");
    let creates = writes.iter().filter(|line| line.starts_with("POST "));
    assert_eq!(
        creates.count(),
        writes.len() - 1,
        "all but the status: {writes:#?}"
    );
    // 13 objects, an event, and the status; that which says how far it is comes a second later.
    assert_eq!(writes.len(), 15, "{writes:#?}");
}

#[tokio::test]
async fn a_pod_that_waits_for_its_volume_costs_one_read_of_the_claim() {
    let world = World::new();
    world.settle().await;
    world.change(&format!("{APPS}/statefulsets/demo-db-proxy"), |set| {
        set["status"] = json!({"replicas": 1, "observedGeneration": 1});
    });
    let claim = "/api/v1/namespaces/chat/persistentvolumeclaims/data-demo-db-proxy-0";
    let claimed = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data-demo-db-proxy-0", "namespace": "chat", "uid": "c",
            "resourceVersion": "1", "labels": {"imcluster.io/cluster": "demo"},
            "annotations": im_operator_plan::kept()},
        "spec": {"resources": {"requests": {"storage": "10Gi"}}},
        "status": {"phase": "Pending"}});
    let waiting = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "demo-db-proxy-0", "namespace": "chat", "uid": "p",
            "resourceVersion": "1", "labels": {"app.kubernetes.io/instance": "demo",
                "app.kubernetes.io/component": "db-proxy"}},
        "spec": {}, "status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "message": "unbound claims"}]}});
    {
        let mut store = world.store.lock().unwrap();
        store.insert(claim.to_owned(), claimed);
        let pod = "/api/v1/namespaces/chat/pods/demo-db-proxy-0";
        store.insert(pod.to_owned(), waiting);
    }
    let mut reads = Vec::new();
    for _ in 0..5 {
        let asked = world.look_and_ask().await.into_iter();
        reads.extend(asked.filter(|it| it.method == "GET").map(|it| it.line()));
    }
    assert_eq!(reads, [format!("GET {claim}")]);
    assert_eq!(world.condition("DatabaseReady").1, "StorageClassMissing");
}

#[tokio::test]
async fn what_was_created_loses_what_is_not_wanted_any_more() {
    let mut world = World::new();
    let with = |annotations: Value| json!({"version": "1.0.0", "roles": {"login": {"service": {"annotations": annotations}}}});
    let path = "/api/v1/namespaces/chat/services/demo-login";
    let annotations = |world: &World| {
        let store = world.store.lock().unwrap();
        let all = store[path]["metadata"]["annotations"].as_object().unwrap();
        let mut keys: Vec<String> = all.keys().cloned().collect();
        keys.retain(|key| !key.starts_with("imcluster.io/"));
        keys
    };
    world.spec = with(json!({"of-the-provider": "1", "also": "2"}));
    world.settle().await;
    assert_eq!(annotations(&world), ["also", "of-the-provider"]);
    world.spec = with(json!({"also": "2"}));
    world.settle().await;
    assert_eq!(annotations(&world), ["also"]);
    // From then on a change is one request.
    world.spec = with(json!({}));
    let asked = world.look_and_ask().await;
    let about = asked.iter().filter(|it| it.path == path);
    assert_eq!(about.count(), 1, "{asked:#?}");
    assert_eq!(annotations(&world), [""; 0]);
}

#[tokio::test]
async fn a_status_is_written_at_once_when_a_condition_turns_and_otherwise_after_a_rest() {
    let mut world = World::new();
    let rest = |world: &mut World, seconds: u64| {
        Arc::get_mut(&mut world.ctx).unwrap().status_rest = Duration::from_secs(seconds);
    };
    let statuses = async |world: &World| {
        let written = world.look().await.into_iter();
        written.filter(|it| it.path.ends_with("/status")).count()
    };
    let set = format!("{APPS}/statefulsets/demo-db-proxy");
    world.install().await;
    rest(&mut world, 3600);
    world.change(&set, |set| set["status"]["replicas"] = json!(2));
    assert_eq!(statuses(&world).await, 0, "only a number");
    rest(&mut world, 0);
    assert_eq!(statuses(&world).await, 1, "the rest is over");
    rest(&mut world, 3600);
    world.change(&set, |set| set["status"]["readyReplicas"] = json!(0));
    assert_eq!(statuses(&world).await, 1, "Ready turned");
    assert_eq!(world.condition("Ready").0, "False");
}
