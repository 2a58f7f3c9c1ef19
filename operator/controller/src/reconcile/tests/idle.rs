//! A namespace that another operator looks after, and what the API server fails to write for a while.

use super::*;
use crate::claims::Claim;
use crate::claims::tests::{installation, leases};

#[tokio::test]
async fn an_operator_writes_nothing_where_another_one_looks_after_the_namespace_but_says_why() {
    let (client, _) = leases();
    let mut first = installation(&client, "chat/one");
    first.claims.of(&key());
    assert_eq!(first.asked_for().await, Claim::Ours);
    let mut second = installation(&client, "other/two");
    let mut world = World::new();
    Arc::get_mut(&mut world.ctx).unwrap().claims = second.claims.clone();
    assert_eq!(world.look_and_tell().await, [], "it has not asked yet");
    second.asked_for().await;
    let written = world.look_and_tell().await;
    assert_eq!(written.len(), 1, "{written:?}");
    assert_eq!(written[0].body["reason"], "LookedAfterByAnother");
    let note = "operator chat/one looks after namespace chat: operator other/two stays idle here";
    assert_eq!(written[0].body["note"], note);
    assert_eq!(world.look_and_tell().await, [], "said once");
}

/// A webhook that is away answers with 500 through the API server, for however long.
#[tokio::test]
async fn what_cannot_be_written_is_tried_every_few_seconds_for_however_long() {
    let world = World::new();
    world.settle().await;
    let path = "/api/v1/namespaces/chat/configmaps/demo-db-proxy";
    let other = "/api/v1/namespaces/chat/services/demo-login";
    for path in [path, other] {
        world.store.lock().unwrap().remove(path).unwrap();
    }
    world.refuse(&format!("POST {path}"), 500, "failed calling webhook");
    world.refuse(&format!("POST {other}"), 422, "not this");
    for _ in 0..20 {
        let pause = world.failed().await;
        assert!(pause < Duration::from_secs(13), "{pause:?}");
    }
    world.allow(&format!("POST {path}"));
    world.allow(&format!("POST {other}"));
    world.settle().await;
    assert!(world.store.lock().unwrap().contains_key(path));
}
