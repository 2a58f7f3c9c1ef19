mod faulty;
mod rig;

use std::sync::atomic::Ordering;

use bytes::Bytes;
use im_config::WriterConfig;
use im_core::{CommitSeq, Conversation, GroupId};
use im_proto_rpc::v1;
use im_proto_rpc::v1::publish_item::Item;
use im_proto_rpc::v1::send_done::Outcome;
use im_store::{GroupType, MemberChange, MessageStore as _, ReadLimit};

use super::*;
use crate::publication::Publication;
use crate::results::Limits;
use rig::{Ground, Rig, group_text, text, user};

fn stored(done: &v1::SendDone) -> (u32, u64) {
    assert_eq!(done.outcome(), Outcome::Stored, "{done:?}");
    (done.msg_id, done.seq)
}

fn pair(a: u32, b: u32) -> Conversation {
    Conversation::Pair(user(a.min(b)), user(a.max(b)))
}

async fn make_group(rig: &Rig, members: &[u32]) -> GroupId {
    let create = CreateGroup {
        name: "g".into(),
        avatar: String::new(),
        creator: user(1),
        group_type: GroupType::Temporary,
        members: members.iter().copied().map(user).collect(),
    };
    rig.writer.create_group(create).await.unwrap().group.id
}

async fn change(
    rig: &Rig,
    group: GroupId,
    change: MemberChange,
    users: &[u32],
    by: Option<u32>,
) -> Result<MembersChanged, WriterError> {
    let change = ChangeMembers {
        group,
        change,
        users: users.iter().copied().map(user).collect(),
        by: by.map(user),
        notice: None,
    };
    rig.writer.change_members(change).await
}

#[tokio::test]
async fn ids_are_dense_per_conversation_and_positions_over_all() {
    let ground = Ground::new().await;
    let mut rig = ground.start().await;
    let first = rig
        .send(vec![
            text(1, 2, 1, "a"),
            text(2, 1, 1, "b"),
            text(3, 1, 1, "c"),
        ])
        .await;
    assert_eq!(
        first.iter().map(stored).collect::<Vec<_>>(),
        [(1, 1), (2, 2), (1, 3)]
    );
    let second = rig.send(vec![text(1, 3, 2, "d"), text(1, 2, 3, "e")]).await;
    assert_eq!(
        second.iter().map(stored).collect::<Vec<_>>(),
        [(2, 4), (3, 5)]
    );
    let history = ground
        .temp
        .store
        .history(pair(1, 2), None, 0, ReadLimit::rows(10))
        .await
        .unwrap();
    let bodies: Vec<&[u8]> = history
        .iter()
        .map(|message| message.body.as_ref())
        .collect();
    assert_eq!(bodies, [b"e", b"b", b"a"]);
    let low_sent: Vec<u32> = history.iter().map(|message| message.low_sent).collect();
    assert_eq!(low_sent, [2, 1, 1], "of user 1");
    assert!(
        first
            .iter()
            .chain(&second)
            .all(|done| done.time > 1_600_000_000)
    );
}

#[tokio::test]
async fn results_come_in_stream_order_and_what_is_refused_is_not_stored() {
    let ground = Ground::new().await;
    let mut rig = ground.start().await;
    let group = make_group(&rig, &[1, 2]).await;
    let nobody = GroupId::from_wire(group.get() + 1).unwrap();
    rig.queue(vec![
        text(1, 77, 1, "to nobody"),
        group_text(3, group, 1),
        group_text(1, nobody, 1),
        group_text(1, group, 2),
    ])
    .await;
    let results = rig.results(4).await;
    let outcomes: Vec<_> = results
        .iter()
        .map(|(tag, done)| (*tag, done.outcome()))
        .collect();
    assert_eq!(
        outcomes,
        [
            (1, Outcome::Refused),
            (2, Outcome::Refused),
            (3, Outcome::Refused),
            (4, Outcome::Stored)
        ]
    );
    assert_eq!(ground.temp.store.log_end().await.unwrap().0, CommitSeq(1));
    assert_eq!(
        rig.positions
            .current(user(1), Conversation::Group(group))
            .await
            .unwrap(),
        1
    );
}

#[tokio::test]
async fn a_retry_gets_the_same_id_also_after_a_restart() {
    let ground = Ground::new().await;
    let mut rig = ground.start().await;
    let own = v1::Send {
        client_msg_id: Bytes::from_static(b"0123456789abcdef"),
        client_seq: 0,
        ..text(1, 3, 0, "own")
    };
    let sends = vec![text(1, 2, 7, "a"), own.clone(), text(1, 2, 0, "unmarked")];
    let first = rig.send(sends.clone()).await;
    let again = rig.send(sends.clone()).await;
    // However much the same people say before somebody comes back.
    rig.send((100..400).map(|seq| text(1, 2, seq, "more")).collect())
        .await;
    rig.stop().await;
    let mut rig = ground.start().await;
    // After a reconnect the session is another one; our own client does not mind.
    let reconnected = v1::Send {
        origin: 99,
        client_seq: 5,
        ..own
    };
    let sends = vec![text(1, 2, 7, "a"), reconnected, text(1, 2, 0, "unmarked")];
    let after_restart = rig.send(sends).await;
    for answers in [again, after_restart] {
        for (first, again) in first.iter().zip(&answers).take(2) {
            assert_eq!(again.outcome(), Outcome::Repeated);
            assert_eq!(
                (again.msg_id, again.time, again.seq),
                (first.msg_id, first.time, first.seq)
            );
        }
        assert_eq!(
            answers[2].outcome(),
            Outcome::Stored,
            "sequence 0 never marks a retry"
        );
    }
    assert_eq!(ground.temp.store.log_end().await.unwrap().0, CommitSeq(305));
}

#[tokio::test]
async fn who_wrote_to_a_group_has_read_it_also_after_a_crash() {
    let ground = Ground::new().await;
    let mut rig = ground.start().await;
    let group = make_group(&rig, &[1, 2]).await;
    rig.send(vec![group_text(2, group, 1), group_text(1, group, 1)])
        .await;
    // Nobody flushes positions here.
    rig.stop().await;
    let mut rig = ground.start().await;
    rig.send(vec![group_text(2, group, 2)]).await;
    let talk = Conversation::Group(group);
    assert_eq!(rig.positions.current(user(1), talk).await.unwrap(), 2);
    assert_eq!(rig.positions.current(user(2), talk).await.unwrap(), 3);
}

#[tokio::test]
async fn a_store_that_fails_for_a_while_delays_and_loses_nothing() {
    let ground = Ground::new().await;
    let mut rig = ground.start().await;
    rig.reachable(true).await;
    ground.store.faults.appends.store(3, Ordering::SeqCst);
    rig.queue(vec![text(1, 2, 1, "a"), text(1, 2, 2, "b")])
        .await;
    rig.queue(vec![text(1, 2, 3, "c"), text(1, 2, 1, "a")])
        .await;
    let results = rig.results(4).await;
    let ids: Vec<_> = results
        .iter()
        .map(|(tag, done)| (*tag, done.msg_id))
        .collect();
    assert_eq!(ids, [(1, 1), (2, 2), (3, 3), (4, 1)]);
    assert_eq!(results[3].1.outcome(), Outcome::Repeated);
    assert!(ground.store.faults.tried.load(Ordering::SeqCst) >= 4);
    assert_eq!(rig.published_to(3).await.len(), 3);
    rig.reachable(true).await;
}

#[tokio::test]
async fn what_cannot_be_stored_in_time_fails_without_an_acknowledgement() {
    let ground = Ground::new().await;
    let config = WriterConfig {
        store_retry_seconds: 0,
        ..WriterConfig::default()
    };
    let mut rig = ground.start_with(config).await;
    rig.reachable(true).await;
    ground.store.faults.away.store(true, Ordering::SeqCst);
    let done = rig.send_one(text(1, 2, 1, "a")).await;
    assert_eq!((done.outcome(), done.msg_id), (Outcome::Failed, 0));
    rig.reachable(false).await;
    assert_eq!(rig.metrics.totals(), (0, 0, 1));
    ground.store.faults.away.store(false, Ordering::SeqCst);
    // The client's retry is a new message: the first one was never stored.
    assert_eq!(stored(&rig.send_one(text(1, 2, 1, "a")).await), (1, 1));
    rig.reachable(true).await;
}

#[tokio::test]
async fn a_store_that_is_away_at_the_start_is_waited_for() {
    let ground = Ground::new().await;
    ground.store.faults.away.store(true, Ordering::SeqCst);
    let mut rig = ground.start().await;
    rig.queue(vec![text(1, 2, 1, "a")]).await;
    assert!(!*rig.core.reachable.borrow());
    assert_eq!(rig.publisher.position(), None);
    ground.store.faults.away.store(false, Ordering::SeqCst);
    assert_eq!(stored(&rig.results(1).await[0].1), (1, 1));
    rig.reachable(true).await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_neither_stored_twice_nor_lost() {
    let ground = Ground::new().await;
    let mut rig = ground.start().await;
    rig.send_one(text(1, 2, 1, "before")).await;
    ground.store.faults.answers.store(1, Ordering::SeqCst);
    // Without a key nothing but the log itself can tell that it is there.
    let done = rig.send(vec![text(1, 2, 0, "a"), text(1, 2, 0, "a")]).await;
    assert_eq!(
        done.iter().map(stored).collect::<Vec<_>>(),
        [(2, 2), (3, 3)]
    );
    assert_eq!(ground.temp.store.log_end().await.unwrap().0, CommitSeq(3));
    assert_eq!(stored(&rig.send_one(text(2, 1, 0, "after")).await), (4, 4));
    // It was not published as it happened: the positions show a gap, so that it is read.
    let mut position = 0;
    let mut gap = false;
    while position < 4 {
        let batch = rig.route.batch().await;
        gap |= batch.after > position && position > 0;
        position = batch.through;
    }
    assert!(gap);
}

#[tokio::test]
async fn a_writer_that_was_overtaken_reads_again_and_goes_on() {
    let ground = Ground::new().await;
    let (mut one, mut two) = (ground.start().await, ground.start().await);
    assert_eq!(stored(&one.send_one(text(1, 2, 1, "a")).await), (1, 1));
    assert_eq!(stored(&two.send_one(text(1, 3, 1, "b")).await).1, 2);
    assert_eq!(stored(&two.send_one(text(1, 2, 2, "c")).await), (2, 3));
    assert_eq!(stored(&one.send_one(text(1, 2, 3, "d")).await), (3, 4));
    let again = one.send_one(text(1, 2, 2, "c")).await;
    assert_eq!((again.outcome(), again.msg_id), (Outcome::Repeated, 2));
}

#[tokio::test]
async fn nothing_depends_on_what_is_remembered() {
    let ground = Ground::new().await;
    let config = WriterConfig {
        cached_conversations: 1,
        cached_groups: 1,
        cached_users: 1,
        retry_keys: 1,
        batch_messages: 1,
        ..WriterConfig::default()
    };
    let mut rig = ground.start_with(config).await;
    let mut expected = std::collections::HashMap::new();
    for round in 1..=3_u32 {
        for a in 1..=9 {
            for b in (1..=9).filter(|b| *b != a) {
                let done = rig.send_one(text(a, b, round, "x")).await;
                let id = expected.entry(pair(a, b)).or_insert(0);
                *id += 1;
                assert_eq!(stored(&done).0, *id);
            }
        }
    }
}

#[tokio::test]
async fn the_queue_is_bounded_and_waits() {
    let ground = Ground::new().await;
    let config = WriterConfig {
        queue_messages: 2,
        queue_bytes: 100,
        ..WriterConfig::default()
    };
    ground.store.faults.away.store(true, Ordering::SeqCst);
    let mut rig = ground.start_with(config).await;
    rig.queue(vec![text(1, 2, 1, "a"), text(1, 2, 2, "b")])
        .await;
    let waits = rig.queue(vec![text(1, 2, 3, "c")]);
    assert!(
        tokio::time::timeout(std::time::Duration::from_millis(20), waits)
            .await
            .is_err()
    );
    ground.store.faults.away.store(false, Ordering::SeqCst);
    assert_eq!(rig.results(2).await.len(), 2);
    // More than all the room there is passes alone.
    let long = "x".repeat(500);
    let done = rig
        .send(vec![
            text(1, 2, 4, &long),
            text(1, 2, 5, &long),
            text(1, 2, 6, "y"),
        ])
        .await;
    assert_eq!(
        done.iter().map(|done| stored(done).0).collect::<Vec<_>>(),
        [3, 4, 5]
    );
}

#[tokio::test]
async fn messages_are_published_in_log_order_to_those_who_get_them() {
    let ground = Ground::new().await;
    let mut rig = ground.start().await;
    let first = rig.route.batch().await;
    assert_eq!((first.after, first.through, first.items.len()), (0, 0, 0));
    assert_ne!(first.ring, 0);
    let group = make_group(&rig, &[1, 2, 3]).await;
    rig.send(vec![
        text(1, 2, 1, "a"),
        group_text(2, group, 1),
        text(3, 1, 1, "b"),
    ])
    .await;
    let event = v1::Event {
        users: vec![1],
        command: 0x0304,
        ..Default::default()
    };
    rig.publisher.publish(vec![Publication::Event(event)]);
    rig.send_one(text(1, 2, 2, "c")).await;
    let mut items = rig.published_to(4).await;
    while items.len() < 5 {
        items.extend(rig.published_to(4).await);
    }
    let shape = |item: &Item| match item {
        Item::Message(m) => (m.seq, m.from, m.to, m.origin, m.recipients.clone()),
        Item::Event(event) => (0, 0, event.command, 0, event.users.clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        items.iter().map(shape).collect::<Vec<_>>(),
        [
            (1, 1, 2, 1, vec![1, 2]),
            (2, 2, group.get(), 2, vec![1, 2, 3]),
            (3, 3, 1, 3, vec![3, 1]),
            (0, 0, 0x0304, 0, vec![1]),
            (4, 1, 2, 1, vec![1, 2]),
        ]
    );
}

#[tokio::test]
async fn a_member_change_has_one_place_among_the_messages() {
    let ground = Ground::new().await;
    let mut rig = ground.start().await;
    let group = make_group(&rig, &[1, 2]).await;
    rig.send_one(group_text(1, group, 1)).await;
    let add = ChangeMembers {
        group,
        change: MemberChange::Add,
        users: vec![user(4), user(2), user(4)],
        by: Some(user(2)),
        notice: Some(Box::new(|changed| {
            let users = changed.members.iter().map(|user| user.get()).collect();
            vec![Publication::Event(v1::Event {
                users,
                command: 0x040b,
                ..Default::default()
            })]
        })),
    };
    let sends = vec![group_text(1, group, 2), group_text(4, group, 1)];
    let handle = rig.writer.clone();
    rig.queue(sends.clone()).await;
    let changing = tokio::spawn(async move { handle.change_members(add).await });
    let before = rig.results(2).await;
    let changed = changing.await.unwrap().unwrap();
    assert_eq!(before[0].1.outcome(), Outcome::Stored);
    assert_eq!((changed.group.version, changed.changed), (2, vec![user(4)]));
    assert_eq!(changed.members, [user(1), user(2), user(4)]);
    let after = rig.send(vec![group_text(4, group, 3)]).await;
    let (last, seq) = stored(&after[0]);

    let items = rig.published_to(seq).await;
    let notice = items
        .iter()
        .position(|item| matches!(item, Item::Event(_)))
        .unwrap();
    for (index, item) in items.iter().enumerate() {
        if let Item::Message(message) = item {
            let expected: &[u32] = if index < notice { &[1, 2] } else { &[1, 2, 4] };
            assert_eq!(
                message.recipients, expected,
                "message {index}, notice {notice}"
            );
        }
    }
    let history = ground
        .temp
        .store
        .history(Conversation::Group(group), None, 0, ReadLimit::rows(10))
        .await
        .unwrap();
    assert_eq!(history[0].msg_id.get(), last);

    let left = change(&rig, group, MemberChange::Remove, &[2], Some(2))
        .await
        .unwrap();
    assert_eq!(left.members, [user(1), user(4)]);
    assert_eq!(
        rig.send_one(group_text(2, group, 9)).await.outcome(),
        Outcome::Refused
    );
}

#[tokio::test]
async fn group_changes_that_a_rule_forbids_leave_the_group_alone() {
    let ground = Ground::new().await;
    let config = WriterConfig {
        max_group_members: 3,
        ..WriterConfig::default()
    };
    let rig = ground.start_with(config).await;
    let group = make_group(&rig, &[1, 2]).await;
    let refusal = |result: Result<MembersChanged, WriterError>| match result {
        Err(WriterError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    let (add, remove) = (MemberChange::Add, MemberChange::Remove);
    let missing = GroupId::from_wire(999).unwrap();
    let result = change(&rig, missing, add, &[3], None).await;
    assert_eq!(refusal(result), GroupRefusal::NoSuchGroup);
    let result = change(&rig, group, add, &[3], Some(5)).await;
    assert_eq!(refusal(result), GroupRefusal::NotAllowed);
    let result = change(&rig, group, remove, &[1], Some(2)).await;
    assert_eq!(refusal(result), GroupRefusal::NotAllowed);
    let result = change(&rig, group, add, &[1, 2], Some(1)).await;
    assert_eq!(refusal(result), GroupRefusal::NothingToAdd);
    let result = change(&rig, group, add, &[3, 4], Some(1)).await;
    assert_eq!(refusal(result), GroupRefusal::TooLarge);
    let same = change(&rig, group, remove, &[7], None).await.unwrap();
    assert_eq!(
        (same.group.version, same.changed.len(), same.members.len()),
        (1, 0, 2)
    );
    let create = CreateGroup {
        name: "large".into(),
        avatar: String::new(),
        creator: user(1),
        group_type: GroupType::Normal,
        members: [1, 2, 3, 4].map(user).into(),
    };
    assert_eq!(
        refusal(rig.writer.create_group(create).await),
        GroupRefusal::TooLarge
    );
}

#[tokio::test]
async fn stopping_finishes_what_is_queued_and_takes_nothing_new() {
    let ground = Ground::new().await;
    let mut rig = ground.start().await;
    for round in 0..20 {
        rig.queue(vec![text(1, 2, 0, &format!("{round}"))]).await;
    }
    let handle = rig.writer.clone();
    let sink = rig.stop().await;
    let results = sink.take_now(&Limits::results(100)).results;
    assert_eq!(results.len(), 20);
    assert_eq!(ground.temp.store.log_end().await.unwrap().0, CommitSeq(20));
    let late = SendBatch::new(Vec::new(), sink);
    assert!(matches!(
        handle.send(late).await,
        Err(WriterError::Stopping)
    ));
}

#[tokio::test]
async fn stopping_with_a_store_that_is_away_gives_up_in_time() {
    let ground = Ground::new().await;
    let mut rig = ground.start().await;
    rig.reachable(true).await;
    ground.store.faults.away.store(true, Ordering::SeqCst);
    // From here on nothing but time is waited for.
    tokio::time::pause();
    rig.queue(vec![text(1, 2, 1, "a")]).await;
    let sink = rig.stop().await;
    let results = sink.take_now(&Limits::results(10)).results;
    let Some(v1::db_result::Result::Send(done)) = results[0].result else {
        panic!()
    };
    assert_eq!(done.outcome(), Outcome::Failed);
}
