//! Secrets and ConfigMaps of other people: the status says which are missing.

use super::*;

const KEYS: &str = "/api/v1/namespaces/chat/secrets/keys";
const SET: &str = "/apis/apps/v1/namespaces/chat/statefulsets/demo-msfs";

fn with_bucket() -> Value {
    json!({
        "version": "1.0.0",
        "roles": {"msfs": {}},
        "storage": {"blobs": {"type": "S3", "s3": {
            "bucket": "chat", "credentialsSecretName": "keys"}}},
    })
}

fn secret(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "data": data,
        "metadata": {"name": "keys", "namespace": "chat", "uid": "k", "resourceVersion": "1"}})
}

fn message(world: &World) -> String {
    let status = world.status();
    let conditions = status["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|it| it["type"] == "Degraded");
    found.unwrap()["message"].as_str().unwrap().to_owned()
}

/// Looks again after the time for which what was found holds.
async fn later(world: &World) {
    world.ctx.memories.of(&key()).lock().await.references.looked = None;
    world.look().await;
}

#[tokio::test]
async fn a_secret_that_is_missing_or_lacks_a_key_is_named_until_it_is_whole() {
    let mut world = World::new();
    world.spec = with_bucket();
    world.install().await;
    let missing = ("True".to_owned(), "SecretMissing".to_owned());
    assert_eq!(world.condition("Degraded"), missing);
    let which = "Secret keys, which spec.storage.blobs.s3.credentialsSecretName names,";
    let said = format!("{which} does not exist: new pods wait for it");
    assert_eq!(message(&world), said);

    // It is told once, and not what stands in it.
    let half = secret(&json!({"accessKey": "aGlkZGVu"}));
    world.store.lock().unwrap().insert(KEYS.to_owned(), half);
    let told = |written: &[Asked]| {
        let events = written.iter().filter(|it| it.path.contains("/events"));
        let told = events.filter(|it| it.body["reason"] == "ReferenceMissing");
        told.count()
    };
    world.ctx.memories.of(&key()).lock().await.references.looked = None;
    let written = world.look_and_tell().await;
    assert_eq!(told(&written), 1);
    assert!(
        !written
            .iter()
            .any(|it| it.body.to_string().contains("aGlk"))
    );
    let said = format!("{which} has no key secretKey: new pods wait for it");
    assert_eq!(message(&world), said);
    world.ctx.memories.of(&key()).lock().await.references.looked = None;
    assert_eq!(told(&world.look_and_tell().await), 0);

    let whole = secret(&json!({"accessKey": "YQ==", "secretKey": "Yg=="}));
    world.store.lock().unwrap().insert(KEYS.to_owned(), whole);
    later(&world).await;
    let fine = ("False".to_owned(), "AsExpected".to_owned());
    assert_eq!(world.condition("Degraded"), fine);
    // It belongs to somebody else.
    let present = world.store.lock().unwrap()[KEYS].clone();
    assert_eq!(
        present["data"],
        json!({"accessKey": "YQ==", "secretKey": "Yg=="})
    );
}

/// The role was named no more, the type changed, and the role named again, before the operator had looked.
#[tokio::test]
async fn a_statefulset_with_a_volume_makes_way_for_one_without_with_its_pods() {
    let mut world = World::new();
    world.spec = json!({"version": "1.0.0", "roles": {"msfs": {}}});
    world.install().await;
    let claims = |world: &World| {
        let store = world.store.lock().unwrap();
        store[SET]["spec"]["volumeClaimTemplates"].clone()
    };
    assert!(claims(&world).is_array());
    world.spec = with_bucket();
    let written = world.look().await;
    let deleted: Vec<&Asked> = written.iter().filter(|it| it.method == "DELETE").collect();
    assert_eq!(deleted.len(), 1, "{written:#?}");
    assert_eq!(deleted[0].line(), format!("DELETE {SET}"));
    assert_eq!(deleted[0].body["propagationPolicy"], "Background");
    world.install().await;
    assert!(claims(&world).is_null());
}
