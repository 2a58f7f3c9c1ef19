use bytes::Bytes;
use im_config::units::Span;
use im_core::time::UnixSeconds;
use im_core::{GroupId, MsgId, Peer};
use im_order::{CommitSeq, Partition};
use im_store::testing::TempStore;
use im_store::{
    AppendBatch, ConversationRow, DirectoryImport, DirectoryStore as _, GroupStore as _, GroupType,
    ImportedUser, MessageRow, MessageStore as _, NewGroup, SessionStore as _, TenureStore as _,
};

use super::*;

fn user(id: u32) -> UserId {
    UserId::from_wire(id).unwrap()
}

struct Rig {
    temp: TempStore,
    positions: Positions,
    group: Conversation,
}

/// A store with the users 1 to 3 in one group.
async fn rig(config: &PositionsConfig) -> Rig {
    let temp = TempStore::open().await;
    let named = |name: &str| ImportedUser {
        name: name.into(),
        ..ImportedUser::default()
    };
    let users = ["a", "b", "c"].map(named).into();
    let now = UnixSeconds::from_wire(1);
    temp.store
        .import(&DirectoryImport { users, now })
        .await
        .unwrap();
    let (_, row) = temp.store.log_end().await.unwrap();
    let new = NewGroup {
        row: ConversationRow(row.0 + 1),
        name: "g".into(),
        avatar: String::new(),
        creator: Some(user(1)),
        group_type: GroupType::Temporary,
        members: [1, 2, 3].map(user).into(),
        now,
    };
    let owned = temp.store.take(Partition::ONLY).await.unwrap();
    let made = temp.store.create_group(owned.standing(), &new).await;
    let group: GroupId = made.unwrap();
    let message = |id: u32| MessageRow {
        seq: CommitSeq::from_wire(id.into()),
        row: new.row,
        msg_id: MsgId::from_wire(id).unwrap(),
        sender: user(1),
        msg_type: 0x11,
        time: now,
        low_sent: 0,
        key: None,
        body: Bytes::from_static(b"x"),
    };
    let messages = (1..=20).map(message).collect();
    let batch = AppendBatch {
        fence: owned.adding(CommitSeq::from_wire(20)),
        new_conversations: Vec::new(),
        messages,
    };
    temp.store.append(&batch).await.unwrap();
    let positions = Positions::new(Arc::new(temp.store.clone()), config, Metrics::default());
    let group = Conversation::of(user(1), Peer::Group(group)).unwrap();
    Rig {
        temp,
        positions,
        group,
    }
}

fn slow() -> PositionsConfig {
    PositionsConfig {
        flush_interval: Span::seconds(3_600),
        ..PositionsConfig::default()
    }
}

#[tokio::test]
async fn a_position_only_grows_and_says_whether_it_did() {
    let Rig {
        temp,
        positions,
        group,
    } = rig(&slow()).await;
    assert!(positions.note(user(1), group, 5).await.unwrap());
    assert!(!positions.note(user(1), group, 5).await.unwrap());
    assert!(!positions.note(user(1), group, 4).await.unwrap());
    assert!(positions.note(user(1), group, 6).await.unwrap());
    assert_eq!(positions.current(user(1), group).await.unwrap(), 6);
    assert_eq!(
        temp.store.read_position(user(1), group).await.unwrap(),
        0,
        "not stored yet"
    );
    let pending = positions.pending(user(1));
    assert_eq!(
        pending,
        [ReadPosition {
            user: user(1),
            conversation: group,
            read_id: 6
        }]
    );
    assert!(positions.pending(user(2)).is_empty());

    positions.flush().await.unwrap();
    assert_eq!(temp.store.read_position(user(1), group).await.unwrap(), 6);
    assert!(positions.pending(user(1)).is_empty());
    assert!(!positions.note(user(1), group, 6).await.unwrap());
}

#[tokio::test]
async fn a_position_of_an_earlier_process_is_found_in_the_store() {
    let Rig {
        temp,
        positions,
        group,
    } = rig(&slow()).await;
    positions.note(user(2), group, 9).await.unwrap();
    positions.flush().await.unwrap();
    let later = Positions::new(Arc::new(temp.store.clone()), &slow(), Metrics::default());
    assert!(!later.note(user(2), group, 9).await.unwrap());
    assert_eq!(later.current(user(2), group).await.unwrap(), 9);
    assert!(later.note(user(2), group, 10).await.unwrap());
}

#[tokio::test]
async fn own_group_messages_move_their_senders_position() {
    let Rig {
        positions,
        group,
        temp: _temp,
    } = rig(&slow()).await;
    positions.sent(&[
        (user(1), group, 1),
        (user(1), group, 3),
        (user(2), group, 2),
    ]);
    assert_eq!(positions.current(user(1), group).await.unwrap(), 3);
    assert_eq!(positions.current(user(2), group).await.unwrap(), 2);
}

#[tokio::test]
async fn everything_is_stored_in_time_and_at_the_end() {
    let config = PositionsConfig {
        flush_interval: Span::millis(5),
        ..PositionsConfig::default()
    };
    let Rig {
        temp,
        positions,
        group,
    } = rig(&config).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (positions, stop) = (positions.clone(), stop.clone());
        async move { positions.run(stop).await }
    });
    positions.note(user(1), group, 5).await.unwrap();
    let stored = async {
        while temp.store.read_position(user(1), group).await.unwrap() != 5 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), stored)
        .await
        .unwrap();
    positions.note(user(1), group, 6).await.unwrap();
    stop.cancel();
    running.await.unwrap();
    assert_eq!(temp.store.read_position(user(1), group).await.unwrap(), 6);
}

#[tokio::test]
async fn readers_wait_while_too_many_positions_wait_for_the_store() {
    let config = PositionsConfig {
        max_pending: 2,
        ..slow()
    };
    let Rig {
        positions,
        group,
        temp: _temp,
    } = rig(&config).await;
    positions.note(user(1), group, 1).await.unwrap();
    positions.note(user(2), group, 1).await.unwrap();
    assert!(
        positions.note(user(2), group, 2).await.unwrap(),
        "one that waits already may grow"
    );
    let third = tokio::spawn({
        let positions = positions.clone();
        async move { positions.note(user(3), group, 1).await }
    });
    // The reader waits for a flush; the task that flushes is asked at once.
    positions.0.hurry.notified().await;
    positions.0.hurry.notified().await;
    assert!(!third.is_finished());
    positions.flush().await.unwrap();
    assert!(third.await.unwrap().unwrap());
    let own = [
        (user(1), group, 7),
        (user(2), group, 7),
        (user(3), group, 7),
    ];
    positions.sent(&own);
    assert_eq!(
        positions.pending(user(3)).len(),
        1,
        "own messages never wait"
    );
}
