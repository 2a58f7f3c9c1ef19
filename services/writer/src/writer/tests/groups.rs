//! Changes of groups among the messages.

use im_config::WriterConfig;
use im_proto_rpc::v1::publish_item::Item;
use im_store::{MessageStore as _, ReadLimit};

use super::rig::{Ground, group_text};
use super::*;
use crate::publication::Publication;

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
        note: None,
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
        creator: Some(user(1)),
        group_type: GroupType::Normal,
        members: [1, 2, 3, 4].map(user).into(),
        note: None,
    };
    assert_eq!(
        refusal(rig.writer.create_group(create).await),
        GroupRefusal::TooLarge
    );
}
