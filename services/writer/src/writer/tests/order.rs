//! Ids, positions, retries and the order in which results and publications come.

use bytes::Bytes;
use im_config::WriterConfig;
use im_order::CommitSeq;
use im_proto_rpc::v1::publish_item::Item;
use im_store::{MessageStore as _, ReadLimit};

use super::rig::{Ground, group_text, text};
use super::*;
use crate::publication::Publication;

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
    assert_eq!(
        ground.temp.store.log_end().await.unwrap().0,
        CommitSeq::from_wire(1)
    );
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
    assert_eq!(
        ground.temp.store.log_end().await.unwrap().0,
        CommitSeq::from_wire(305)
    );
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
