//! Pods of msg that are to go: because fewer are wanted, or because they were asked to.

use super::truth::{closed_port, login, running};
use super::*;

/// The path of a msg pod.
fn pod_of_msg(world: &World) -> String {
    let store = world.store.lock().unwrap();
    let is_msg = |path: &&String| path.contains("/pods/demo-msg-");
    store.keys().find(is_msg).unwrap().clone()
}

#[tokio::test]
async fn fewer_pods_wait_for_the_load_and_status_says_so_at_once() {
    let world = World::new();
    let port = closed_port().await;
    let mut world = running(world, port).await;
    world.spec["roles"] = json!({"msg": {"replicas": 1}});
    let lines: Vec<String> = world.look().await.iter().map(Asked::line).collect();
    assert!(!names(&lines, "/replicasets/"), "{lines:#?}");
    assert!(!names(&lines, "/pods/"), "{lines:#?}");
    let limited = world.condition("ScalingLimited");
    assert_eq!(limited, ("True".to_owned(), "LoadUnknown".to_owned()));
    assert_eq!(world.condition("Ready").0, "True");
}

#[tokio::test]
async fn a_pod_that_is_asked_to_go_has_a_successor_and_an_order_until_that_is_taken_back() {
    let world = World::new();
    let port = login(&world.store).await;
    let world = running(world, port).await;
    let pod = pod_of_msg(&world);
    let annotation = |key: &str| {
        let store = world.store.lock().unwrap();
        store[&pod]["metadata"]["annotations"][key].clone()
    };
    world.change(&pod, |object| {
        object["metadata"]["annotations"]["imcluster.io/drain"] = json!("upgrade");
    });
    let first: Vec<String> = world.look().await.iter().map(Asked::line).collect();
    assert!(names(&first, "/replicasets/demo-msg-"), "{first:#?}");
    assert_eq!(annotation("imcluster.io/orders"), Value::Null);
    world.install().await;
    let order = annotation("imcluster.io/orders");
    let order = order.as_str().unwrap();
    assert!(
        order.starts_with("drain 2") && order.ends_with("Z 500"),
        "{order}"
    );
    let drains = world.status()["drains"].clone();
    assert_eq!(drains[0]["reason"], "upgrade", "{drains}");
    world.change(&pod, |object| {
        let annotations = object["metadata"]["annotations"].as_object_mut();
        annotations.unwrap().remove("imcluster.io/drain");
    });
    world.look().await;
    assert_eq!(annotation("imcluster.io/orders"), Value::Null);
}
