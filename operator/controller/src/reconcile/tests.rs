//! Whole looks against an API server that keeps objects and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kinds::Kind;
use crate::testing::Asked;
use world::{World, key};

mod cost;
mod database;
mod idle;
mod moves;
mod optional;
mod recovery;
mod references;
mod secrets;
mod spans;
mod truth;
mod versions;
mod volume;
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
    assert!(names(&first, "networkpolicies/demo-default-deny"));
    // Its address may take a while.
    assert!(names(&first, "services/demo-login"));
    for later in ["demo-route", "demo-msg", "demo-login-", "/deployments/"] {
        assert!(!names(&first, later), "{later}: {first:#?}");
    }
    world.run(&format!("{APPS}/statefulsets/demo-db-proxy"));
    let second = world.settle().await;
    assert!(names(&second, "deployments/demo-route"), "{second:#?}");
    assert!(names(&second, "services/demo-route"), "{second:#?}");
    assert!(names(&second, "networkpolicies/demo-route"), "{second:#?}");
    for later in ["demo-msg", "demo-login"] {
        assert!(!names(&second, later), "{later}: {second:#?}");
    }
    world.run(&format!("{APPS}/deployments/demo-route"));
    let third = world.settle().await;
    assert!(
        names(&third, "POST /apis/apps/v1/namespaces/chat/replicasets"),
        "{third:#?}"
    );
    assert!(names(&third, "poddisruptionbudgets/demo-msg"), "{third:#?}");
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
        .filter(|it| it.object().contains("/secrets/"))
        .filter_map(|it| it.body["data"]["secret"].as_str());
    let texts: BTreeSet<_> = of_secrets.collect();
    assert_eq!(texts.len(), 3, "each has a text of its own");
    for asked in written
        .iter()
        .filter(|it| !it.object().contains("/secrets/"))
    {
        let body = asked.body.to_string();
        assert!(!texts.iter().any(|text| body.contains(text)), "{asked:?}");
    }
}

#[tokio::test]
async fn a_deleted_child_comes_back_and_a_paused_cluster_is_left_alone() {
    let mut world = World::new();
    world.settle().await;
    let path = "/api/v1/namespaces/chat/configmaps/demo-db-proxy";
    let delete = |world: &World| {
        world.store.lock().unwrap().remove(path).unwrap();
        let cache = &world.ctx.cache;
        cache.delete(Kind::ConfigMap, "chat", "demo-db-proxy");
    };
    delete(&world);
    assert_eq!(world.settle().await, [format!("POST {path}")]);
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
    assert!(
        written
            .iter()
            .all(|it| it.method == "POST" || it.object() != path),
        "{written:?}"
    );
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

#[tokio::test]
async fn slots_that_nobody_needs_are_given_back_over_restarts_and_without_idle_writes() {
    let mut world = World::new();
    world.spec = json!({"version": "1.0.0", "load": {"mirror": "None"}});
    world.install().await;
    let slots = |world: &World| -> Vec<String> {
        let store = world.store.lock().unwrap();
        let paths = store.keys().filter(|path| path.contains("-msg-slot-"));
        paths.cloned().collect()
    };
    assert_eq!(slots(&world).len(), 4, "three pods and a surge");
    world.spec["roles"]["msg"]["replicas"] = json!(0);
    world.settle().await;
    let is_msg = |path: &str| path.contains("/pods/demo-msg-");
    world.store.lock().unwrap().retain(|path, _| !is_msg(path));
    world.run_all();
    world.settle().await;
    let since = |path: &str| {
        let store = world.store.lock().unwrap();
        store[path]["metadata"]["annotations"]["imcluster.io/unused-since"].clone()
    };
    let marked: Vec<String> = slots(&world)
        .into_iter()
        .filter(|path| since(path).is_string())
        .collect();
    assert_eq!(marked.len(), 4, "three were used, one is needed no more");
    for _ in 0..5 {
        world.restart();
        assert_eq!(world.settle().await, [] as [String; 0]);
    }
    for path in &marked {
        world.change(path, |slot| {
            let annotations = &mut slot["metadata"]["annotations"];
            annotations["imcluster.io/unused-since"] = json!("2026-01-01T00:00:00Z");
        });
    }
    world.restart();
    let written = world.settle().await;
    let deleted = written.iter().filter(|line| line.starts_with("DELETE"));
    assert_eq!(deleted.count(), 3, "one is for a surge: {written:#?}");
    assert!(slots(&world)[0].ends_with("-msg-slot-0"), "{written:#?}");
    assert_eq!(world.settle().await, [] as [String; 0]);
}

#[tokio::test]
async fn another_number_of_login_servers_is_told_to_those_that_stay() {
    let mut world = World::new();
    world.spec = json!({"version": "1.0.0", "load": {"mirror": "None"},
        "roles": {"login": {"replicas": 3}}});
    world.install().await;
    let deployment = format!("{APPS}/deployments/demo-login");
    let told = "/api/v1/namespaces/chat/configmaps/demo-login";
    let stored = |world: &World, path: &str| world.store.lock().unwrap()[path].clone();
    let before = stored(&world, &deployment);
    assert_eq!(stored(&world, told)["data"]["replicas"], "3");
    world.spec["roles"]["login"]["replicas"] = json!(5);
    let written = world.settle().await;
    let after = stored(&world, &deployment);
    assert_eq!(after["spec"]["replicas"], 5);
    assert_eq!(after["spec"]["template"], before["spec"]["template"]);
    assert_eq!(stored(&world, told)["data"]["replicas"], "5");
    let of_login = written.iter().filter(|line| line.contains("demo-login"));
    let of_login: BTreeSet<_> = of_login.collect();
    assert_eq!(of_login.len(), 2, "{written:#?}");
    // An autoscaler chooses another number.
    world.change(&deployment, |object| {
        object["spec"]["replicas"] = json!(7);
        let entry = json!({"manager": "kube-controller-manager", "operation": "Update",
            "subresource": "scale", "time": "2026-01-02T00:00:00Z",
            "fieldsV1": {"f:spec": {"f:replicas": {}}}});
        object["metadata"]["managedFields"]
            .as_array_mut()
            .unwrap()
            .push(entry);
    });
    world.settle().await;
    assert_eq!(stored(&world, &deployment)["spec"]["replicas"], 7);
    assert_eq!(stored(&world, told)["data"]["replicas"], "7");
    assert_eq!(world.look().await, []);
}
