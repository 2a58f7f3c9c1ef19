//! How many requests an installation costs.

use super::*;

#[tokio::test]
async fn a_stored_revision_is_not_read_by_the_process_that_wrote_it_and_once_by_another() {
    let mut world = World::new();
    let is_stored = |it: &&Asked| it.path.contains("/controllerrevisions/");
    let first = world.look_and_ask().await;
    let written: BTreeSet<String> = first
        .iter()
        .filter(is_stored)
        .filter(|it| it.method == "PATCH")
        .map(|it| it.path.clone())
        .collect();
    assert_eq!(written.len(), 4, "{first:#?}");
    for _ in 0..3 {
        let asked = world.look_and_ask().await;
        assert_eq!(asked.iter().filter(is_stored).count(), 0, "{asked:#?}");
    }
    world.restart();
    let asked = world.look_and_ask().await;
    let read: BTreeSet<String> = asked
        .iter()
        .filter(is_stored)
        .map(|it| it.path.clone())
        .collect();
    assert_eq!(read, written);
    let asked = world.look_and_ask().await;
    assert_eq!(asked.iter().filter(is_stored).count(), 0, "{asked:#?}");
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
