use crate::{FollowerHold, FollowerRetry, FollowerStep, Store};
use bytes::Bytes;
use im_order::{CommitSeq, Partition};

const LANE: u32 = 1;

fn at(seq: u64) -> CommitSeq {
    CommitSeq::from_wire(seq)
}

fn retry(key: &'static str, due: u64, tries: u32) -> FollowerRetry {
    FollowerRetry {
        key: Bytes::from_static(key.as_bytes()),
        lane: LANE,
        due,
        tries,
        body: Bytes::from(format!("{key}{tries}")),
    }
}

fn step(name: &str, epoch: u64, position: u64, put: &[FollowerRetry]) -> FollowerStep {
    FollowerStep {
        name: name.into(),
        partition: Partition::ONLY,
        epoch,
        position: at(position),
        put: put.to_vec(),
        remove: Vec::new(),
    }
}

async fn hold(store: &dyn Store, name: &str, start: u64) -> FollowerHold {
    let held = store.hold_follower(name, Partition::ONLY, at(start)).await;
    held.unwrap()
}

async fn due(store: &dyn Store, name: &str, until: u64, rows: u32) -> Vec<FollowerRetry> {
    let due = store
        .due_retries(name, Partition::ONLY, LANE, until, rows)
        .await;
    due.unwrap()
}

pub async fn a_new_name_begins_where_it_is_told_and_goes_on_where_it_was(store: &dyn Store) {
    let first = hold(store, "push", 7).await;
    assert_eq!((first.epoch, first.position), (1, at(7)));
    assert!(store.step_follower(&step("push", 1, 9, &[])).await.unwrap());
    let second = hold(store, "push", 20).await;
    assert_eq!((second.epoch, second.position), (2, at(9)));
}

pub async fn a_holder_of_an_earlier_epoch_stores_nothing(store: &dyn Store) {
    let older = hold(store, "push", 0).await;
    let newer = hold(store, "push", 0).await;
    let kept = [retry("kept", 1, 1)];
    let mine = step("push", newer.epoch, 5, &kept);
    assert!(store.step_follower(&mine).await.unwrap());
    let mut stale = step("push", older.epoch, 8, &[retry("stale", 1, 1)]);
    stale.remove.push(Bytes::from_static(b"kept"));
    assert!(!store.step_follower(&stale).await.unwrap());
    assert_eq!(due(store, "push", 9, 9).await, kept);
    assert_eq!(hold(store, "push", 0).await.position, at(5));
}

pub async fn what_is_due_comes_longest_overdue_first(store: &dyn Store) {
    hold(store, "push", 0).await;
    let put = [retry("a", 30, 1), retry("b", 10, 1), retry("c", 20, 1)];
    assert!(
        store
            .step_follower(&step("push", 1, 1, &put))
            .await
            .unwrap()
    );
    assert_eq!(
        due(store, "push", 20, 9).await,
        [retry("b", 10, 1), retry("c", 20, 1)]
    );
    assert_eq!(due(store, "push", 99, 1).await, [retry("b", 10, 1)]);
    let mut next = step("push", 1, 1, &[retry("b", 40, 2)]);
    next.remove.push(Bytes::from_static(b"c"));
    assert!(store.step_follower(&next).await.unwrap());
    assert_eq!(
        due(store, "push", 99, 9).await,
        [retry("a", 30, 1), retry("b", 40, 2)]
    );
    let count = store.count_retries("push", Partition::ONLY).await.unwrap();
    assert_eq!(count, 2);
    let other_lane = FollowerRetry {
        lane: LANE + 1,
        ..retry("b", 5, 3)
    };
    let moved = step("push", 1, 1, &[other_lane]);
    assert!(store.step_follower(&moved).await.unwrap());
    assert_eq!(due(store, "push", 99, 9).await, [retry("a", 30, 1)]);
}

/// A clock that was ahead put them off for longer than anybody waits.
pub async fn what_is_due_too_late_is_due_earlier_and_nothing_else_is(store: &dyn Store) {
    let lines = [retry("soon", 10, 1), retry("late", 90, 1)];
    for name in ["push", "other"] {
        let held = hold(store, name, 0).await;
        let step = step(name, held.epoch, 1, &lines);
        assert!(store.step_follower(&step).await.unwrap());
    }
    let advanced = store.advance_retries("push", Partition::ONLY, 20).await;
    assert_eq!(advanced.unwrap(), 1);
    let dues = |rows: Vec<FollowerRetry>| rows.into_iter().map(|it| it.due).collect::<Vec<_>>();
    assert_eq!(dues(due(store, "push", 99, 9).await), [10, 20]);
    assert_eq!(dues(due(store, "other", 99, 9).await), [10, 90]);
    let again = store.advance_retries("push", Partition::ONLY, 20).await;
    assert_eq!(again.unwrap(), 0);
}

pub async fn names_know_nothing_of_each_other(store: &dyn Store) {
    hold(store, "push", 0).await;
    hold(store, "hooks", 0).await;
    let push = step("push", 1, 3, &[retry("a", 1, 1)]);
    assert!(store.step_follower(&push).await.unwrap());
    assert_eq!(due(store, "hooks", 9, 9).await, []);
    assert!(
        store
            .step_follower(&step("hooks", 1, 1, &[]))
            .await
            .unwrap()
    );
    assert_eq!(hold(store, "push", 0).await.position, at(3));
    let nobody = store.step_follower(&step("nobody", 1, 1, &[])).await;
    assert!(!nobody.unwrap(), "who holds nothing stores nothing");
}
