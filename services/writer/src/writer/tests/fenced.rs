//! A second writer takes the log: of the first one nothing is stored any more, and it ends.

use std::time::Duration;

use im_order::{CommitSeq, FenceLost, Partition, Tenure};
use im_store::{GroupStore as _, MessageStore as _, StoreError};

use super::rig::{Ground, Rig, text};
use super::*;
use crate::assembly::WriterEnd;

fn lost() -> FenceLost {
    FenceLost {
        partition: Partition::ONLY,
        held: Tenure::from_wire(1),
        found: Tenure::from_wire(2),
    }
}

/// A writer, and a second one that has taken the log from it.
async fn two(ground: &Ground) -> (Rig, Rig) {
    let mut one = ground.start().await;
    assert_eq!(stored(&one.send_one(text(1, 2, 1, "a")).await), (1, 1));
    let mut two = ground.start().await;
    two.reachable(true).await;
    (one, two)
}

/// The writer has ended by itself, and says so.
async fn check_ended(mut rig: Rig) {
    rig.reachable(false).await;
    rig.core.ended().cancelled().await;
    assert!(rig.sink.take_now().is_empty());
    match rig.core.stop(Duration::from_secs(10)).await {
        Err(WriterEnd::Fenced(end)) => assert_eq!(end, lost()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nothing_of_a_writer_whose_log_was_taken_is_stored_or_answered_and_it_ends() {
    let ground = Ground::new().await;
    let (mut one, mut two) = two(&ground).await;
    // What it chooses is all free.
    let late = vec![text(1, 2, 2, "b"), text(1, 3, 1, "c")];
    one.queue(late.clone()).await;
    check_ended(one).await;
    let end = CommitSeq::from_wire(1);
    assert_eq!(ground.temp.store.log_end().await.unwrap().0, end);
    let states = ground.temp.store.conversation_states(&[pair(1, 3)]).await;
    assert_eq!(states.unwrap(), [None]);
    // Whoever sent that asks the owner.
    let done = two.send(late).await;
    assert_eq!(
        done.iter().map(stored).collect::<Vec<_>>(),
        [(2, 2), (1, 3)]
    );
}

#[tokio::test]
async fn what_a_writer_stored_before_its_log_was_taken_is_recognised_by_the_next() {
    let ground = Ground::new().await;
    let (_one, mut two) = two(&ground).await;
    let again = two.send_one(text(1, 2, 1, "a")).await;
    assert_eq!((again.outcome(), again.msg_id), (Outcome::Repeated, 1));
}

#[tokio::test]
async fn a_writer_whose_log_was_taken_changes_no_group_and_ends() {
    let ground = Ground::new().await;
    let one = ground.start().await;
    let group = make_group(&one, &[1, 2]).await;
    let mut two = ground.start().await;
    two.reachable(true).await;
    let refused = change(&one, group, MemberChange::Add, &[3], None).await;
    match refused {
        Err(WriterError::Store(StoreError::Fenced(end))) => assert_eq!(end, lost()),
        other => panic!("{other:?}"),
    }
    check_ended(one).await;
    assert_eq!(ground.temp.store.members(group).await.unwrap().len(), 2);
    let changed = change(&two, group, MemberChange::Add, &[3], None).await;
    assert_eq!(changed.unwrap().group.version, 2);
}

#[tokio::test]
async fn a_writer_whose_log_was_taken_makes_no_group_and_ends() {
    let ground = Ground::new().await;
    let (one, _two) = two(&ground).await;
    let create = CreateGroup {
        name: "late".into(),
        avatar: String::new(),
        creator: Some(user(1)),
        group_type: GroupType::Temporary,
        members: vec![user(1)],
        note: None,
    };
    let refused = one.writer.create_group(create).await;
    assert!(matches!(
        refused,
        Err(WriterError::Store(StoreError::Fenced(_)))
    ));
    check_ended(one).await;
    assert_eq!(ground.temp.store.groups_of(None).await.unwrap(), []);
}

#[tokio::test]
async fn a_store_that_failed_meanwhile_tells_a_writer_that_its_log_was_taken() {
    use std::sync::atomic::Ordering;

    let ground = Ground::new().await;
    let (mut one, _two) = two(&ground).await;
    ground.store.faults.appends.store(1, Ordering::SeqCst);
    one.queue(vec![text(1, 2, 2, "b")]).await;
    check_ended(one).await;
    let end = CommitSeq::from_wire(1);
    assert_eq!(ground.temp.store.log_end().await.unwrap().0, end);
}
