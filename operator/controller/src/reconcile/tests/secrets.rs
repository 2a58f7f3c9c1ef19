//! A Secret that somebody changes is carried over in steps; who owns it follows the policy at once.

use k8s_openapi::ByteString;

use super::*;

const SECRETS: &str = "/api/v1/namespaces/chat/secrets";

fn text(world: &World, name: &str) -> String {
    let store = world.store.lock().unwrap();
    let text = store[&format!("{SECRETS}/{name}")]["data"]["secret"].clone();
    let ByteString(bytes) = serde_json::from_value(text).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn put(world: &World, name: &str, text: &str) {
    world.change(&format!("{SECRETS}/{name}"), |secret| {
        secret["data"]["secret"] = json!(ByteString(text.into()));
    });
}

/// Looks at the Secrets again, after the time that nodes need has passed.
async fn later(world: &World) -> Vec<String> {
    let store = &world.store;
    for secret in store.lock().unwrap().values_mut() {
        if let Some(since) =
            secret["metadata"]["annotations"].get_mut("imcluster.io/rotation-since")
        {
            *since = json!("2026-01-01T00:00:00Z");
        }
    }
    world.ctx.memories.of(&key()).lock().await.secrets_checked = None;
    let written = world.look_and_tell().await;
    let events = written.iter().filter(|it| it.path.contains("/events"));
    let reasons = events.map(|it| it.body["reason"].as_str().unwrap().to_owned());
    reasons.collect()
}

#[tokio::test]
async fn a_changed_internal_secret_is_an_overlap_of_old_and_new_before_it_is_the_new_one() {
    let mut world = World::new();
    world.install().await;
    let old = text(&world, "demo-internal");
    put(&world, "demo-internal", "new");
    assert_eq!(later(&world).await, ["SecretChanged"]);
    assert_eq!(text(&world, "demo-internal"), format!("{old}\nnew"));
    // Another operator goes on with it.
    world.restart();
    assert_eq!(later(&world).await, ["SecretRotated"]);
    assert_eq!(text(&world, "demo-internal"), format!("new\n{old}"));
    assert_eq!(later(&world).await, ["SecretRotated"]);
    assert_eq!(text(&world, "demo-internal"), "new");
    assert_eq!(later(&world).await, Vec::<String>::new());
    assert_eq!(text(&world, "demo-internal"), "new");
}

#[tokio::test]
async fn the_key_of_remembered_logins_is_left_as_it_was_put() {
    let world = World::new();
    world.install().await;
    put(&world, "demo-remember", "new");
    assert_eq!(later(&world).await, ["SecretChanged"]);
    assert_eq!(text(&world, "demo-remember"), "new");
}

#[tokio::test]
async fn a_changed_deletion_policy_is_carried_out_by_the_next_look() {
    let mut world = World::new();
    world.install().await;
    // The owner of each Secret as it is applied.
    let applied = |written: Vec<Asked>| -> Vec<Value> {
        let secrets = written.into_iter().filter(|it| it.body["kind"] == "Secret");
        let owners = secrets.map(|it| it.body["metadata"]["ownerReferences"][0]["uid"].clone());
        owners.collect()
    };
    for (policy, owner) in [("Delete", json!("u")), ("Retain", Value::Null)] {
        world.spec["operation"] = json!({"deletionPolicy": policy});
        assert_eq!(applied(world.look().await), vec![owner; 3], "{policy}");
        assert_eq!(applied(world.look().await), Vec::<Value>::new(), "{policy}");
    }
}
