//! Whole looks against an API server that keeps objects and nothing else.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::kinds::Kind;
use crate::testing::Asked;
use world::{World, key};

mod recovery;
mod spans;
mod truth;
mod world;

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
        .rfind(|it| it.path.ends_with("/status"))
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
