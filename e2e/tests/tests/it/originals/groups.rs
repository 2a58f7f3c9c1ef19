//! Groups: making, changing, asking, silencing.

use im_e2e::originals::Original;
use im_proto_teamtalk::base::{GroupInfo, GroupVersionInfo};
use im_proto_teamtalk::group::{
    ImGroupChangeMemberNotify, ImGroupInfoListReq, ImGroupInfoListRsp, ImGroupShieldReq,
    ImGroupShieldRsp, ImNormalGroupListReq, ImNormalGroupListRsp,
};

use crate::support::*;

/// What a temporary group is; members are ascending.
pub(crate) fn group(id: u32, version: u32, name: &str, creator: u32, members: &[u32]) -> GroupInfo {
    GroupInfo {
        group_id: id,
        version,
        group_name: name.to_owned(),
        group_avatar: String::new(),
        group_creator_id: creator,
        group_type: GroupType::Tmp.into(),
        shield_status: 0,
        group_member_list: members.to_vec(),
    }
}

/// Makes a temporary group (0x0405) of these members, ascending; gives its id.
pub(crate) async fn makes(client: &mut Original, name: &str, members: &[u32]) -> u32 {
    let user_id = client.user();
    let request = ImGroupCreateReq {
        user_id: client.named(),
        group_type: GroupType::Tmp.into(),
        group_name: name.to_owned(),
        group_avatar: String::new(),
        member_id_list: members.to_vec(),
        attach_data: None,
    };
    let expected = |got: &ImGroupCreateRsp| ImGroupCreateRsp {
        user_id,
        result_code: 0,
        group_id: got.group_id.filter(|id| *id > 0),
        group_name: name.to_owned(),
        user_id_list: members.to_vec(),
        attach_data: None,
    };
    let made = client.ask(Command::GroupCreateReq, &request, expected);
    made.await.group_id.expect("a made group has an id")
}

/// The request for the own groups (0x0401).
pub(crate) fn own(client: &Original) -> ImNormalGroupListReq {
    ImNormalGroupListReq {
        user_id: client.named(),
        attach_data: None,
    }
}

fn versions(groups: &[(u32, u32)]) -> Vec<GroupVersionInfo> {
    let version = |(group_id, version): &(u32, u32)| GroupVersionInfo {
        group_id: *group_id,
        version: *version,
    };
    groups.iter().map(version).collect()
}

/// Takes the own groups with their versions.
pub(crate) async fn listed(client: &mut Original, seq: u16, groups: &[(u32, u32)]) {
    let user_id = client.user();
    let expected = |_: &ImNormalGroupListRsp| ImNormalGroupListRsp {
        user_id,
        group_version_list: versions(groups),
        attach_data: None,
    };
    client
        .answer(Command::NormalGroupListRsp, seq, expected)
        .await;
}

/// Asks for groups of which it holds these versions (0x0403).
pub(crate) async fn infos(client: &mut Original, held: &[(u32, u32)], newer: Vec<GroupInfo>) {
    let user_id = client.user();
    let request = ImGroupInfoListReq {
        user_id: client.named(),
        group_version_list: versions(held),
        attach_data: None,
    };
    let expected = |_: &ImGroupInfoListRsp| ImGroupInfoListRsp {
        user_id,
        group_info_list: newer,
        attach_data: None,
    };
    client
        .ask(Command::GroupInfoListReq, &request, expected)
        .await;
}

/// A change of members.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) kind: GroupModifyType,
    pub(crate) group: u32,
    pub(crate) who: &'a [u32],
    /// Members after it, ascending.
    pub(crate) members: &'a [u32],
}

/// Adds or removes people (0x0407); all these terminals are told (0x040b).
pub(crate) async fn changes(
    client: &mut Original,
    change: Change<'_>,
    audience: &mut [&mut Original],
) {
    let user_id = client.user();
    let request = ImGroupChangeMemberReq {
        user_id: client.named(),
        change_type: change.kind.into(),
        group_id: change.group,
        member_id_list: change.who.to_vec(),
        attach_data: None,
    };
    let expected = |_: &ImGroupChangeMemberRsp| ImGroupChangeMemberRsp {
        user_id,
        change_type: change.kind.into(),
        result_code: 0,
        group_id: change.group,
        cur_user_id_list: change.members.to_vec(),
        chg_user_id_list: change.who.to_vec(),
        attach_data: None,
    };
    client
        .ask(Command::GroupChangeMemberReq, &request, expected)
        .await;
    for listener in audience {
        let expected = |_: &ImGroupChangeMemberNotify| ImGroupChangeMemberNotify {
            user_id,
            change_type: change.kind.into(),
            group_id: change.group,
            cur_user_id_list: change.members.to_vec(),
            chg_user_id_list: change.who.to_vec(),
        };
        listener
            .notice(Command::GroupChangeMemberNotify, expected)
            .await;
    }
}

/// Silences the pushes of a group for oneself, or ends that (0x0409).
pub(crate) async fn silences(client: &mut Original, group: u32, status: u32) {
    let user_id = client.user();
    let request = ImGroupShieldReq {
        user_id: client.named(),
        group_id: group,
        shield_status: status,
        attach_data: None,
    };
    let expected = |_: &ImGroupShieldRsp| ImGroupShieldRsp {
        user_id,
        group_id: group,
        result_code: 0,
        attach_data: None,
    };
    client
        .ask(Command::GroupShieldReq, &request, expected)
        .await;
}
