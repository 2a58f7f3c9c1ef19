use im_codec::Command;
use im_proto_rpc::v1::Audience;
use im_proto_teamtalk::base::{GroupInfo, GroupVersionInfo};
use im_proto_teamtalk::group::{
    ImGroupChangeMemberNotify, ImGroupChangeMemberReq, ImGroupChangeMemberRsp, ImGroupCreateReq,
    ImGroupCreateRsp, ImGroupInfoListReq, ImGroupInfoListRsp, ImGroupShieldReq, ImGroupShieldRsp,
    ImNormalGroupListReq, ImNormalGroupListRsp,
};
use im_store::GroupType;
use im_writer::CreateGroup;

use crate::testing::{Rig, android, ios, small_config, user, windows};

const ADD: i32 = 1;
const DEL: i32 = 2;

fn create_req(name: &str, members: &[u32]) -> ImGroupCreateReq {
    ImGroupCreateReq {
        user_id: 9_999,
        group_type: 2,
        group_name: name.to_owned(),
        group_avatar: String::new(),
        member_id_list: members.to_vec(),
        attach_data: None,
    }
}

/// Makes a temporary group and returns its id.
pub(super) async fn create(rig: &Rig, by: u32, members: &[u32]) -> u32 {
    let rsp: ImGroupCreateRsp = rig
        .ask(
            windows(by),
            Command::GroupCreateReq,
            &create_req("team", members),
        )
        .await;
    assert_eq!(rsp.result_code, 0);
    rsp.group_id.unwrap()
}

/// Makes a fixed group, as administrators do.
async fn fixed(rig: &Rig, creator: u32, members: &[u32]) -> u32 {
    let group = CreateGroup {
        name: "fixed".to_owned(),
        avatar: String::new(),
        creator: Some(user(creator)),
        group_type: GroupType::Normal,
        members: members.iter().map(|id| user(*id)).collect(),
        note: None,
    };
    rig.context
        .writer
        .create_group(group)
        .await
        .unwrap()
        .group
        .id
        .get()
}

fn change_req(change_type: i32, group_id: u32, members: &[u32]) -> ImGroupChangeMemberReq {
    ImGroupChangeMemberReq {
        user_id: 0,
        change_type,
        group_id,
        member_id_list: members.to_vec(),
        attach_data: None,
    }
}

async fn change(
    rig: &Rig,
    by: u32,
    change_type: i32,
    group: u32,
    members: &[u32],
) -> ImGroupChangeMemberRsp {
    let request = change_req(change_type, group, members);
    let rsp: ImGroupChangeMemberRsp = rig
        .ask(windows(by), Command::GroupChangeMemberReq, &request)
        .await;
    assert_eq!(
        (rsp.user_id, rsp.change_type, rsp.group_id),
        (by, change_type, group)
    );
    if rsp.result_code != 0 {
        assert_eq!(
            (rsp.cur_user_id_list.len(), rsp.chg_user_id_list.len()),
            (0, 0)
        );
    }
    rsp
}

/// The result code of adding users.
pub(super) async fn add(rig: &Rig, by: u32, group: u32, members: &[u32]) -> u32 {
    change(rig, by, ADD, group, members).await.result_code
}

async fn infos(rig: &Rig, by: u32, held: &[(u32, u32)]) -> Vec<GroupInfo> {
    let request = ImGroupInfoListReq {
        user_id: 0,
        group_version_list: held
            .iter()
            .map(|(group_id, version)| GroupVersionInfo {
                group_id: *group_id,
                version: *version,
            })
            .collect(),
        attach_data: None,
    };
    let rsp: ImGroupInfoListRsp = rig.ask(ios(by), Command::GroupInfoListReq, &request).await;
    assert_eq!(rsp.user_id, by);
    rsp.group_info_list
}

async fn members(rig: &Rig, by: u32, group: u32) -> Vec<u32> {
    infos(rig, by, &[(group, 0)])
        .await
        .pop()
        .map_or(vec![], |info| info.group_member_list)
}

#[tokio::test]
async fn a_group_is_made_with_the_members_named() {
    let mut rig = Rig::new().await;
    let request = create_req("团队", &[3, 1, 2, 3, 0, 555]);
    let rsp: ImGroupCreateRsp = rig.ask(windows(1), Command::GroupCreateReq, &request).await;
    let group = rsp.group_id.unwrap();
    assert_eq!(
        rsp,
        ImGroupCreateRsp {
            user_id: 1,
            result_code: 0,
            group_id: Some(group),
            group_name: "团队".to_owned(),
            user_id_list: vec![1, 2, 3],
            attach_data: None,
        }
    );
    assert_eq!(
        infos(&rig, 2, &[(group, 0)]).await,
        [GroupInfo {
            group_id: group,
            version: 1,
            group_name: "团队".to_owned(),
            group_avatar: String::new(),
            group_creator_id: 1,
            group_type: 2,
            shield_status: 0,
            group_member_list: vec![1, 2, 3],
        }]
    );
    // The others learn of it with the first message.
    rig.no_event().await;
}

#[tokio::test]
async fn the_creator_is_a_member_only_if_he_names_himself() {
    let rig = Rig::new().await;
    let group = create(&rig, 1, &[2, 3]).await;
    assert_eq!(members(&rig, 2, group).await, [2, 3]);
    assert_eq!(members(&rig, 1, group).await, [0; 0]);
    // He is the creator nevertheless.
    assert_eq!(add(&rig, 1, group, &[1]).await, 0);
    assert_eq!(members(&rig, 1, group).await, [1, 2, 3]);
}

#[tokio::test]
async fn clients_make_no_fixed_groups() {
    let rig = Rig::new().await;
    let request = ImGroupCreateReq {
        group_type: 1,
        ..create_req("fixed", &[1])
    };
    rig.silent(windows(1), Command::GroupCreateReq, &request)
        .await;
}

#[tokio::test]
async fn bad_names_and_members_are_refused_with_the_name_echoed() {
    let rig = Rig::new().await;
    let (longest, too_long) = ("x".repeat(128), "x".repeat(129));
    for (name, list, code) in [
        ("", &[1][..], 1),
        ("a", &[], 1),
        ("a", &[0, 555], 1),
        (longest.as_str(), &[1], 0),
        (too_long.as_str(), &[1], 1),
    ] {
        let request = create_req(name, list);
        let rsp: ImGroupCreateRsp = rig.ask(windows(1), Command::GroupCreateReq, &request).await;
        assert_eq!((rsp.result_code, rsp.group_name.as_str()), (code, name));
        assert_eq!(rsp.group_id.is_some(), code == 0);
    }
}

#[tokio::test]
async fn a_creator_makes_so_many_groups_and_no_more_s_52() {
    let mut config = small_config();
    config.answers.max_groups_per_creator = 10;
    let rig = Rig::with(config).await;
    let request = create_req("team", &[1, 2]);
    // All at once, from two terminals.
    let attempts = (0..15).map(|n| {
        let terminal = if n % 2 == 0 { windows(1) } else { android(1) };
        rig.ask::<_, ImGroupCreateRsp>(terminal, Command::GroupCreateReq, &request)
    });
    let made = futures::future::join_all(attempts).await;
    assert_eq!(made.iter().filter(|rsp| rsp.result_code == 0).count(), 10);
    let rsp: ImGroupCreateRsp = rig.ask(windows(2), Command::GroupCreateReq, &request).await;
    assert_eq!(rsp.result_code, 0, "others are not concerned");
}

#[tokio::test]
async fn a_group_never_exceeds_its_size_s_59() {
    let mut config = small_config();
    config.writer.max_group_members = 5;
    let rig = Rig::with(config).await;
    let request = create_req("team", &[1, 2, 3, 4, 5, 6]);
    let rsp: ImGroupCreateRsp = rig.ask(windows(1), Command::GroupCreateReq, &request).await;
    assert_eq!(rsp.result_code, 1);
    let group = create(&rig, 1, &[1, 2]).await;
    let adds: Vec<[u32; 1]> = (3..=9).map(|id| [id]).collect();
    let codes = futures::future::join_all(adds.iter().map(|list| add(&rig, 1, group, list))).await;
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 3);
    assert_eq!(members(&rig, 1, group).await.len(), 5);
}

#[tokio::test]
async fn group_info_is_for_members_whose_copy_is_older() {
    let rig = Rig::new().await;
    let first = create(&rig, 1, &[1, 2]).await;
    let second = create(&rig, 1, &[1, 3]).await;
    assert_eq!(infos(&rig, 1, &[(first, 1), (second, 0)]).await.len(), 1);
    assert_eq!(infos(&rig, 1, &[(first, 1), (second, 1)]).await, []);
    assert_eq!(add(&rig, 1, first, &[4]).await, 0);
    let fresh = infos(&rig, 1, &[(first, 1)]).await;
    assert_eq!(
        fresh.first().map(|info| (info.group_id, info.version)),
        Some((first, 2))
    );
    let stranger = infos(&rig, 3, &[(first, 0), (second, 0), (999, 0), (0, 0)]).await;
    assert_eq!(
        stranger
            .iter()
            .map(|info| info.group_id)
            .collect::<Vec<_>>(),
        [second]
    );
}

#[tokio::test]
async fn a_group_in_which_nobody_has_written_is_in_the_list_of_its_members() {
    let rig = Rig::new().await;
    let temporary = create(&rig, 1, &[1, 2]).await;
    let group = fixed(&rig, 1, &[1, 2]).await;
    let request = ImNormalGroupListReq {
        user_id: 0,
        attach_data: None,
    };
    let rsp: ImNormalGroupListRsp = rig
        .ask(windows(2), Command::NormalGroupListReq, &request)
        .await;
    assert_eq!(rsp.user_id, 2);
    assert_eq!(
        rsp.group_version_list,
        [group, temporary].map(|group_id| GroupVersionInfo {
            group_id,
            version: 1
        })
    );
    let rsp: ImNormalGroupListRsp = rig
        .ask(windows(3), Command::NormalGroupListReq, &request)
        .await;
    assert_eq!(
        (rsp.user_id, rsp.group_version_list),
        (3, vec![]),
        "never an empty body (17, 23)"
    );
}

#[tokio::test]
async fn an_addition_reports_who_was_really_new_and_tells_everybody_once() {
    let mut rig = Rig::new().await;
    let group = create(&rig, 1, &[1, 2]).await;
    let rsp = change(&rig, 1, ADD, group, &[2, 4, 3, 4, 555]).await;
    assert_eq!(rsp.result_code, 0);
    assert_eq!(rsp.cur_user_id_list, [1, 2, 3, 4]);
    assert_eq!(rsp.chg_user_id_list, [3, 4]);
    let (event, notify): (_, ImGroupChangeMemberNotify) =
        rig.event(Command::GroupChangeMemberNotify).await;
    assert_eq!(
        notify,
        ImGroupChangeMemberNotify {
            user_id: 1,
            change_type: ADD,
            group_id: group,
            cur_user_id_list: vec![1, 2, 3, 4],
            chg_user_id_list: vec![3, 4],
        }
    );
    assert_eq!(event.users, [1, 2, 3, 4], "each once");
    assert_eq!(
        (event.except, event.audience()),
        (windows(1).origin, Audience::All)
    );
    // Nobody new: failure, and nobody is told.
    assert_eq!(add(&rig, 1, group, &[3, 4]).await, 1);
    assert_eq!(add(&rig, 1, group, &[555]).await, 1);
    rig.no_event().await;
    assert_eq!(
        infos(&rig, 1, &[(group, 1)]).await.pop().unwrap().version,
        2
    );
}

#[tokio::test]
async fn a_removal_reaches_the_removed_too_and_ends_their_part() {
    let mut rig = Rig::new().await;
    let group = create(&rig, 1, &[1, 2, 3]).await;
    rig.group_text(1, group, "x").await;
    let rsp = change(&rig, 1, DEL, group, &[3, 9]).await;
    assert_eq!(rsp.result_code, 0);
    assert_eq!(
        (rsp.cur_user_id_list, rsp.chg_user_id_list),
        (vec![1, 2], vec![3])
    );
    let (event, notify): (_, ImGroupChangeMemberNotify) =
        rig.event(Command::GroupChangeMemberNotify).await;
    assert_eq!(
        (notify.change_type, notify.chg_user_id_list),
        (DEL, vec![3])
    );
    assert_eq!(event.users, [1, 2, 3]);
    assert_eq!(members(&rig, 3, group).await, [0; 0]);
}

#[tokio::test]
async fn permissions_are_those_of_the_kind_of_group() {
    let rig = Rig::new().await;
    // (group of 1, 2, 3 made by 1; who, what, whom, result)
    for (is_fixed, by, change_type, whom, expected) in [
        (false, 2, ADD, &[5][..], 0),
        (false, 4, ADD, &[5], 1),
        (false, 4, ADD, &[4], 1),
        (false, 2, DEL, &[3], 1),
        (false, 2, DEL, &[2, 3], 1),
        (false, 2, DEL, &[2], 0),
        (false, 1, DEL, &[2, 3], 0),
        (false, 4, DEL, &[4], 1),
        (true, 1, ADD, &[5], 0),
        (true, 1, DEL, &[2], 0),
        (true, 2, ADD, &[5], 1),
        (true, 2, DEL, &[2], 1),
    ] {
        let group = if is_fixed {
            fixed(&rig, 1, &[1, 2, 3]).await
        } else {
            create(&rig, 1, &[1, 2, 3]).await
        };
        let rsp = change(&rig, by, change_type, group, whom).await;
        assert_eq!(
            rsp.result_code, expected,
            "fixed {is_fixed}: {by} {change_type} {whom:?}"
        );
        let version = if expected == 0 { 2 } else { 1 };
        let info = infos(&rig, 1, &[(group, 0)]).await.pop().unwrap();
        assert_eq!(info.version, version);
    }
}

#[tokio::test]
async fn an_empty_list_fails_and_an_unknown_group_has_no_answer() {
    let mut rig = Rig::new().await;
    let group = create(&rig, 1, &[1, 2]).await;
    assert_eq!(change(&rig, 1, DEL, group, &[]).await.result_code, 1);
    assert_eq!(change(&rig, 1, ADD, group, &[]).await.result_code, 1);
    assert_eq!(
        change(&rig, 1, DEL, group, &[7]).await.result_code,
        1,
        "no member"
    );
    for members in [&[][..], &[2]] {
        for kind in [ADD, DEL] {
            let request = change_req(kind, 999, members);
            rig.silent(windows(1), Command::GroupChangeMemberReq, &request)
                .await;
            let request = change_req(kind, 0, members);
            rig.silent(windows(1), Command::GroupChangeMemberReq, &request)
                .await;
        }
    }
    rig.no_event().await;
    assert_eq!(
        infos(&rig, 1, &[(group, 0)]).await.pop().unwrap().version,
        1
    );
}

#[tokio::test]
async fn who_leaves_and_rejoins_starts_anew_s_62() {
    let rig = Rig::new().await;
    let group = create(&rig, 1, &[1, 2]).await;
    rig.group_text(1, group, "before").await;
    assert_eq!(change(&rig, 2, DEL, group, &[2]).await.result_code, 0);
    rig.group_text(1, group, "away").await;
    assert_eq!(add(&rig, 1, group, &[2]).await, 0);
    rig.group_text(1, group, "after").await;
    let request = im_proto_teamtalk::message::ImGetMsgListReq {
        user_id: 0,
        session_type: 2,
        session_id: group,
        msg_id_begin: 0,
        msg_cnt: 10,
        attach_data: None,
    };
    let rsp: im_proto_teamtalk::message::ImGetMsgListRsp =
        rig.ask(windows(2), Command::GetMsgListReq, &request).await;
    let ids: Vec<u32> = rsp.msg_list.iter().map(|message| message.msg_id).collect();
    assert_eq!(ids, [3]);
    assert_eq!(members(&rig, 1, group).await, [1, 2]);
}

#[tokio::test]
async fn a_shield_is_a_members_own_and_reported() {
    let rig = Rig::new().await;
    let group = create(&rig, 1, &[1, 2]).await;
    let request = |group_id, shield_status| ImGroupShieldReq {
        user_id: 0,
        group_id,
        shield_status,
        attach_data: None,
    };
    let rsp: ImGroupShieldRsp = rig
        .ask(ios(2), Command::GroupShieldReq, &request(group, 1))
        .await;
    assert_eq!((rsp.user_id, rsp.group_id, rsp.result_code), (2, group, 0));
    let shield = |infos: Vec<GroupInfo>| infos.first().map(|info| info.shield_status);
    assert_eq!(shield(infos(&rig, 2, &[(group, 0)]).await), Some(1));
    assert_eq!(shield(infos(&rig, 1, &[(group, 0)]).await), Some(0));
    let rsp: ImGroupShieldRsp = rig
        .ask(ios(2), Command::GroupShieldReq, &request(group, 0))
        .await;
    assert_eq!(rsp.result_code, 0);
    assert_eq!(shield(infos(&rig, 2, &[(group, 0)]).await), Some(0));
    let rsp: ImGroupShieldRsp = rig
        .ask(ios(3), Command::GroupShieldReq, &request(group, 1))
        .await;
    assert_eq!(rsp.result_code, 1, "not a member");
    rig.silent(ios(2), Command::GroupShieldReq, &request(999, 1))
        .await;
    rig.silent(ios(2), Command::GroupShieldReq, &request(0, 1))
        .await;
}

#[tokio::test]
async fn groups_made_in_an_hour_are_bounded() {
    let mut config = small_config();
    config.answers.max_groups_made_per_hour = 2;
    let rig = Rig::with(config).await;
    for _ in 0..2 {
        create(&rig, 1, &[1, 2]).await;
    }
    let request = create_req("one more", &[1, 2]);
    let rsp: ImGroupCreateRsp = rig.ask(windows(1), Command::GroupCreateReq, &request).await;
    assert_eq!((rsp.result_code, rsp.group_id), (1, None));
    create(&rig, 2, &[1, 2]).await;
}

#[tokio::test]
async fn a_crowd_cannot_put_somebody_into_groups_without_end() {
    let mut config = small_config();
    config.answers.max_groups_joined_per_hour = 2;
    let rig = Rig::with(config).await;
    create(&rig, 2, &[2, 1]).await;
    let other = create(&rig, 3, &[3, 4]).await;
    // What is refused counts for nobody.
    assert_eq!(change(&rig, 5, ADD, other, &[1]).await.result_code, 1);
    assert_eq!(change(&rig, 3, ADD, other, &[1]).await.result_code, 0);
    let request = create_req("one more", &[4, 1]);
    let rsp: ImGroupCreateRsp = rig.ask(windows(4), Command::GroupCreateReq, &request).await;
    assert_eq!(rsp.result_code, 1);
    let third = create(&rig, 4, &[4, 5]).await;
    assert_eq!(change(&rig, 4, ADD, third, &[1]).await.result_code, 1);
    create(&rig, 1, &[1]).await;
}
