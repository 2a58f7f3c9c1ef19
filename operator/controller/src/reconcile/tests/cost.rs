//! How many requests an installation costs.

use super::*;

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
    assert!(writes.len() <= 31, "{}: {writes:#?}", writes.len());
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
