//! Bounds that are reached are counted.

use bytes::Bytes;
use im_codec::{Command, TeamtalkMessage};
use im_config::AnswersConfig;
use im_config::units::ByteSize;
use im_proto_teamtalk::buddy::{
    ImChangeAvatarReq, ImChangeSignInfoReq, ImRecentContactSessionReq, ImUsersInfoReq,
};
use im_proto_teamtalk::group::{ImGroupChangeMemberReq, ImGroupCreateReq};
use im_proto_teamtalk::login::ImDeviceTokenReq;
use im_proto_teamtalk::message::{ImGetMsgByIdReq, ImGetMsgListReq, ImUnreadMsgCntReq};
use prost::Message as _;

use super::groups::create;
use crate::answers::metrics::Bound;
use crate::testing::{Rig, android, small_config, windows};

/// Asks as user 1, whatever the answer.
async fn ask<Q: TeamtalkMessage>(rig: &Rig, command: Command, request: &Q) {
    assert_eq!(command.message(), Q::KIND);
    let body = Bytes::from(request.encode_to_vec());
    rig.raw(windows(1), command.id().into(), body).await;
}

async fn with(set: impl FnOnce(&mut AnswersConfig)) -> Rig {
    let mut config = small_config();
    config.writer.max_group_members = 4;
    set(&mut config.answers);
    Rig::with(config).await
}

#[tokio::test]
async fn what_is_too_long_or_too_much_is_counted_and_what_fits_is_not() {
    let rig = with(|answers| {
        answers.max_signature = ByteSize::bytes(4);
        answers.max_avatar = ByteSize::bytes(4);
        answers.max_token = ByteSize::bytes(4);
        answers.max_group_name = ByteSize::bytes(4);
        answers.max_ids = 3;
        answers.max_history = 3;
        answers.max_by_id = 2;
        answers.max_groups_per_creator = 2;
    })
    .await;
    // Each with what fits, and then with what does not.
    for much in [0, 1] {
        let count = |bound| rig.answers.metrics.times_reached(bound);
        let text = "x".repeat(4 + much);
        let ids = |most: usize| -> Vec<u32> { (1..).take(most + much).collect() };

        let signature = ImChangeSignInfoReq {
            user_id: 0,
            sign_info: text.clone(),
            attach_data: None,
        };
        ask(&rig, Command::ChangeSignInfoReq, &signature).await;
        let avatar = ImChangeAvatarReq {
            user_id: 0,
            avatar_url: text.clone(),
            attach_data: None,
        };
        ask(&rig, Command::ChangeAvatarReq, &avatar).await;
        let token = ImDeviceTokenReq {
            user_id: 0,
            device_token: text.clone(),
            ..ImDeviceTokenReq::default()
        };
        let body = Bytes::from(token.encode_to_vec());
        rig.raw(android(1), Command::DeviceTokenReq.id().into(), body)
            .await;
        let named = ImGroupCreateReq {
            user_id: 0,
            group_type: 2,
            group_name: text,
            group_avatar: String::new(),
            member_id_list: vec![1],
            attach_data: None,
        };
        ask(&rig, Command::GroupCreateReq, &named).await;
        let people = ImUsersInfoReq {
            user_id: 0,
            user_id_list: ids(3),
            attach_data: None,
        };
        ask(&rig, Command::UsersInfoReq, &people).await;
        let history = ImGetMsgListReq {
            session_type: 1,
            session_id: 2,
            msg_cnt: 3 + u32::try_from(much).unwrap(),
            ..ImGetMsgListReq::default()
        };
        ask(&rig, Command::GetMsgListReq, &history).await;
        let by_id = ImGetMsgByIdReq {
            session_type: 1,
            session_id: 2,
            msg_id_list: ids(2),
            ..ImGetMsgByIdReq::default()
        };
        ask(&rig, Command::GetMsgByIdReq, &by_id).await;
        let crowd = ImGroupCreateReq {
            group_name: "x".to_owned(),
            member_id_list: ids(4),
            ..named
        };
        ask(&rig, Command::GroupCreateReq, &crowd).await;
        for bound in [
            Bound::Signature,
            Bound::Avatar,
            Bound::Token,
            Bound::GroupName,
            Bound::Ids,
            Bound::History,
            Bound::ById,
            Bound::GroupMembers,
        ] {
            assert_eq!(count(bound), u64::try_from(much).unwrap(), "{bound:?}");
        }
        assert_eq!(count(Bound::Groups), 0);
    }
    // Two groups are made.
    let third = ImGroupCreateReq {
        user_id: 0,
        group_type: 2,
        group_name: "x".to_owned(),
        group_avatar: String::new(),
        member_id_list: vec![1],
        attach_data: None,
    };
    ask(&rig, Command::GroupCreateReq, &third).await;
    assert_eq!(rig.answers.metrics.times_reached(Bound::Groups), 1);
}

#[tokio::test]
async fn lists_that_are_full_are_counted() {
    let rig = with(|answers| {
        answers.max_recent_sessions = 2;
        answers.max_unread_sessions = 2;
    })
    .await;
    let count = |bound| rig.answers.metrics.times_reached(bound);
    let lists = async || {
        let recent = ImRecentContactSessionReq {
            user_id: 0,
            latest_update_time: 0,
            attach_data: None,
        };
        ask(&rig, Command::RecentContactSessionReq, &recent).await;
        let unread = ImUnreadMsgCntReq {
            user_id: 0,
            attach_data: None,
        };
        ask(&rig, Command::UnreadMsgCntReq, &unread).await;
    };
    rig.text(2, 1, "hello").await;
    lists().await;
    assert_eq!((count(Bound::Recent), count(Bound::Unread)), (0, 0));
    rig.text(3, 1, "hello").await;
    lists().await;
    assert_eq!((count(Bound::Recent), count(Bound::Unread)), (1, 1));
}

#[tokio::test]
async fn what_a_changed_group_tells_is_counted() {
    let rig = with(|_| {}).await;
    let group = create(&rig, 1, &[1, 2, 3]).await;
    assert_eq!(rig.answers.metrics.members_told(), 0);
    let add = |member| ImGroupChangeMemberReq {
        user_id: 0,
        change_type: 1,
        group_id: group,
        member_id_list: vec![member],
        attach_data: None,
    };
    ask(&rig, Command::GroupChangeMemberReq, &add(4)).await;
    assert_eq!(rig.answers.metrics.members_told(), 16, "four of four");
    ask(&rig, Command::GroupChangeMemberReq, &add(5)).await;
    assert_eq!(rig.answers.metrics.members_told(), 16, "nothing changed");
    assert_eq!(rig.answers.metrics.times_reached(Bound::GroupMembers), 1);
}
