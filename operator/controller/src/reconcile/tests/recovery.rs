//! The way back from a version or setting of dbProxy that does not start.

use super::*;

const SET: &str = "/apis/apps/v1/namespaces/chat/statefulsets/demo-db-proxy";

/// The deletions and creations of the StatefulSet among writes.
fn about_the_set(written: &[Asked]) -> Vec<String> {
    let of_set = written.iter().filter(|it| it.object() == SET);
    of_set.map(|it| it.method.clone()).collect()
}

#[tokio::test]
async fn a_stateful_set_that_replaces_no_stuck_pod_is_replaced_itself_and_its_pod_stays() {
    let world = World::new();
    world.install().await;
    let before = world.status();
    let pod = "/api/v1/namespaces/chat/pods/demo-db-proxy-0";
    let uid = world.store.lock().unwrap()[pod]["metadata"]["uid"].clone();
    // As an earlier operator made it.
    world.change(SET, |set| {
        set["spec"]["podManagementPolicy"] = json!("OrderedReady");
    });
    let written = world.look().await;
    assert_eq!(about_the_set(&written), ["DELETE"], "{written:?}");
    let delete = written.iter().find(|it| it.path == SET).unwrap();
    assert_eq!(delete.body["propagationPolicy"], "Orphan");
    assert!(delete.body["preconditions"]["uid"].is_string());
    let written = world.look().await;
    assert_eq!(about_the_set(&written), ["POST"], "{written:?}");
    let set = world.store.lock().unwrap()[SET].clone();
    assert_eq!(set["spec"]["podManagementPolicy"], "Parallel");
    // Between the two nothing is unavailable: its pod serves.
    assert!(
        written.iter().all(|it| !it.path.ends_with("/status")),
        "{written:?}"
    );
    // Its controller has not looked at it yet.
    assert_eq!(world.look_and_tell().await, []);
    world.run_all();
    world.settle().await;
    assert_eq!(world.status(), before);
    assert_eq!(world.store.lock().unwrap()[pod]["metadata"]["uid"], uid);
}

const PROOF: &str = "/apis/apps/v1/namespaces/chat/replicasets/demo-db-proxy-proof";

/// The proof's pod with this state of its container.
fn proving(world: &World, status: Value) {
    let uid = world.store.lock().unwrap()[PROOF]["metadata"]["uid"].clone();
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "demo-db-proxy-proof-x", "namespace": "chat", "uid": "p",
            "resourceVersion": "1",
            "labels": {"app.kubernetes.io/instance": "demo",
                "app.kubernetes.io/component": "db-proxy-proof"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet",
                "name": "demo-db-proxy-proof", "uid": uid, "controller": true}]},
        "spec": {}, "status": {"phase": "Running", "containerStatuses": [{"name": "db-proxy",
            "image": "imcluster/imd:1.0.1", "imageID": "", "ready": false, "restartCount": 0,
            "state": status}]}});
    let path = "/api/v1/namespaces/chat/pods/demo-db-proxy-proof-x".to_owned();
    world.store.lock().unwrap().insert(path, pod);
}

fn image(world: &World, path: &str) -> Value {
    let store = world.store.lock().unwrap();
    store[path]["spec"]["template"]["spec"]["containers"][0]["image"].clone()
}

#[tokio::test]
async fn db_proxy_is_touched_only_when_its_new_image_has_started_once() {
    let mut world = World::new();
    world.install().await;
    world.spec = json!({"version": "1.0.1"});
    let written = world.settle().await;
    assert!(
        names(&written, "replicasets/demo-db-proxy-proof"),
        "{written:?}"
    );
    assert_eq!(image(&world, PROOF), "imcluster/imd:1.0.1");
    assert_eq!(image(&world, SET), "imcluster/imd:1.0.0");
    assert!(!names(&written, "configmaps/demo-db-proxy"), "{written:?}");

    let waiting = json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}});
    proving(&world, waiting);
    world.settle().await;
    assert_eq!(image(&world, SET), "imcluster/imd:1.0.0");
    let (status, reason) = world.condition("Degraded");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("True", "ImagePullFailed")
    );
    let told = world.status().to_string();
    assert!(
        told.contains("image imcluster/imd:1.0.1 cannot be pulled"),
        "{told}"
    );

    proving(&world, json!({"terminated": {"exitCode": 0}}));
    let written = world.settle().await;
    assert_eq!(image(&world, SET), "imcluster/imd:1.0.1");
    assert!(names(&written, &format!("DELETE {PROOF}")), "{written:?}");
}

#[tokio::test]
async fn setting_the_old_version_again_ends_the_proof_and_touches_nothing_else() {
    let mut world = World::new();
    world.install().await;
    world.spec = json!({"version": "9.9.9"});
    world.settle().await;
    proving(&world, json!({"waiting": {"reason": "ErrImagePull"}}));
    world.settle().await;
    world.spec = json!({"version": "1.0.0"});
    let written = world.settle().await;
    let workloads = written.iter().filter(|line| line.contains("/apis/apps/"));
    let expected = format!("DELETE {PROOF}");
    assert!(
        workloads.clone().all(|line| *line == expected),
        "{written:?}"
    );
    assert_eq!(workloads.count(), 1);
    assert_eq!(image(&world, SET), "imcluster/imd:1.0.0");
}

#[tokio::test]
async fn a_db_proxy_that_does_not_serve_gets_its_image_without_a_proof() {
    let mut world = World::new();
    world.install().await;
    world.change(SET, |set| set["status"]["readyReplicas"] = json!(0));
    world.spec = json!({"version": "1.0.1"});
    let written = world.settle().await;
    assert!(!names(&written, "db-proxy-proof"), "{written:?}");
    assert_eq!(image(&world, SET), "imcluster/imd:1.0.1");
}
