use crate::{
    ConversationRow, GroupChange, GroupMember, GroupType, MemberChange, NewGroup, Preview, Store,
    StoreError,
};
use im_core::{Conversation, GroupId, UserId};

use crate::contract::log::{Log, at, standing, user};

pub fn change(group: GroupId, change: MemberChange, users: &[u32], last_id: u32) -> GroupChange {
    GroupChange {
        group,
        change,
        users: users.iter().map(|id| user(*id)).collect(),
        by: Some(user(1)),
        last_id,
        now: at(1000),
    }
}

async fn member_ids(store: &dyn Store, group: GroupId) -> Vec<u32> {
    store
        .members(group)
        .await
        .unwrap()
        .iter()
        .map(|member| member.user.get())
        .collect()
}

fn new_group(row: i64, creator: u32, group_type: GroupType, now: u32) -> NewGroup {
    NewGroup {
        row: ConversationRow(row),
        name: format!("name {row}"),
        avatar: String::new(),
        creator: Some(user(creator)),
        group_type,
        members: vec![user(creator)],
        now: at(now),
    }
}

pub async fn creates_groups_with_members(store: &dyn Store) {
    let mut log = Log::default();
    let first = log.group(store, &[5, 3, 9], 100).await;
    let second = log.group(store, &[3], 100).await;
    assert_ne!(first, second);
    let records = store.groups(&[second, first]).await.unwrap();
    assert_eq!(records.len(), 2);
    let record = &records[0];
    assert_eq!(
        (record.id, record.name.as_str(), record.avatar.as_str()),
        (first, "group 1", "avatar")
    );
    assert_eq!((record.creator, record.version), (Some(user(5)), 1));
    assert_eq!(record.group_type, GroupType::Temporary);
    let fresh = |id| GroupMember {
        user: user(id),
        joined_id: 0,
        shielded: false,
    };
    assert_eq!(
        store.members(first).await.unwrap(),
        [fresh(3), fresh(5), fresh(9)]
    );
    let missing = GroupId::from_wire(99).unwrap();
    assert_eq!(store.members(missing).await.unwrap(), []);
    assert_eq!(store.groups(&[missing]).await.unwrap(), []);
    let states = store
        .conversation_states(&[Conversation::Group(second)])
        .await
        .unwrap();
    assert_eq!(states[0].as_ref().unwrap().row, ConversationRow(2));
    assert_eq!(store.log_end().await.unwrap().1, ConversationRow(2));
}

pub async fn a_group_needs_a_free_conversation_row(store: &dyn Store) {
    let mut log = Log::default();
    log.send(1, crate::contract::log::pair(1, 2), 10, "x");
    log.commit(store).await.unwrap();
    let result = store
        .create_group(
            standing(store).await,
            &new_group(1, 1, GroupType::Normal, 10),
        )
        .await;
    assert!(matches!(result, Err(StoreError::Outdated)), "{result:?}");
    assert_eq!(store.groups_of(None).await.unwrap(), []);
    store
        .create_group(
            standing(store).await,
            &new_group(2, 1, GroupType::Normal, 10),
        )
        .await
        .unwrap();
    let result = store
        .create_group(
            standing(store).await,
            &new_group(2, 1, GroupType::Normal, 10),
        )
        .await;
    assert!(matches!(result, Err(StoreError::Outdated)), "{result:?}");
}

pub async fn adds_and_removes_members_with_versions(store: &dyn Store) {
    let mut log = Log::default();
    let group = log.group(store, &[1, 2], 100).await;
    let version = store
        .change_members(
            standing(store).await,
            &change(group, MemberChange::Add, &[7, 4], 0),
        )
        .await
        .unwrap();
    assert_eq!(version, 2);
    assert_eq!(member_ids(store, group).await, [1, 2, 4, 7]);
    let version = store
        .change_members(
            standing(store).await,
            &change(group, MemberChange::Remove, &[2, 7], 0),
        )
        .await
        .unwrap();
    assert_eq!(version, 3);
    assert_eq!(member_ids(store, group).await, [1, 4]);
    assert_eq!(store.groups(&[group]).await.unwrap()[0].version, 3);
    assert_eq!(store.groups_of(Some(user(2))).await.unwrap(), []);
}

pub async fn joining_anew_hides_what_came_before(store: &dyn Store) {
    let mut log = Log::default();
    let group = log.group(store, &[1, 2], 100).await;
    let conversation = Conversation::Group(group);
    for _ in 0..3 {
        log.send(1, conversation, 100, "before");
    }
    log.commit(store).await.unwrap();
    store.set_shield(group, user(2), true).await.unwrap();
    store
        .change_members(
            standing(store).await,
            &change(group, MemberChange::Remove, &[2], 3),
        )
        .await
        .unwrap();
    log.send(1, conversation, 100, "meanwhile");
    log.commit(store).await.unwrap();
    store
        .change_members(
            standing(store).await,
            &change(group, MemberChange::Add, &[2, 8], 4),
        )
        .await
        .unwrap();
    let members = store.members(group).await.unwrap();
    let joined = |id, joined_id| GroupMember {
        user: user(id),
        joined_id,
        shielded: false,
    };
    assert_eq!(members, [joined(1, 0), joined(2, 4), joined(8, 4)]);
    assert_eq!(
        store
            .recent_sessions(user(2), at(0), Preview::rows(9))
            .await
            .unwrap(),
        []
    );
    assert_eq!(
        store
            .unread_sessions(user(8), &[], Preview::rows(100))
            .await
            .unwrap()
            .views,
        []
    );
    // Adding a member who is one changes nothing of his membership.
    store
        .change_members(
            standing(store).await,
            &change(group, MemberChange::Add, &[1], 4),
        )
        .await
        .unwrap();
    assert_eq!(store.members(group).await.unwrap()[0], joined(1, 0));
}

pub async fn changing_a_missing_group_is_not_found(store: &dyn Store) {
    let missing = GroupId::from_wire(99).unwrap();
    let result = store
        .change_members(
            standing(store).await,
            &change(missing, MemberChange::Add, &[1], 0),
        )
        .await;
    assert!(
        matches!(result, Err(StoreError::NotFound { what: "group" })),
        "{result:?}"
    );
}

pub async fn lists_groups_most_recently_changed_first(store: &dyn Store) {
    let mut ids = Vec::new();
    for (row, creator, kind, now) in [
        (1, 1, GroupType::Normal, 10),
        (2, 1, GroupType::Temporary, 20),
        (3, 2, GroupType::Temporary, 30),
    ] {
        ids.push(
            store
                .create_group(standing(store).await, &new_group(row, creator, kind, now))
                .await
                .unwrap(),
        );
    }
    store
        .change_members(
            standing(store).await,
            &change(ids[0], MemberChange::Add, &[2], 0),
        )
        .await
        .unwrap();
    let of = async |user: Option<UserId>| -> Vec<GroupId> {
        store
            .groups_of(user)
            .await
            .unwrap()
            .iter()
            .map(|group| group.id)
            .collect()
    };
    assert_eq!(of(None).await, [ids[0], ids[2], ids[1]]);
    assert_eq!(of(Some(user(1))).await, [ids[0], ids[1]]);
    assert_eq!(of(Some(user(2))).await, [ids[0], ids[2]]);
    assert_eq!(of(Some(user(3))).await, []);
    assert_eq!(
        store
            .groups_created_by(user(1), GroupType::Normal)
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        store
            .groups_created_by(user(1), GroupType::Temporary)
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        store
            .groups_created_by(user(2), GroupType::Normal)
            .await
            .unwrap(),
        0
    );
}

pub async fn shields_are_kept_per_member(store: &dyn Store) {
    let mut log = Log::default();
    let group = log.group(store, &[1, 2], 100).await;
    let other = log.group(store, &[1, 2], 100).await;
    assert!(store.set_shield(group, user(2), true).await.unwrap());
    assert!(
        !store.set_shield(group, user(3), true).await.unwrap(),
        "no member"
    );
    let shields = async |group| -> Vec<bool> {
        store
            .members(group)
            .await
            .unwrap()
            .iter()
            .map(|member| member.shielded)
            .collect()
    };
    assert_eq!(shields(group).await, [false, true]);
    assert_eq!(shields(other).await, [false, false]);
    assert!(store.set_shield(group, user(2), false).await.unwrap());
    assert_eq!(shields(group).await, [false, false]);
    store
        .change_members(
            standing(store).await,
            &change(group, MemberChange::Remove, &[2], 0),
        )
        .await
        .unwrap();
    assert!(
        !store.set_shield(group, user(2), true).await.unwrap(),
        "no member any more"
    );
}
