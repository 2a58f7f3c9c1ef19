//! The database's volume grows while it is used, or says why it does not.

use super::*;

const SET: &str = "/apis/apps/v1/namespaces/chat/statefulsets/demo-db-proxy";
const CLAIM: &str = "/api/v1/namespaces/chat/persistentvolumeclaims/data-demo-db-proxy-0";
const POD: &str = "/api/v1/namespaces/chat/pods/demo-db-proxy-0";

fn spec(size: &str) -> Value {
    let volume = json!({"size": size, "storageClassName": "fast"});
    json!({"version": "1.0.0", "database": {"embedded": {"storage": {"persistentVolume": volume}}}})
}

/// An installation with a volume of 10 GiB.
async fn with_volume() -> World {
    let mut world = World::new();
    world.spec = spec("10Gi");
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data-demo-db-proxy-0", "namespace": "chat", "uid": "c",
            "resourceVersion": "1"},
        "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "10Gi"}}},
        "status": {"phase": "Bound", "capacity": {"storage": "10Gi"}}});
    world.store.lock().unwrap().insert(CLAIM.to_owned(), claim);
    world.install().await;
    world
}

/// The operator reads the claim again, as it does after a while.
async fn later(world: &World) {
    let memory = world.ctx.memories.of(&key());
    let mut memory = memory.lock().await;
    memory.volumes.values_mut().for_each(|it| it.looked = None);
}

fn conditions(world: &World) -> Vec<String> {
    let status = world.status();
    let found = status["conditions"].as_array().unwrap().iter();
    found
        .map(|it| it["type"].as_str().unwrap().to_owned())
        .collect()
}

fn told(written: &[Asked]) -> Vec<&str> {
    let events = written.iter().filter(|it| it.path.contains("/events"));
    events.filter_map(|it| it.body["reason"].as_str()).collect()
}

#[tokio::test]
async fn a_larger_size_raises_the_claim_and_replaces_the_stateful_set_without_its_pod() {
    let mut world = with_volume().await;
    assert!(!conditions(&world).contains(&"VolumeTooSmall".to_owned()));
    let uid = world.store.lock().unwrap()[POD]["metadata"]["uid"].clone();
    world.spec = spec("20Gi");
    let written = world.look_and_tell().await;
    let of_set: Vec<_> = written.iter().filter(|it| it.path == SET).collect();
    assert_eq!(of_set.len(), 1, "{written:?}");
    assert_eq!(of_set[0].method, "DELETE");
    assert_eq!(of_set[0].body["propagationPolicy"], "Orphan");
    assert_eq!(told(&written), ["VolumeGrowing"]);
    let asked = |world: &World| {
        let store = world.store.lock().unwrap();
        store[CLAIM]["spec"]["resources"]["requests"]["storage"].clone()
    };
    assert_eq!(asked(&world), "20Gi");
    world.install().await;
    let set = world.store.lock().unwrap()[SET].clone();
    let template = &set["spec"]["volumeClaimTemplates"][0];
    assert_eq!(template["spec"]["resources"]["requests"]["storage"], "20Gi");
    assert_eq!(world.store.lock().unwrap()[POD]["metadata"]["uid"], uid);
    let is = world.condition("VolumeTooSmall");
    assert_eq!(is, ("True".to_owned(), "Resizing".to_owned()));
    assert_eq!(world.condition("DatabaseReady").0, "True");
    assert_eq!(world.look_and_tell().await, [], "it waits in silence");

    world.change(CLAIM, |claim| {
        claim["status"]["conditions"] = json!([{"type": "FileSystemResizePending",
            "status": "True", "message": "waiting for the pod's node"}]);
    });
    later(&world).await;
    world.settle().await;
    assert_eq!(
        world.condition("VolumeTooSmall").1,
        "FileSystemResizePending"
    );
    // Another operator finds the same, and says it to nobody.
    world.restart();
    let written = world.look_and_tell().await;
    assert_eq!(told(&written), Vec::<&str>::new());
    assert_eq!(
        world.condition("VolumeTooSmall").1,
        "FileSystemResizePending"
    );

    world.change(CLAIM, |claim| {
        claim["status"] = json!({"phase": "Bound", "capacity": {"storage": "20Gi"}});
    });
    later(&world).await;
    let written = world.look_and_tell().await;
    assert_eq!(told(&written), ["VolumeGrown"]);
    assert!(!conditions(&world).contains(&"VolumeTooSmall".to_owned()));
    assert_eq!(told(&world.look_and_tell().await), Vec::<&str>::new());
}

#[tokio::test]
async fn a_class_that_does_not_let_volumes_grow_is_named_and_the_service_goes_on() {
    let mut world = with_volume().await;
    let patch = format!("PATCH {CLAIM}");
    world.refuse(
        &patch,
        403,
        "only dynamically provisioned pvc can be resized",
    );
    world.spec = spec("20Gi");
    let written = world.look_and_tell().await;
    assert_eq!(told(&written), ["VolumeNotGrown"]);
    world.install().await;
    let is = world.condition("VolumeTooSmall");
    assert_eq!(is, ("True".to_owned(), "ExpansionNotAllowed".to_owned()));
    assert!(world.status().to_string().contains("StorageClass fast"));
    assert_eq!(world.condition("DatabaseReady").0, "True");
    assert!(!conditions(&world).contains(&"Stalled".to_owned()));
    later(&world).await;
    let written = world.look_and_tell().await;
    assert_eq!(told(&written), Vec::<&str>::new(), "said once");
    // Somebody has changed the class.
    world.allow(&patch);
    later(&world).await;
    world.settle().await;
    assert_eq!(world.condition("VolumeTooSmall").1, "Resizing");
}
