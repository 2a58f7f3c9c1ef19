use im_core::GroupId;

use crate::contract::log::{Log, at, id, pair, standing, user};
use crate::{
    AccountKind, ConversationRow, DepartmentRecord, DiscoveryItem, GroupRecord, GroupType,
    ReadLimit, Store, StoreError, TransferBatch, TransferState, TransferredAccount,
    TransferredGroup, TransferredMember, TransferredMessages, TransferredView, UserProfile,
};

fn group(id: u32) -> GroupId {
    GroupId::from_wire(id).unwrap()
}

fn account(id: u32, nick: &str, hash: &str) -> TransferredAccount {
    TransferredAccount {
        profile: UserProfile {
            id: user(id),
            name: format!("u{id}"),
            nick: nick.to_owned(),
            sex: 1,
            department: 9,
            phone: String::new(),
            email: String::new(),
            domain: String::new(),
            avatar: String::new(),
            signature: "言 'x' \\".to_owned(),
            status: 0,
            kind: AccountKind::Person,
        },
        hash: hash.to_owned(),
        push_shield: 1,
    }
}

fn state(name: &str, value: &[u8]) -> TransferState {
    TransferState {
        name: name.to_owned(),
        value: value.to_vec(),
    }
}

fn everything() -> TransferBatch {
    TransferBatch {
        departments: vec![DepartmentRecord {
            id: 9,
            parent: 0,
            name: "Research".to_owned(),
            priority: 4,
            status: 0,
            stamp: at(0),
        }],
        accounts: vec![account(7, "Ann", "$teamtalk$1$a"), account(8, "Ben", "")],
        discovery_items: vec![(
            5,
            DiscoveryItem {
                name: "Wiki".to_owned(),
                url: "http://wiki/".to_owned(),
                priority: 1,
            },
        )],
        groups: vec![TransferredGroup {
            record: GroupRecord {
                id: group(30),
                name: "组 \"one\"".to_owned(),
                avatar: String::new(),
                creator: Some(user(7)),
                group_type: GroupType::Normal,
                version: 4,
            },
            row: ConversationRow(1),
            created: at(50),
            updated: at(60),
        }],
        members: vec![member(7, true, 0), member(8, false, 0)],
        now: at(100),
        ..TransferBatch::default()
    }
}

fn member(id: u32, active: bool, read_id: u32) -> TransferredMember {
    TransferredMember {
        group: group(30),
        user: user(id),
        active,
        joined_id: 0,
        read_id,
        created: at(50),
        updated: at(60),
    }
}

pub async fn rows_that_are_taken_over_keep_their_ids_and_are_changed_by_them(store: &dyn Store) {
    let fence = standing(store).await;
    let mut batch = everything();
    store.transfer(fence, &batch).await.unwrap();
    let stamp = store.directory_stamp().await.unwrap();
    let people = store.profiles(&[user(7), user(8)]).await.unwrap();
    assert_eq!(people.len(), 2);
    assert!(people.contains(&batch.accounts[0].profile), "{people:?}");
    assert_eq!(store.discovery_items().await.unwrap()[0].id, 5);
    let found = store.groups(&[group(30)]).await.unwrap();
    assert_eq!(found, [batch.groups[0].record.clone()]);
    let members = store.members(group(30)).await.unwrap();
    assert_eq!(
        members.iter().map(|one| one.user).collect::<Vec<_>>(),
        [user(7)]
    );
    let departments = store.departments_since(at(0)).await.unwrap();
    assert_eq!((departments[0].id, departments[0].priority), (9, 4));

    // The same again changes nobody; a login has renewed a hash since, which stays.
    store.set_hash(user(7), "$argon2id$new").await.unwrap();
    "Benjamin".clone_into(&mut batch.accounts[1].profile.nick);
    batch.groups[0].record.version = 5;
    batch.members = vec![member(8, true, 0)];
    store.transfer(fence, &batch).await.unwrap();
    let changed = store.users_since(stamp, 10).await.unwrap().users;
    let changed: Vec<_> = changed
        .iter()
        .map(|one| one.profile.nick.as_str())
        .collect();
    assert_eq!(changed, ["Benjamin"]);
    let kept = store.credentials("u7").await.unwrap().unwrap();
    assert_eq!(kept.hash, "$argon2id$new");
    assert_eq!(store.groups(&[group(30)]).await.unwrap()[0].version, 5);
    assert_eq!(store.members(group(30)).await.unwrap().len(), 2);
    assert!(store.departments_since(stamp).await.unwrap().is_empty());

    let mut taken = everything();
    "u8".clone_into(&mut taken.accounts[0].profile.name);
    let refused = store.transfer(fence, &taken).await;
    assert!(matches!(refused, Err(StoreError::Outdated)), "{refused:?}");
}

pub async fn messages_that_are_taken_over_are_read_and_stored_with_their_states(store: &dyn Store) {
    store.begin_transfer().await.unwrap();
    store.begin_transfer().await.unwrap();
    let pair = pair(7, 8);
    let mut log = Log::default();
    log.own(store).await.unwrap();
    for n in 0..3 {
        log.send(7, pair, 40 + n, "text");
    }
    let batch = log.fenced();
    let row = batch.messages[0].row;
    let mut messages = TransferredMessages {
        batch,
        read: vec![(row, [user(7), user(8)], id(3))],
        states: vec![state("a/1", b"one"), state("a/2", b"\0\xff")],
    };
    store.transfer_messages(&messages).await.unwrap();
    for reader in [7, 8] {
        assert_eq!(store.read_position(user(reader), pair).await.unwrap(), 3);
    }
    let history = store
        .history(pair, None, 0, ReadLimit::rows(9))
        .await
        .unwrap();
    assert_eq!(history.len(), 3);
    let states = store.transfer_states("a/").await.unwrap();
    assert_eq!(states, messages.states);

    // What fails leaves no state behind.
    messages.states = vec![state("a/1", b"two"), state("b", b"")];
    let refused = store.transfer_messages(&messages).await;
    assert!(matches!(refused, Err(StoreError::Outdated)), "{refused:?}");
    assert_eq!(store.transfer_states("").await.unwrap(), states);

    // Views may go back; no messages still have states.
    let view = |of| TransferredView {
        user: user(of),
        conversation: pair,
        read_id: Some(1),
        removed_at: Some(3),
        shield: None,
    };
    let fence = standing(store).await;
    let batch = TransferBatch {
        views: vec![view(8), view(9)],
        states: vec![state("a/1", b"three")],
        ..TransferBatch::default()
    };
    store.transfer(fence, &batch).await.unwrap();
    assert_eq!(store.read_position(user(8), pair).await.unwrap(), 1);
    let recents = store.recent_sessions(user(8), at(0), crate::Preview::rows(9));
    assert!(recents.await.unwrap().is_empty());
    let mut empty = TransferredMessages::default();
    empty.batch.fence = fence;
    empty.states = vec![state("c", b"four")];
    store.transfer_messages(&empty).await.unwrap();
    assert_eq!(store.transfer_states("c").await.unwrap(), empty.states);
}

pub async fn a_former_owner_takes_nothing_over(store: &dyn Store) {
    let fence = standing(store).await;
    store.take(im_order::Partition::ONLY).await.unwrap();
    let refused = store.transfer(fence, &everything()).await;
    assert!(matches!(refused, Err(StoreError::Fenced(_))), "{refused:?}");
    assert!(store.groups(&[group(30)]).await.unwrap().is_empty());
}
