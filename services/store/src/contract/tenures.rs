use crate::{
    ConversationRow, GroupType, MemberChange, NewGroup, Preview, ReadLimit, Store, StoreError,
};
use im_core::{Conversation, GroupId};
use im_order::{CommitSeq, FenceLost, Ownership, Partition, Tenure};

use super::groups::change;
use crate::contract::log::{Log, at, pair, standing, user};

fn seq(number: u64) -> CommitSeq {
    CommitSeq::from_wire(number)
}

fn tenure(number: u64) -> Tenure {
    Tenure::from_wire(number)
}

async fn take(store: &dyn Store) -> Ownership {
    store.take(Partition::ONLY).await.unwrap()
}

/// The log holds so many messages, without a hole, and ends there by all accounts.
async fn check_end(store: &dyn Store, messages: u64) {
    let owned = store.ownership(Partition::ONLY).await.unwrap();
    assert_eq!(owned.end, seq(messages));
    assert_eq!(store.log_end().await.unwrap().0, seq(messages));
    let log = store
        .read_log(CommitSeq::START, ReadLimit::rows(u32::MAX))
        .await
        .unwrap();
    let seqs: Vec<u64> = log.iter().map(|m| m.message.seq.to_wire()).collect();
    assert_eq!(seqs, (1..=messages).collect::<Vec<_>>());
}

fn check_lost(result: Result<impl std::fmt::Debug, StoreError>, held: u64, found: u64) {
    let expected = FenceLost {
        partition: Partition::ONLY,
        held: tenure(held),
        found: tenure(found),
    };
    match result {
        Err(StoreError::Fenced(lost)) => assert_eq!(lost, expected),
        other => panic!("{other:?}"),
    }
}

pub async fn a_log_is_taken_at_its_end_and_every_taking_is_a_later_tenure(store: &dyn Store) {
    let untaken = store.ownership(Partition::ONLY).await.unwrap();
    assert_eq!(untaken, Ownership::default());
    let mut log = Log::default();
    log.send(1, pair(1, 2), 100, "x");
    log.send(2, pair(1, 2), 100, "y");
    log.commit(store).await.unwrap();
    assert_eq!(log.tenure, tenure(1));
    let again = take(store).await;
    assert_eq!((again.tenure, again.end), (tenure(2), seq(2)));
    assert_eq!(store.ownership(Partition::ONLY).await.unwrap(), again);
}

pub async fn whoever_has_not_taken_the_log_stores_nothing(store: &dyn Store) {
    let mut log = Log::default();
    log.send(1, pair(1, 2), 100, "x");
    let result = store.append(&log.fenced()).await;
    assert!(matches!(result, Err(StoreError::Corrupt(_))), "{result:?}");
    check_end(store, 0).await;
    take(store).await;
    let result = store.append(&log.fenced()).await;
    assert!(matches!(result, Err(StoreError::Corrupt(_))), "{result:?}");
    check_end(store, 0).await;
}

pub async fn after_the_log_was_taken_nothing_of_the_former_owner_is_stored(store: &dyn Store) {
    let mut former = Log::default();
    former.send(1, pair(1, 2), 100, "x");
    former.commit(store).await.unwrap();
    let mut owner = former.clone();
    owner.tenure = take(store).await.tenure;
    // Nobody has added anything: its positions, ids and rows are all free.
    former.send(1, pair(1, 3), 100, "of the former");
    former.send(1, pair(1, 2), 100, "of the former");
    check_lost(store.append(&former.fenced()).await, 1, 2);
    check_end(store, 1).await;
    let pairs = [pair(1, 2), pair(1, 3)];
    let states = store.conversation_states(&pairs).await.unwrap();
    assert_eq!(states[0].as_ref().unwrap().last_id, 1);
    assert_eq!(states[1], None);
    let recents = store.recent_sessions(user(3), at(0), Preview::rows(9));
    assert_eq!(recents.await.unwrap(), []);

    owner.send(1, pair(1, 2), 100, "of the owner");
    owner.commit(store).await.unwrap();
    check_lost(store.append(&former.fenced()).await, 1, 2);
    check_end(store, 2).await;
}

pub async fn after_the_log_was_taken_the_former_owner_changes_no_group(store: &dyn Store) {
    let mut log = Log::default();
    let group = log.group(store, &[1, 2], 100).await;
    let former = standing(store).await;
    let owner = take(store).await.standing();
    let new = NewGroup {
        row: ConversationRow(2),
        name: "late".into(),
        avatar: String::new(),
        creator: Some(user(1)),
        group_type: GroupType::Temporary,
        members: vec![user(1)],
        now: at(100),
    };
    check_lost(store.create_group(former, &new).await, 1, 2);
    for (kind, whom) in [(MemberChange::Add, 7), (MemberChange::Remove, 2)] {
        let late = change(group, kind, &[whom], 0);
        check_lost(store.change_members(former, &late).await, 1, 2);
    }
    let groups = store.groups_of(None).await.unwrap();
    let versions: Vec<(GroupId, u32)> = groups.iter().map(|g| (g.id, g.version)).collect();
    assert_eq!(versions, [(group, 1)]);
    let members = store.members(group).await.unwrap();
    let members: Vec<u32> = members.iter().map(|member| member.user.get()).collect();
    assert_eq!(members, [1, 2]);

    let change = change(group, MemberChange::Add, &[7], 0);
    assert_eq!(store.change_members(owner, &change).await.unwrap(), 2);
    store.create_group(owner, &new).await.unwrap();
}

pub async fn a_change_of_a_group_is_refused_where_the_log_does_not_end(store: &dyn Store) {
    let mut log = Log::default();
    let group = log.group(store, &[1, 2], 100).await;
    let before = standing(store).await;
    log.send(1, Conversation::Group(group), 100, "x");
    log.commit(store).await.unwrap();
    let change = change(group, MemberChange::Add, &[7], 0);
    let result = store.change_members(before, &change).await;
    assert!(matches!(result, Err(StoreError::Outdated)), "{result:?}");
    assert_eq!(store.members(group).await.unwrap().len(), 2);
    let now = standing(store).await;
    assert_eq!(store.change_members(now, &change).await.unwrap(), 2);
    check_end(store, 1).await;
}

/// Whichever comes first: a batch is there when the log is taken, or it never will be.
pub async fn a_batch_on_its_way_is_before_the_taking_or_never(store: &dyn Store) {
    let mut log = Log::default();
    log.own(store).await.unwrap();
    let (mut kept, mut lost) = (0, 0);
    for round in 0..40 {
        let mut sent = log.clone();
        sent.send(1, pair(1, 2), 100, "x");
        let batch = sent.fenced();
        // Sometimes one of them has a start.
        let (stored, taken) = if round % 2 == 0 {
            tokio::join!(store.append(&batch), store.take(Partition::ONLY))
        } else {
            let (taken, stored) = tokio::join!(store.take(Partition::ONLY), store.append(&batch));
            (stored, taken)
        };
        let taken = taken.unwrap();
        let is_there = taken.end == seq(sent.seq);
        assert_eq!(stored.is_ok(), is_there, "{stored:?} {taken:?}");
        if is_there {
            kept += 1;
            sent.batch = crate::AppendBatch::default();
            log = sent;
        } else {
            lost += 1;
            let held = log.tenure.to_wire();
            check_lost(stored, held, held + 1);
        }
        log.tenure = taken.tenure;
        check_end(store, kept).await;
    }
    assert_eq!(kept + lost, 40);
}
